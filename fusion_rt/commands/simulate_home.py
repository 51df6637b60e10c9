"""fusion-rt sim home: a day in a home, by every sensor in it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusion_rt.commands.common import Json, console, print_json, progress
from fusion_rt.errors import ConfigError

if TYPE_CHECKING:
    from fusion_rt.plan import Plan
    from fusion_rt.sim.home.config import HomeSimConfig


def simulate_home(
    out: Annotated[Path, typer.Option("--out", "-o", help="The log to write, .mcap.", show_default=False)],
    plan: Annotated[
        str,
        typer.Option(help="Rooms and sensors: a file of configs/home or its name; or random, by the seed."),
    ] = "flat",
    seed: Annotated[
        int, typer.Option(min=0, help="Another seed is another life; the same one the same bits.")
    ] = 0,
    hours: Annotated[
        float | None, typer.Option(min=0.001, help="How long, instead of the configuration's.")
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(help="People, sensors, faults: a file like configs/sim/home.yaml.", show_default=False),
    ] = None,
    draw: Annotated[
        Path | None, typer.Option(help="Also draw the plan with all ways walked there, .png.")
    ] = None,
    json: Json = False,
) -> None:
    """Live in a simulated home and record every sensor of its plan, with the truth in /truth.

    fusion-rt sim home -o home.mcap --plan configs/home/flat.yaml --seed 1 --hours 24

    fusion-rt sim home -o other.mcap --plan random --seed 7 --hours 1 --draw other.png
    """
    from fusion_rt.sim.home.drawing import draw as picture
    from fusion_rt.sim.home.recording import record

    if out.suffix != ".mcap":
        raise ConfigError(f"{out}: a recording's name ends in .mcap")
    settings, home_plan = _settings(config, hours), _plan(plan, seed)
    seconds = settings.hours * 3600
    with progress("simulating") as advance:
        home, counts = record(home_plan, settings, seed, out, on_time=lambda t_s: advance(t_s, seconds))
    if draw is not None:
        try:
            picture(home, draw)
        except OSError as error:
            raise ConfigError(str(error)) from error
    events = Counter(event.kind for event in home.events)
    size = out.stat().st_size
    if json:
        people = list(home.world.people.names)
        print_json(
            {
                "path": str(out),
                "seconds": seconds,
                "bytes": size,
                "messages": counts,
                "people": people,
                "events": dict(sorted(events.items())),
            }
        )
        return
    happened = ", ".join(f"{n} {kind}" for kind, n in sorted(events.items())) or "no events"
    _say(f"{out}: {settings.hours:g} h, {len(home_plan.rooms)} rooms, {', '.join(home.world.people.names)}")
    _say(f"{sum(counts.values())} messages of {len(counts)} topics, {size / 1e6:.1f} MB; {happened}")
    if draw is not None:
        _say(f"{draw}: the ways walked")


def _settings(config: str | None, hours: float | None) -> HomeSimConfig:
    import msgspec

    from fusion_rt import config as typed
    from fusion_rt.scenario import find_file
    from fusion_rt.sim.home.config import HomeSimConfig

    settings = HomeSimConfig() if config is None else typed.load(find_file(config, "sim"), HomeSimConfig)
    return settings if hours is None else msgspec.structs.replace(settings, hours=hours)


def _plan(name: str, seed: int) -> Plan:
    from fusion_rt.scenario import load_plan
    from fusion_rt.sim.home.plans import random_plan

    return random_plan(seed) if name == "random" else load_plan(name)


def _say(text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
