"""A street, who and what stands on it, and which ground is taken: nothing stands inside anything else."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from fusion_rt.sim import actors, scenery, street_furniture
from fusion_rt.sim.actors import Actor
from fusion_rt.sim.raycast import TriMesh
from fusion_rt.sim.roads import Road, draw_road
from fusion_rt.sim.shapes import Shape
from fusion_rt.sim.streets import SHARES, STREETS

# Different shapes of a kind; each is drawn once a process, then stretched and turned.
USERS, THINGS = 1000, 300
BESIDE = scenery.MAKERS | street_furniture.MAKERS


@lru_cache(maxsize=4096)
def _shape(kind: str, number: int) -> Shape:
    rng = np.random.default_rng([sorted(actors.MAKERS).index(kind), number, 1])
    return actors.MAKERS[kind](rng)


@lru_cache(maxsize=4096)
def mesh_of(kind: str, number: int) -> TriMesh:
    """One of the THINGS shapes of what stands beside roads, about its own origin on the ground."""
    return BESIDE[kind](np.random.default_rng([*kind.encode(), number, 2]))


class Plot:
    """A street with room on and beside it. All draws come from one generator, in a fixed order.

    rng, kind and street, road; start, end: its range of s, m; busy: how full it is, 1 in the mean
    lane               middle of the ego's lane, m to the right of the road's
    ego_d, ego_speed, ego_accel
    statics, actors    what has been put there
    """

    def __init__(self, rng: np.random.Generator, *, start_m: float, end_m: float) -> None:
        self.rng = rng
        self.kind = str(rng.choice(list(SHARES), p=list(SHARES.values())))
        self.street = street = STREETS[self.kind]
        self.start, self.end = start_m, end_m
        self.busy = float(rng.gamma(2.2, 1 / 2.2))  # empty to packed
        pavement = rng.uniform(*street.pavement, 2)
        self.road: Road = draw_road(
            rng, start_m=start_m - 5, end_m=end_m + 5, half_width=float(rng.uniform(*street.half_width)),
            pavement=(float(pavement[0]), float(pavement[1])),
            beyond=street.beyond[rng.integers(len(street.beyond))],
            bend=street.bend * float(rng.uniform(0, 1) ** 1.5), steepness=street.steepness,
            crossings=street.crossings,
        )  # fmt: skip
        half = self.road.half_width
        self.lane = half / 2 if half < 5.5 else half / 4
        self.ego_d = -self.lane + float(rng.normal(0, 0.25))
        standing = rng.random() < 0.2
        self.ego_speed = 0.0 if standing else float(rng.uniform(*street.speed))
        self.ego_accel = 0.0 if standing else float(rng.normal(0, 0.6))
        self.statics: list[TriMesh] = []
        self.actors: list[Actor] = []
        self._circles = np.empty((0, 3))
        self.claim(0.0, self.ego_d, 0.0, 7.0, 2.2, 0.3)

    def claim(
        self, s: float, d: float, yaw: float, length: float, width: float, margin: float = 0.25
    ) -> bool:
        """Takes the ground under a rectangle, if nobody has it yet."""
        n = max(1, int(np.ceil(length / width)))
        along = (np.arange(n) - (n - 1) / 2) * (length / n)
        radius = 0.5 * float(np.hypot(length / n, width)) * 0.9
        new = np.column_stack([s + along * np.cos(yaw), d + along * np.sin(yaw), np.full(n, radius)])
        gap = np.hypot(*(new[:, None, :2] - self._circles[None, :, :2]).transpose(2, 0, 1))
        if np.any(gap < new[:, None, 2] + self._circles[None, :, 2] + margin):
            return False
        self._circles = np.concatenate([self._circles, new])
        return True

    def user(
        self,
        kind: str,
        s: float,
        d: float,
        yaw: float,
        along: float = 0.0,
        across: float = 0.0,
        margin: float = 0.25,
    ) -> bool:
        """Puts a road user down where there is room."""
        shape = _shape(kind, int(self.rng.integers(USERS)))
        stretch = np.clip(self.rng.normal(1.0, 0.025, 3), 0.92, 1.08)
        if not self.claim(s, d, yaw, shape.size[0] * stretch[0], shape.size[1] * stretch[1], margin):
            return False
        size = tuple(float(a * b) for a, b in zip(shape.size, stretch))
        scaled = Shape(shape.label, (size[0], size[1], size[2]), shape.mesh.scaled(stretch))
        self.actors.append(Actor(scaled, s, d, yaw, along, across))
        return True

    def thing(
        self, kind: str, s: float, d: float, yaw: float, length: float, width: float, margin: float = 0.2
    ) -> bool:
        """Puts down one of what stands beside roads, where there is room."""
        if not self.claim(s, d, yaw, length, width, margin):
            return False
        mesh = mesh_of(kind, int(self.rng.integers(THINGS)))
        stretch = self.rng.uniform(0.85, 1.15, 3)
        T = self.road.upright(s, d, yaw)
        self.statics.append(mesh.scaled(stretch).moved(T))
        return True

    def somewhere(self) -> float:
        """s with more of the draws near the ego, where an object is seen."""
        u = self.rng.random()
        if u < 0.6:
            return float(self.rng.uniform(3.0, min(50.0, self.end)))
        return float(self.rng.uniform(self.start, self.end))

    def stretch(self) -> tuple[float, float]:
        """The range of s of a part of the street."""
        low, high = np.sort(self.rng.uniform(self.start, self.end, 2))
        return float(low), float(high)

    def edge(self, side: int) -> float:
        """How far from the middle of the road its pavement ends, m; side: -1 right, 1 left."""
        return self.road.half_width + self.road.pavement[0 if side > 0 else 1]

    def count(self, per_100m: float) -> int:
        """How many of something there are along the whole street."""
        return int(self.rng.poisson(per_100m * (self.end - self.start) / 100))
