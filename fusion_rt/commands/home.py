"""fusion-rt home ...: what a home needs before it runs."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from fusion_rt.commands.common import Json, console, errors, print_json, progress
from fusion_rt.errors import NodeError

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
    ca_file: Annotated[str | None, typer.Option(help="Of the authority behind the broker's certificate.")] = None,
    json: Json = False,
) -> None:
    """Listen at a broker and propose the mapping of the node `household`: Zigbee2MQTT, ESPHome, Tasmota,
    ESPresense.

    fusion-rt home discover --broker homeassistant.local --plan home.yaml > household.yaml

    Sensors that speak only when something changes are found when they do: open the doors, walk through the rooms.
    The node and its mapping: docs/home_sensors.md.
    """
    from fusion_rt.plan import Plan
    from fusion_rt.scenario import locate
    from fusion_rt.sensors import discovery
    from fusion_rt.sinks.listening import Listener
    from fusion_rt.sinks.mqtt import Broker

    known = None if plan is None else Plan.load(locate(plan))
    host, _, port = broker.partition(":")
    where = msgspec.convert(
        {
            "host": host,
            "port": int(port) if port.isdigit() else 1883,
            "username": username,
            "password_file": password_file,
            "ca_file": ca_file,
        },
        Broker,
    )
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
        errors.print(f"{broker}: no sensor spoke within {seconds:g} s ({len(heard)} topics heard)", markup=False)
        return
    text = discovery.as_yaml(found, known, broker)
    if plan is not None:
        text = text.replace("PLAN.yaml", str(Path(plan)))
    console.file.write(text)


def _finite(value: float) -> float | None:
    return value if value == value else None
