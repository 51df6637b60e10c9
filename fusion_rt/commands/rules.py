"""fusion-rt rules ..."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusion_rt.commands.common import Json, console, errors, print_json, print_table

if TYPE_CHECKING:
    from fusion_rt.control import Rules
    from fusion_rt.plan import Plan
    from fusion_rt.scene import Scene

rules = typer.Typer(
    help="What a home does by itself: check a file of rules, and try it on recorded scenes.",
    no_args_is_help=True,
)
File = Annotated[str, typer.Argument(help="A file of rules, or the name of a bundled one.")]
PlanOption = Annotated[str, typer.Option("--plan", "-p", help="The home: a YAML file, or a bundled name.")]


@rules.command()
def check(file: File = "rules", plan: PlanOption = "flat", json: Json = False) -> None:
    """Check a file of rules against the plan of the home: rooms, devices, commands, permissions.

    fusion-rt rules check my_rules.yaml --plan my_home.yaml
    """
    found, home, path = _load(file, plan)
    devices = {a.device for rule in found.rules.values() for a in rule.then if a.device in home.devices}
    if json:
        print_json({"file": str(path), "rules": list(found.rules), "devices": sorted(devices)})
        return
    moved = ", ".join(sorted(devices)) or "what is asked for"
    console.print(
        f"{path}: {len(found.rules)} rules are right; they move {moved}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


@rules.command(name="try")
def try_(
    file: Annotated[str, typer.Argument(help="A file of rules, or the name of a bundled one.")],
    log: Annotated[Path, typer.Argument(help="A recording (.mcap), or scenes as JSON, a line each.")],
    plan: PlanOption = "flat",
    json: Json = False,
) -> None:
    """What the rules would have done during a recording. Nothing is sent.

    fusion-rt rules try my_rules.yaml night.mcap --plan my_home.yaml

    `fusion-rt echo scene --json` writes the second kind. The same scenes give the same decisions.
    """
    from fusion_rt.control import Controller
    from fusion_rt.homeassistant.states import iso

    found, home, _ = _load(file, plan)
    controller = Controller(found, home, dry_run=True)
    scenes, decisions = 0, []
    for scene in _scenes(log):
        scenes += 1
        decisions += controller.push(scene)
    if json:
        print_json({"scenes": scenes, "decisions": decisions})
        return
    if decisions:
        from rich.table import Table
        from rich.text import Text

        table = Table("when (UTC)", "rule", "device", "command", "topic", "result", box=None, pad_edge=False)
        for d in decisions:
            value = "" if d.value is None else f" {d.value:g}"
            topic = "" if d.order is None else f"{d.order.topic} {d.order.payload}"
            result = d.reason if d.result == "refused" else "would be sent"
            cells = (iso(d.stamp_ns), d.rule, d.device, d.command + value, topic, result)
            table.add_row(*map(Text, cells))
        print_table(table)
    errors.print(f"{scenes} scenes, {len(decisions)} decisions", highlight=False)


@rules.command()
def audit(
    file: Annotated[Path | None, typer.Argument(help="The audit; else that of the plan's site.")] = None,
    plan: PlanOption = "flat",
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="The last so many.")] = 50,
    json: Json = False,
) -> None:
    """What the node `control` has done to the home, and why.

    fusion-rt rules audit --count 10
    """
    from collections import deque

    from fusion_rt.control import audit as trail
    from fusion_rt.scenario import load_plan

    path = file or trail.default_path(load_plan(plan).site)
    torn, last = 0, deque[dict[str, object]](maxlen=count)
    for record in trail.read(path):
        if record is None:
            torn += 1
        else:
            last.append(record)
    if json:
        print_json({"file": str(path), "torn": torn, "records": list(last)})
        return
    from rich.table import Table
    from rich.text import Text

    columns = ("at", "rule", "device", "command", "result", "reason")
    table = Table(*columns, box=None, pad_edge=False)
    for record in last:
        table.add_row(*(Text(str(record.get(name, ""))) for name in columns))
    print_table(table)
    if torn:
        errors.print(f"{torn} torn lines left out: we were killed while writing", highlight=False)


def _load(file: str, plan: str) -> tuple[Rules, Plan, Path]:
    from fusion_rt.control import Rules
    from fusion_rt.scenario import find_file, load_plan

    path = find_file(file, "home")
    home = load_plan(plan)
    return Rules.load(path, home), home, path


def _scenes(path: Path) -> Iterator[Scene]:
    """Raises LogError, ConfigError."""
    import msgspec

    from fusion_rt.errors import ConfigError
    from fusion_rt.scene import Scene

    if path.suffix == ".mcap":
        from fusion_rt import logs

        with logs.open(path) as log:
            yield from log.scenes()
        return
    decoder = msgspec.json.Decoder(Scene)
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                yield decoder.decode(line)
        except msgspec.DecodeError as error:
            raise ConfigError(f"{path}:{number}: not a scene: {error}") from error
