"""fusion-rt home ... and import readings: what a home needs before it runs."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from fusion_rt.commands.common import Json, console, errors, print_json, progress
from fusion_rt.commands.recordings import importers
from fusion_rt.errors import ConfigError, NodeError

home = typer.Typer(help="Set a home up: find what speaks there.", no_args_is_help=True)


@home.callback()
def _home() -> None:
    """Set a home up: find what speaks there."""


@home.command()
def discover(
    broker: Annotated[str, typer.Option(help="The MQTT broker: HOST or HOST:PORT.")] = "localhost",
    plan: Annotated[
        str | None, typer.Option(help="The home's plan: what speaks gets the names that it has there.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.5, max=3600, help="How long to listen.")] = 30.0,
    username: Annotated[str | None, typer.Option(help="Where the broker asks for it.")] = None,
    password_file: Annotated[
        str | None, typer.Option(help="A file with the password, for you alone (chmod 600).")
    ] = None,
    ca_file: Annotated[
        str | None, typer.Option(help="Of the authority behind the broker's certificate.")
    ] = None,
    json: Json = False,
) -> None:
    """Listen at a broker and propose the mapping of the node `household`: Zigbee2MQTT, ESPHome, Tasmota,
    ESPresense.

    fusion-rt home discover --broker homeassistant.local --plan home.yaml > household.yaml

    Sensors that speak only when something changes are found when they do: open the doors, walk through the
    rooms. The node and its mapping: docs/home_sensors.md.
    """
    from fusion_rt import config
    from fusion_rt.scenario import load_plan
    from fusion_rt.sensors import discovery
    from fusion_rt.sinks.listening import Listener
    from fusion_rt.sinks.mqtt import Broker

    known = None if plan is None else load_plan(plan)
    host, _, port = broker.partition(":")
    if port and not port.isdigit():
        raise ConfigError(f"--broker {broker}: expected HOST or HOST:PORT")
    access = {"username": username, "password_file": password_file, "ca_file": ca_file}
    where = config.convert({"host": host, "port": int(port or 1883), **access}, Broker, f"--broker {broker}")
    heard: dict[str, bytes] = {}
    begin, met = time.monotonic(), False
    with closing(Listener(where, "", discovery.TOPICS)) as listener, progress("listening") as advance:
        while (passed_s := time.monotonic() - begin) < seconds:
            for message in listener.take(0.1):
                heard[message.topic] = message.payload
            met = met or listener.connected
            advance(min(passed_s / seconds, 1.0))
        trouble = listener.trouble
    if not met:
        raise NodeError(f"{broker}: {trouble or 'no broker answers there'}")
    found = discovery.propose(heard, known)
    if json:
        print_json([{**msgspec.to_builtins(one), "value": _finite(one.value)} for one in found])
        return
    if not found:
        errors.print(
            f"{broker}: no sensor spoke within {seconds:g} s ({len(heard)} topics heard)", markup=False
        )
        return
    text = discovery.as_yaml(found, known, broker)
    if plan is not None:
        text = text.replace("PLAN.yaml", str(Path(plan)))
    console.file.write(text)


@importers.command()
def readings(
    file: Annotated[Path, typer.Argument(help="CSV or JSON lines; or Home Assistant's history export.")],
    plan: Annotated[
        str, typer.Option(help="The home's plan: which sensors there are, and what they measure.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The log that is written, such as home.mcap.")],
    name: Annotated[
        list[str] | None,
        typer.Option(help="NAME=SENSOR: what is NAME in the file is SENSOR in the plan; again for more."),
    ] = None,
    columns: Annotated[
        Path | None, typer.Option(help="YAML: NAME -> {sensor, unit, scale, inverted, on}, for other units.")
    ] = None,
    timezone: Annotated[
        str, typer.Option(help="Of times that do not tell theirs, such as Europe/Berlin.")
    ] = "UTC",
    json: Json = False,
) -> None:
    """Readings of household sensors: a column a sensor, a row a reading, or JSON lines.

    fusion-rt import readings history.csv --plan home.yaml -o home.mcap

    fusion-rt import readings office.csv --plan home.yaml -o office.mcap --name CO2=office_co2
    --timezone Europe/Brussels

    A time column is called time, stamp, date, last_changed or the like; names are those of the plan, or
    given by --name. What cannot be used is left out and counted: docs/home_sensors.md.
    """
    from fusion_rt import config
    from fusion_rt.logs.importing import import_recording
    from fusion_rt.scenario import load_plan
    from fusion_rt.sensors.readings import Column, ReadingsFile

    known = {} if columns is None else config.load(columns, dict[str, Column])
    for word in name or []:
        theirs, equals, ours = word.partition("=")
        if not (theirs and equals and ours):
            raise ConfigError(f"--name {word}: expected NAME=SENSOR, such as CO2=office_co2")
        known[theirs] = Column(sensor=ours)
    recording = ReadingsFile(file, load_plan(plan), columns=known, timezone=timezone)
    with progress(f"importing {file.name}") as advance:
        result = import_recording(recording, out, advance, plan=recording.plan)
    if json:
        logs = [{"path": str(g.path), "packets": g.packets, "seconds": g.seconds} for g in result.logs]
        print_json({"logs": logs, "errors": result.errors})
        return
    for log in result.logs:
        console.print(
            f"{log.path}: {log.packets} readings, {log.seconds:.1f} s", markup=False, soft_wrap=True
        )
    for error in result.errors:
        errors.print(f"left out: {error}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def _finite(value: float) -> float | None:
    return value if value == value else None
