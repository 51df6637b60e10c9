"""Random plans: three to ten rooms in a rectangle, doors between them, sensors and devices in them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fusion_rt.plan import OUTSIDE, Device, Door, Plan, Room, Sensor
from fusion_rt.rig import Pose
from fusion_rt.transforms import Array

NARROWEST_M = 1.9
DOOR_M = 0.9
PERIODS_S = {
    "temperature": 60.0,
    "humidity": 60.0,
    "co2": 60.0,
    "illuminance": 30.0,
    "microphone": 0.5,
    "smoke": 60.0,
}
# kind of sensor -> chance that a room has one
CHANCES = {
    "motion": 0.6,
    "radar": 0.45,
    "camera": 0.2,
    "microphone": 0.3,
    "temperature": 0.5,
    "humidity": 0.4,
    "co2": 0.3,
    "illuminance": 0.4,
}
Box = tuple[float, float, float, float]  # x0, y0, x1, y1


def random_plan(seed: int, rooms: int = 0) -> Plan:
    """A plan of 3 to 10 rooms (0: drawn); the same for the same arguments."""
    rng = np.random.default_rng([seed, 0x504C414E])
    n = rooms or int(rng.integers(3, 11))
    while True:
        area = float(rng.uniform(10.5, 15.0)) * n
        width = math.sqrt(area * float(rng.uniform(0.8, 1.6)))
        boxes = _split((0.0, 0.0, round(width, 1), round(area / width, 1)), n, rng)
        doors = _doors(boxes, rng) if len(boxes) == n else None
        if doors is not None:
            break
    names = _names(boxes, doors)
    plan = Plan(
        site=f"home{seed}",
        rooms={
            slug: Room(
                name=slug.replace("_", " ").capitalize(), polygon=((x0, y0), (x1, y0), (x1, y1), (x0, y1))
            )
            for slug, (x0, y0, x1, y1) in zip(names, boxes)
        },
        doors=_named(doors, boxes, names, rng),
        sensors=_sensors(dict(zip(names, boxes)), rng),
        devices={f"{slug}_lamp": Device(kind="light", room=slug, name="lamp") for slug in names},
    )
    contacts = {
        door.contact: Sensor(kind="contact", room=next(r for r in door.rooms if r != OUTSIDE))
        for door in plan.doors.values()
        if door.contact
    }
    plan = Plan(
        site=plan.site,
        rooms=plan.rooms,
        doors=plan.doors,
        sensors={**contacts, **plan.sensors},
        devices=plan.devices,
    )
    plan.check(f"random plan {seed}")
    return plan


def _split(box: Box, n: int, rng: np.random.Generator) -> list[Box]:
    """The box cut in n, across its longer side; fewer where it is too narrow."""
    if n == 1:
        return [box]
    x0, y0, x1, y1 = box
    a = n // 2 if n == 2 or rng.random() < 0.6 else max(1, n // 3)
    share = a / n * float(rng.uniform(0.85, 1.2))
    if x1 - x0 >= y1 - y0:
        cut = round(x0 + (x1 - x0) * share, 1)
        parts: tuple[Box, Box] = ((x0, y0, cut, y1), (cut, y0, x1, y1))
        wide = min(cut - x0, x1 - cut)
    else:
        cut = round(y0 + (y1 - y0) * share, 1)
        parts = ((x0, y0, x1, cut), (x0, cut, x1, y1))
        wide = min(cut - y0, y1 - cut)
    if wide < NARROWEST_M:
        return []
    first, second = _split(parts[0], a, rng), _split(parts[1], n - a, rng)
    return [*first, *second] if first and second else []


def _common(a: Box, b: Box) -> tuple[Array, Array] | None:
    """The piece of wall that two boxes share: its ends, m."""
    for k in (0, 1):
        other = 1 - k
        for p, q in ((a, b), (b, a)):
            if abs(p[k + 2] - q[k]) < 1e-6:
                low, high = max(a[other], b[other]), min(a[other + 2], b[other + 2])
                if high - low > DOOR_M + 0.4:
                    ends = np.empty((2, 2))
                    ends[:, k], ends[:, other] = p[k + 2], (low, high)
                    return ends[0], ends[1]
    return None


def _doors(boxes: list[Box], rng: np.random.Generator) -> list[tuple[int, int]] | None:
    """Pairs of rooms with a door: a tree from the room with the most neighbours, and a few more."""
    n = len(boxes)
    joined = {(i, j) for i in range(n) for j in range(i + 1, n) if _common(boxes[i], boxes[j]) is not None}
    degree = [sum(i in pair for pair in joined) for i in range(n)]
    hub = int(np.argmax(degree))
    seen, doors, frontier = {hub}, [], [hub]
    while frontier:
        here = frontier.pop(0)
        for pair in sorted(joined):
            there = pair[1] if pair[0] == here else pair[0]
            if here in pair and there not in seen:
                seen.add(there)
                frontier.append(there)
                doors.append(pair)
    doors += [pair for pair in sorted(joined) if pair not in doors and rng.random() < 0.15]
    return doors if len(seen) == n else None


def _names(boxes: list[Box], doors: list[tuple[int, int]]) -> list[str]:
    """Hall: most doors, the smallest of those. Bath: the smallest of the others. Living: the largest."""
    n = len(boxes)
    area = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes]
    degree = [sum(i in pair for pair in doors) for i in range(n)]
    names = [""] * n
    left = set(range(n))

    def take(name: str, key: Callable[[int], Any]) -> None:
        if left:
            i = max(sorted(left), key=key)
            names[i] = name
            left.remove(i)

    if n > 3:
        take("hall", lambda i: (degree[i], -area[i]))
    take("bathroom", lambda i: (-min(degree[i], 2), -area[i]))
    take("living", lambda i: area[i])
    take("kitchen", lambda i: area[i] if n < 4 else -abs(area[i] - 11))
    for name in ("bedroom", "bedroom_2", "study", "guest_room", "bathroom_2", "bedroom_3"):
        take(name, lambda i: area[i])
    return names


def _named(
    pairs: list[tuple[int, int]], boxes: list[Box], names: list[str], rng: np.random.Generator
) -> dict[str, Door]:
    doors = {}
    for i, j in pairs:
        ends = _common(boxes[i], boxes[j])
        if ends is None:
            continue
        slug = f"{names[i]}_{names[j]}"
        contact = f"{slug}_contact" if rng.random() < 0.4 else ""
        doors[slug] = Door(rooms=(names[i], names[j]), at=_opening(*ends, rng), contact=contact)
    entrance = names.index("hall") if "hall" in names else names.index("living")
    x0, y0, x1, y1 = (
        min(b[0] for b in boxes),
        min(b[1] for b in boxes),
        max(b[2] for b in boxes),
        max(b[3] for b in boxes),
    )
    order = [entrance, *(i for i in range(len(boxes)) if i != entrance and "bath" not in names[i])]
    for i in order:
        a, b, c, d = boxes[i]
        sides = [
            (np.array(p), np.array(q))
            for on, p, q in (
                (a == x0, (a, b), (a, d)),
                (c == x1, (c, b), (c, d)),
                (b == y0, (a, b), (c, b)),
                (d == y1, (a, d), (c, d)),
            )
            if on
        ]
        if sides:
            side = sides[int(rng.integers(len(sides)))]
            contact = "front_contact" if rng.random() < 0.9 else ""
            doors["front"] = Door(rooms=(names[i], OUTSIDE), at=_opening(*side, rng), contact=contact)
            return doors
    return doors


def _opening(a: Array, b: Array, rng: np.random.Generator) -> tuple[tuple[float, float], tuple[float, float]]:
    length = float(np.hypot(*(b - a)))
    along = (b - a) / length
    start = float(rng.uniform(0.2, length - DOOR_M - 0.2))
    p, q = a + along * start, a + along * (start + DOOR_M)
    return (round(float(p[0]), 2), round(float(p[1]), 2)), (round(float(q[0]), 2), round(float(q[1]), 2))


def _sensors(boxes: dict[str, Box], rng: np.random.Generator) -> dict[str, Sensor]:
    sensors = {}
    for slug, box in boxes.items():
        for kind, chance in CHANCES.items():
            private = slug.startswith(("bath", "bed", "guest"))
            if rng.random() >= chance or (kind == "camera" and private):
                continue
            if kind == "radar":
                model = "ld2450" if rng.random() < 0.35 else "radar"
                sensors[f"{slug}_{model}"] = _in_corner(slug, kind, box, 1.5, 0.0, rng)
            elif kind in ("motion", "camera"):
                sensors[f"{slug}_{kind}"] = _in_corner(slug, kind, box, 2.2, 20.0, rng)
            else:
                sensors[f"{slug}_{kind}"] = Sensor(kind=kind, room=slug, period_s=PERIODS_S[kind])  # type: ignore[arg-type]
        if slug == "kitchen":
            sensors["cooker_power"] = Sensor(kind="power", room=slug, period_s=10)
            sensors["kitchen_smoke"] = Sensor(kind="smoke", room=slug, period_s=60)
        if slug == "living":
            sensors["tv_power"] = Sensor(kind="power", room=slug, period_s=10)
            middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, 1.0)
            sensors["living_beacon"] = Sensor(
                kind="distance", room=slug, pose=Pose(translation=middle), period_s=5
            )
    return sensors


def _in_corner(slug: str, kind: str, box: Box, z: float, down_deg: float, rng: np.random.Generator) -> Sensor:
    """A spatial sensor in a corner of a room, looking at its middle."""
    x0, y0, x1, y1 = box
    left, low = rng.random() < 0.5, rng.random() < 0.5
    x, y = (x0 + 0.2 if left else x1 - 0.2), (y0 + 0.2 if low else y1 - 0.2)
    yaw = math.degrees(math.atan2((y0 + y1) / 2 - y, (x0 + x1) / 2 - x))
    at = (round(x, 2), round(y, 2), z)
    if kind == "camera":
        pose = Pose(translation=at, rpy_deg=(-90.0 - down_deg, 0.0, round(yaw - 90.0, 1)))
        K = ((420.0, 0.0, 320.0), (0.0, 420.0, 240.0), (0.0, 0.0, 1.0))
        return Sensor(kind="camera", room=slug, pose=pose, width=640, height=480, K=K, period_s=0.2)
    pose = Pose(translation=at, rpy_deg=(0.0, down_deg, round(yaw, 1)))
    if kind == "radar":
        return Sensor(kind="radar", room=slug, pose=pose, fov_deg=120, range_m=8, period_s=0.1)
    return Sensor(kind="motion", room=slug, pose=pose, fov_deg=110, range_m=7)
