"""A home on the terminal: rooms, people, what happened lately."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from fusion_rt.scene import HomeEvent, Intent, Person, RoomState, Scene

BARS = " ▁▂▃▄▅▆▇█"


def render(scene: Scene, happened: Sequence[HomeEvent | Intent] = ()) -> RenderableType:
    """happened: events and intents of earlier scenes, oldest first."""
    parts: list[RenderableType] = [_rooms(scene), ""]
    parts += [_person(person) for person in scene.people] or [Text("nobody is seen", style="dim")]
    parts += [_line(entry) for entry in happened]
    return Group(*parts)


def _rooms(scene: Scene) -> Table:
    table = Table("room", "", "p", box=None, header_style="bold", pad_edge=False)
    table.add_column("people", justify="right")
    for name in ("activity", "since", "why"):
        table.add_column(name)
    for room in scene.rooms:
        bar = BARS[round(room.p_occupied * (len(BARS) - 1))]
        table.add_row(
            escape(room.room),
            Text("occupied" if room.occupied else "empty", style="green" if room.occupied else "dim"),
            f"{bar} {room.p_occupied:.2f}",
            str(room.people) if room.occupied else "",
            room.activity if room.occupied else "",
            _span(scene.header.stamp_ns - room.since_ns),
            why(room),
        )
    return table


def why(room: RoomState) -> str:
    """The two modalities that say most, and what is missing."""
    order = sorted(room.why.shares.items(), key=lambda share: -share[1])
    told = ", ".join(f"{name} {100 * share:.0f} %" for name, share in order[:2])
    lost = f"; without {', '.join(room.why.missing)}" if room.why.missing else ""
    return escape(told + lost)


def _person(person: Person) -> Text:
    x, y = person.position
    seen = f", unseen for {person.coasting_s:.0f} s" if person.coasting_s > 1 else ""
    where = f"{x:5.2f} {y:5.2f} m  {person.room or 'outside of all rooms'}"
    return Text.assemble((f"#{person.track_id:<4}", "bold cyan"), f"{where}  {person.posture}{seen}")


def _line(entry: HomeEvent | Intent) -> Text:
    if isinstance(entry, HomeEvent):
        return Text.assemble(
            f"{_clock(entry.onset_ns)}  ", (entry.kind, "bold yellow"), f"  {entry.room}  p {entry.p:.2f}"
        )
    slots = " ".join(f"{name}={value}" for name, value in sorted(entry.slots.items()))
    return Text.assemble(f"{_clock(entry.stamp_ns)}  ", (entry.intent, "bold magenta"), f"  {slots}")


def _clock(stamp_ns: int) -> str:
    return datetime.fromtimestamp(stamp_ns / 1e9, tz=timezone.utc).strftime("%H:%M:%S UTC")


def _span(ns: int) -> str:
    seconds = max(0, ns) // 1_000_000_000
    if seconds < 60:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
