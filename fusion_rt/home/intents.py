"""What was asked for, with the room that was meant: the one that was named, else where the speaker is."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from fusion_rt.messages import Command
from fusion_rt.plan import OUTSIDE, Plan
from fusion_rt.scene import Intent, Why

FILLED = 0.3  # a room with less is not where somebody spoke, if another is


class Grounding:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._slugs = {slug.replace("_", " "): slug for slug in plan.rooms}
        self._slugs |= {room.name.casefold(): slug for slug, room in plan.rooms.items()}
        self._beside: dict[str, set[str]] = {slug: set() for slug in plan.rooms}
        for door in plan.doors.values():
            a, b = door.rooms
            if OUTSIDE not in (a, b):
                self._beside[a].add(b)
                self._beside[b].add(a)

    def ground(
        self,
        command: Command,
        *,
        speech: float,
        occupied: Mapping[str, float],
        seen: Collection[str],
        why: Why,
    ) -> Intent:
        """speech: that the microphone hears somebody; occupied: room -> probability; seen: rooms with
        somebody who is tracked."""
        named = command.slots.get("room", "")
        room = self._slugs.get(named.replace("_", " ").casefold(), "")
        if not room and not named:
            room = self._speaker(self._plan.sensors[command.header.sensor_id].room, occupied, seen)
        slots = dict(command.slots)
        if room and "all" not in slots:  # all the lights are those of every room, unless one was named
            slots["room"] = room
        return Intent(
            intent=command.intent,
            slots=slots,
            p=speech * command.p,
            room=room,
            stamp_ns=command.header.stamp_ns,
            why=why,
        )

    def _speaker(self, heard_in: str, occupied: Mapping[str, float], seen: Collection[str]) -> str:
        """The microphone's room; a voice through a door where nobody is there and somebody beside."""
        if heard_in not in self._beside or occupied.get(heard_in, 1.0) >= FILLED:
            return heard_in if heard_in in self._beside else ""
        beside = {room: occupied.get(room, 0.0) for room in sorted(self._beside[heard_in]) if room in seen}
        likeliest = max(beside, key=lambda room: beside[room], default=heard_in)
        return likeliest if beside.get(likeliest, 0.0) >= 1 - FILLED else heard_in
