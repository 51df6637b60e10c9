"""fusion-rt doctor"""

from __future__ import annotations

import typer
from rich.table import Table
from rich.text import Text

from fusion_rt.commands.common import Json, console, print_json

COLOURS = {"ok": "green", "absent": "yellow", "wrong": "red"}


def doctor(json: Json = False) -> None:
    """What this machine can run, what is missing, and how to get it."""
    from fusion_rt.doctor import examine

    findings = examine()
    if json:
        print_json(findings)
    else:
        table = Table(box=None, header_style="bold")
        for name in ("part", "state", "detail", "remedy"):
            table.add_column(name, overflow="fold")  # a command that is cut cannot be typed
        for f in findings:
            # Text, as brackets in a remedy are an extra's, not markup.
            state = Text(f.state, style=COLOURS[f.state])
            table.add_row(Text(f.part), state, Text(f.detail), Text(f.remedy))
        console.print(table)
    if any(f.state == "wrong" for f in findings):
        raise typer.Exit(1)
