"""Events: falls out of people's lives; rings, knocks, breaking glass, alarms, cries and barks at random."""

from __future__ import annotations

import numpy as np

from fusion_rt.home_truth import TrueEvent
from fusion_rt.plan import OUTSIDE, Plan
from fusion_rt.sim.home.config import HomeSimConfig
from fusion_rt.sim.home.doors import Doors
from fusion_rt.sim.home.furniture import role
from fusion_rt.sim.home.motion import HZ, People
from fusion_rt.sim.home.routine import Household

# s
LENGTHS = {
    "doorbell": (1.0, 3.0),
    "knock": (0.8, 2.0),
    "glass_break": (0.5, 1.5),
    "smoke_alarm": (20.0, 180.0),
    "baby_cry": (5.0, 60.0),
    "dog_bark": (0.5, 8.0),
}


def happen(
    house: Household, people: People, doors: Doors, config: HomeSimConfig, rng: np.random.Generator
) -> list[TrueEvent]:
    """All events in the order of their onsets. A visitor rings or knocks before the door opens."""
    plan, start_ns, seconds = house.plan, config.start_ns, config.hours * 3600
    events = []
    for at_s, person in house.falls:
        tick = round(at_s * HZ)
        if not 0 <= tick < people.xy.shape[1] or people.room[person, tick] < 0:
            continue
        x, y = (float(v) for v in people.xy[person, tick])
        room = list(plan.rooms)[int(people.room[person, tick])]
        onset = start_ns + round(at_s * 1e9)
        events.append(
            TrueEvent(
                kind="fall",
                room=room,
                position=(x, y),
                onset_ns=onset,
                end_ns=onset + round(0.6e9),
                person_id=people.names[person],
            )
        )
    times: list[tuple[float, str]] = []
    for kind, per_day in config.sounds.events_per_day.items():
        n = rng.poisson(per_day * config.hours / 24)
        times += [(float(t), kind) for t in rng.uniform(0, seconds, n)]
    outer = [d for d, door in enumerate(plan.doors.values()) if OUTSIDE in door.rooms]
    for d, tick, person, came_from in doors.passed:
        if d in outer and came_from < 0 and people.names[person].startswith("guest"):
            kind = "doorbell" if rng.random() < 0.7 else "knock"
            times.append((max(tick / HZ - float(rng.uniform(6, 20)), 0.0), kind))
    for at_s, kind in sorted(times):
        room, position = _where(plan, kind, rng)
        low, high = LENGTHS[kind]
        onset = start_ns + round(at_s * 1e9)
        events.append(
            TrueEvent(
                kind=kind,
                room=room,
                position=position,
                onset_ns=onset,
                end_ns=onset + round(float(rng.uniform(low, high)) * 1e9),
            )
        )
    return sorted(events, key=lambda event: event.onset_ns)


def _where(plan: Plan, kind: str, rng: np.random.Generator) -> tuple[str, tuple[float, float]]:
    """Rings and knocks are at an outer door, alarms near the kitchen, the rest anywhere."""
    outer = [door for door in plan.doors.values() if OUTSIDE in door.rooms]
    if kind in ("doorbell", "knock") and outer:
        door = outer[int(rng.integers(len(outer)))]
        room = next((r for r in door.rooms if r != OUTSIDE), "")
        (ax, ay), (bx, by) = door.at
        return room, ((ax + bx) / 2, (ay + by) / 2)
    slugs = list(plan.rooms)
    if kind == "smoke_alarm":
        smoky = [s.room for s in plan.sensors.values() if s.kind == "smoke" and s.room in plan.rooms]
        slugs = smoky or [s for s in slugs if role(s, plan.rooms[s].name) == "kitchen"] or slugs
    slug = slugs[int(rng.integers(len(slugs)))]
    x, y = plan.rooms[slug].corners.mean(axis=0)
    return slug, (float(x), float(y))
