"""Plans of homes to train and to judge on: the simulator's rooms and doors, and other sensors in each.

No network should know one home by heart, nor count on a sensor to be there."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace

from fusion_rt import config
from fusion_rt.plan import OUTSIDE, Plan, Sensor
from fusion_rt.sim.home.plans import random_plan

HEARD = ("living", "kitchen", "hall", "study")
WATCHED = ("living", "kitchen")
WIDEST_M, DEEPEST_M = 11.9, 9.9  # so that a part of the canvas holds all of it


class Box(NamedTuple):
    x0: float
    y0: float
    x1: float
    y1: float


def plan_of(seed: int, *, equipped: bool = False) -> Plan:
    """The same plan for the same arguments: three to six rooms.

    equipped: the sensors of a home that means it, instead of some by chance: motion in every room, a radar in
    all but bathrooms, cameras and microphones in living room and kitchen, contacts at the doors."""
    rng = np.random.default_rng([seed, 77])
    while True:
        plan = random_plan(int(rng.integers(1 << 31)), int(rng.integers(3, 7)))
        x0, y0, x1, y1 = plan.bounds()
        if x1 - x0 <= WIDEST_M and y1 - y0 <= DEEPEST_M:
            break
    sensors: dict[str, Any] = {}
    doors = {}
    for slug, door in plan.doors.items():
        outer = OUTSIDE in door.rooms
        private = any(room.startswith(("bath", "bed", "guest")) for room in door.rooms)
        chance = 0.85 if outer else 0.5 if private else 0.2
        contact = f"{slug}_contact" if equipped or rng.random() < chance else ""
        doors[slug] = replace(door, contact=contact)
        if contact:
            side = next(r for r in door.rooms if r != OUTSIDE)
            sensors[contact] = {"kind": "contact", "room": side}
    for name, room in plan.rooms.items():
        (bx0, by0), (bx1, by1) = room.corners.min(axis=0), room.corners.max(axis=0)
        sensors |= _sensors(name, Box(float(bx0), float(by0), float(bx1), float(by1)), rng, equipped)
    if not equipped and rng.random() < 0.3:
        sensors["p1_belt"] = {"kind": "imu", "room": "p1"}
    rooms = plan.rooms
    if equipped:  # a radar sees soon that nobody is there any more
        seen = {told["room"] for told in sensors.values() if told["kind"] == "radar"}
        rooms = {slug: replace(r, hold_s=3.0 if slug in seen else 10.0) for slug, r in rooms.items()}
    typed = {slug: config.convert(told, Sensor, f"plan {seed}: {slug}") for slug, told in sensors.items()}
    plan = replace(plan, rooms=rooms, doors=doors, sensors=typed)
    plan.check(f"plan {seed}")
    return plan


def _sensors(name: str, box: Box, rng: np.random.Generator, equipped: bool) -> dict[str, Any]:
    wet, private = name.startswith("bath"), name.startswith(("bath", "bed", "guest"))
    chances = {
        "radar": 0.65 if not wet else 0.35,
        "camera": 0.45 if not private else 0.05,
        "motion": 0.65,
        "microphone": 0.5 if not wet else 0.1,
        "temperature": 0.45,
        "humidity": 0.45 if not wet else 0.8,
        "co2": 0.35 if not wet else 0.1,
        "illuminance": 0.4,
        "presence": 0.12,
        "distance": 0.25,
        "smoke": 0.3 if name in ("kitchen", "hall") else 0.0,
    }
    if equipped:
        chances |= dict.fromkeys(("motion", "humidity", "temperature", "illuminance"), 1.0)
        chances |= {"radar": float(not wet), "microphone": float(name in HEARD), "presence": 0.0}
        chances |= {"camera": float(name in WATCHED), "co2": float(name in WATCHED or private)}
    sensors: dict[str, Any] = {}
    for kind, chance in chances.items():
        if rng.random() >= chance:
            continue
        slug = f"{name}_{kind}"
        sensors[slug] = {"kind": kind, "room": name} | _details(kind, box, rng)
    if name == "kitchen" and rng.random() < 0.8:
        sensors["cooker_power"] = {"kind": "power", "room": name, "period_s": 10.0}
    if name == "living" and rng.random() < 0.7:
        sensors["tv_power"] = {"kind": "power", "room": name, "period_s": 10.0}
    return sensors


def _details(kind: str, box: Box, rng: np.random.Generator) -> dict[str, Any]:
    east, north = bool(rng.random() < 0.5), bool(rng.random() < 0.5)
    x = box.x1 - 0.2 if east else box.x0 + 0.2
    y = box.y1 - 0.2 if north else box.y0 + 0.2
    centre = (0.5 * (box.x0 + box.x1), 0.5 * (box.y0 + box.y1))
    heading = math.degrees(math.atan2(centre[1] - y, centre[0] - x)) + float(rng.uniform(-8, 8))
    far = math.hypot(box.x1 - box.x0, box.y1 - box.y0)
    if kind == "radar":
        height = float(rng.uniform(1.2, 2.1))
        pose = {"translation": (x, y, height), "rpy_deg": (0.0, 0.0, heading)}
        reach = max(6.0, math.ceil(far))
        return {
            "pose": pose,
            "fov_deg": float(rng.choice([100, 120, 140])),
            "range_m": reach,
            "period_s": 0.1,
        }
    if kind == "camera":
        down = float(rng.uniform(18, 32))
        pose = {
            "translation": (x, y, float(rng.uniform(2.0, 2.4))),
            "rpy_deg": (-(90.0 + down), 0.0, heading - 90.0),
        }
        focal = float(rng.uniform(330, 460))
        K = ((focal, 0.0, 320.0), (0.0, focal, 240.0), (0.0, 0.0, 1.0))
        return {"pose": pose, "width": 640, "height": 480, "K": K, "period_s": 0.2}
    if kind == "motion":
        pose = {"translation": (x, y, 2.2), "rpy_deg": (0.0, 20.0, heading)}
        return {"pose": pose, "fov_deg": 110.0, "range_m": max(6.0, math.ceil(far))}
    if kind == "distance":
        return {"pose": {"translation": (*centre, 1.0)}, "period_s": 5.0}
    periods = {"microphone": 0.5, "temperature": 60.0, "humidity": 60.0, "co2": 60.0, "illuminance": 30.0}
    return {"period_s": periods[kind]} if kind in periods else {}
