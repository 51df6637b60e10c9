"""Random plans: no network should know one home by heart.

A rectangle is cut again and again into rooms; doors join all of them; each room gets some of the sensors that
one may find in a home, never the same twice."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from fusion_rt import config
from fusion_rt.plan import OUTSIDE, Plan

LEAST_M = 1.9  # side of a room
DOOR_M = 0.9
HEARD = ("living", "kitchen", "hall", "study")
WATCHED = ("living", "kitchen")


class Box(NamedTuple):
    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def area(self) -> float:
        return (self.x1 - self.x0) * (self.y1 - self.y0)


class Edge(NamedTuple):
    """A piece of wall between rooms a and b, from one point to another, m."""

    a: int
    b: int
    start: tuple[float, float]
    end: tuple[float, float]

    @property
    def length(self) -> float:
        return math.dist(self.start, self.end)


def random_plan(seed: int, *, equipped: bool = False) -> Plan:
    """The same plan for the same seed: three to seven rooms. equipped: with what a home that means it would
    have, instead of some of it: every room but the bathroom a radar, every room motion, contacts at doors."""
    rng = np.random.default_rng([seed, 77])
    while True:
        boxes = _cut(rng)
        edges = _shared(boxes)
        if _joined(len(boxes), [(e.a, e.b) for e in edges]):
            break
    boxes, names, hall = _named(boxes, edges, rng)
    edges = _shared(boxes)
    rooms: dict[str, Any] = {}
    for name, box in zip(names, boxes):
        corners = [(box.x0, box.y0), (box.x1, box.y0), (box.x1, box.y1), (box.x0, box.y1)]
        absent = 600.0 if name.startswith(("bed", "guest")) else 120.0
        rooms[name] = {"name": name.replace("_", " ").title(), "polygon": corners, "absent_s": absent}
    doors, contacts = _doors(boxes, names, edges, hall, rng, equipped)
    sensors = dict(contacts)
    for name, box in zip(names, boxes):
        sensors |= _sensors(name, box, rng, equipped)
    if rng.random() < (0.3 if not equipped else 0.0):
        sensors["p1_belt"] = {"kind": "imu", "room": "p1"}
    plan = config.convert({"rooms": rooms, "doors": doors, "sensors": sensors}, Plan, f"plan {seed}")
    plan.check(f"plan {seed}")
    return plan


def _cut(rng: np.random.Generator) -> list[Box]:
    count = int(rng.integers(3, 8))
    wide = float(rng.uniform(5.5, 8.0) + 0.5 * count)
    deep = float(rng.uniform(4.5, 6.5) + 0.35 * count)
    boxes = [Box(0.0, 0.0, round(wide, 1), round(deep, 1))]
    while len(boxes) < count:
        order = sorted(range(len(boxes)), key=lambda i: -boxes[i].area * rng.uniform(0.6, 1.0))
        for i in order:
            box = boxes[i]
            w, d = box.x1 - box.x0, box.y1 - box.y0
            along_x = w > d if rng.random() < 0.8 else w <= d
            side = w if along_x else d
            if side < 2 * LEAST_M:
                continue
            at = round(float(rng.uniform(LEAST_M, side - LEAST_M)), 1)
            if along_x:
                parts = [box._replace(x1=box.x0 + at), box._replace(x0=box.x0 + at)]
            else:
                parts = [box._replace(y1=box.y0 + at), box._replace(y0=box.y0 + at)]
            boxes[i : i + 1] = parts
            break
        else:
            break
    return boxes


def _shared(boxes: list[Box]) -> list[Edge]:
    """Walls between rooms that are long enough for a door."""
    edges = []
    for i, a in enumerate(boxes):
        for j, b in enumerate(boxes[:i]):
            for x, right in ((a.x1, b.x0), (a.x0, b.x1)):
                if abs(x - right) < 1e-6:
                    edges.append(Edge(i, j, (x, max(a.y0, b.y0)), (x, min(a.y1, b.y1))))
            for y, top in ((a.y1, b.y0), (a.y0, b.y1)):
                if abs(y - top) < 1e-6:
                    edges.append(Edge(i, j, (max(a.x0, b.x0), y), (min(a.x1, b.x1), y)))
    fits = [e for e in edges if e.start[0] <= e.end[0] and e.start[1] <= e.end[1]]
    return [e for e in fits if e.length >= DOOR_M + 0.5]


def _joined(count: int, pairs: list[tuple[int, int]]) -> bool:
    reached = {0}
    while True:
        more = {b for a, b in pairs if a in reached} | {a for a, b in pairs if b in reached}
        if more <= reached:
            return len(reached) == count
        reached |= more


def _named(boxes: list[Box], edges: list[Edge], rng: np.random.Generator) -> tuple[list[Box], list[str], int]:
    """Living and bedroom are large, bathroom and hall small; the hall is where most doors could be."""
    count = len(boxes)
    order = sorted(range(count), key=lambda i: -boxes[i].area)
    names = [""] * count
    if count >= 5:
        small = order[count // 2 :]
        ways = {i: sum(i in (e.a, e.b) for e in edges) for i in small}
        hall = max(small, key=lambda i: ways[i])
        names[hall] = "hall"
    rest = [i for i in order if not names[i]]
    names[rest[0]] = "living"
    names[rest[-1]] = "bathroom"
    others = ["kitchen", "bedroom", "study", "bedroom_2", "guest"]
    middle = rest[1:-1]
    for i, name in zip(rng.permutation(middle).tolist(), others):
        names[i] = name
    entrance = names.index("hall") if "hall" in names else names.index("living")
    return boxes, names, entrance


def _doors(
    boxes: list[Box],
    names: list[str],
    edges: list[Edge],
    entrance: int,
    rng: np.random.Generator,
    equipped: bool,
) -> tuple[dict[str, Any], dict[str, Any]]:
    doors: dict[str, Any] = {}
    contacts: dict[str, Any] = {}

    def add(slug: str, rooms: tuple[str, str], edge: Edge, contact_p: float) -> None:
        free = edge.length - DOOR_M - 0.4
        at = 0.2 + float(rng.random()) * max(free, 0.0)
        along = ((edge.end[0] - edge.start[0]) / edge.length, (edge.end[1] - edge.start[1]) / edge.length)
        ends = [(edge.start[0] + along[0] * d, edge.start[1] + along[1] * d) for d in (at, at + DOOR_M)]
        doors[slug] = {"rooms": rooms, "at": ends}
        if rng.random() < (contact_p if not equipped else 2 * contact_p):
            doors[slug]["contact"] = f"{slug}_contact"
            contacts[f"{slug}_contact"] = {"kind": "contact", "room": rooms[0]}

    # From the entrance on, so that all rooms are reached; the hall's doors first.
    reached = {entrance}
    while len(reached) < len(boxes):
        ways = [e for e in edges if (e.a in reached) != (e.b in reached)]
        firsts = [e for e in ways if entrance in (e.a, e.b)]
        # A bathroom is no way to somewhere else, where that can be helped.
        good = [e for e in firsts or ways if names[e.a if e.a in reached else e.b] != "bathroom"] or ways
        edge = good[int(rng.integers(len(good)))]
        inner = edge.b if edge.a in reached else edge.a
        private = names[inner].startswith(("bath", "bed", "guest"))
        add(
            f"{names[inner]}_door",
            (names[inner], names[edge.a + edge.b - inner]),
            edge,
            0.55 if private else 0.2,
        )
        reached.add(inner)
    box = boxes[entrance]
    walls = [
        Edge(entrance, -1, (box.x0, box.y0), (box.x1, box.y0)),
        Edge(entrance, -1, (box.x0, box.y1), (box.x1, box.y1)),
        Edge(entrance, -1, (box.x0, box.y0), (box.x0, box.y1)),
        Edge(entrance, -1, (box.x1, box.y0), (box.x1, box.y1)),
    ]
    x1, y1 = max(b.x1 for b in boxes), max(b.y1 for b in boxes)
    outer = [w for w in walls if _outer(w, x1, y1)] or walls
    # A room inside of all others opens to a shaft: the door is on any wall.
    add("front", (names[entrance], OUTSIDE), outer[int(rng.integers(len(outer)))], 0.85)
    return doors, contacts


def _outer(wall: Edge, x1: float, y1: float) -> bool:
    (ax, ay), (bx, by) = wall.start, wall.end
    return (ax == bx and ax in (0.0, x1)) or (ay == by and ay in (0.0, y1))


def _sensors(name: str, box: Box, rng: np.random.Generator, equipped: bool) -> dict[str, Any]:
    wet, private = name == "bathroom", name.startswith(("bath", "bed", "guest"))
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
