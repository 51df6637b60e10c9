"""fusion-rt ...: every command parses, calls one function of the library, and prints its answer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from fusion_rt.errors import FusionError

app = typer.Typer(
    name="fusion-rt",
    help="Streaming, real-time multi-sensor fusion. Start with: fusion-rt run configs/driving.yaml",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
importers = typer.Typer(help="Bring other recordings into one MCAP log.", no_args_is_help=True)
evaluations = typer.Typer(help="Judge accuracy by the field's own protocols.", no_args_is_help=True)
rigs = typer.Typer(help="Look at the description of the sensors.", no_args_is_help=True)
app.add_typer(importers, name="import")
app.add_typer(evaluations, name="eval")
app.add_typer(rigs, name="rig")

console = Console()
errors = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Config = Annotated[Path, typer.Option("--config", "-c", help="A scenario, e.g. configs/driving.yaml.")]


def print_json(value: Any) -> None:
    """JSON to standard output, alone there: progress and tables go elsewhere."""
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
    sys.stdout.flush()


@app.command()
def doctor(json: Json = False) -> None:
    """What this machine can run, what is missing, and how to get it."""
    from fusion_rt.doctor import examine

    findings = examine()
    if json:
        print_json(findings)
    else:
        table = Table("part", "state", "detail", "remedy", box=None, header_style="bold")
        colours = {"ok": "green", "absent": "yellow", "wrong": "red"}
        for f in findings:
            table.add_row(f.part, f"[{colours[f.state]}]{f.state}", f.detail, f.remedy)
        console.print(table)
    if any(f.state == "wrong" for f in findings):
        raise typer.Exit(1)


def main() -> None:
    """The entry point of the shell: an error of ours is one line, never a traceback."""
    try:
        app()
    except FusionError as error:
        errors.print(f"[red]error:[/] {error}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except BrokenPipeError:  # the reader of our output has gone, as with `| head`
        sys.stderr.close()
        sys.exit(0)
