"""Who and what stands where: draws a street and fills it, nothing inside anything else."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from fusion_rt.sim import actors, meshes, scenery
from fusion_rt.sim.actors import Actor
from fusion_rt.sim.raycast import Material, TriMesh
from fusion_rt.sim.roads import Road, draw_road, surface
from fusion_rt.sim.shapes import Shape
from fusion_rt.sim.streets import SHARES, STREETS

# Different shapes of a kind; each is drawn once a process, then stretched and turned.
USERS, THINGS = 1000, 300


@lru_cache(maxsize=4096)
def _shape(kind: str, number: int) -> Shape:
    rng = np.random.default_rng([sorted(actors.MAKERS).index(kind), number, 1])
    return actors.MAKERS[kind](rng)


@lru_cache(maxsize=4096)
def _scenery(kind: str, number: int) -> TriMesh:
    return scenery.MAKERS[kind](np.random.default_rng([sorted(scenery.MAKERS).index(kind), number, 2]))


class Builder:
    """Fills one street. All draws come from one generator, in a fixed order."""

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
        self.lane = half / 2 if half < 5.5 else half / 4  # middle of the ego's lane, to the right
        self.ego_d = -self.lane + float(rng.normal(0, 0.25))
        standing = rng.random() < 0.2
        self.ego_speed = 0.0 if standing else float(rng.uniform(*street.speed))
        self.ego_accel = 0.0 if standing else float(rng.normal(0, 0.6))
        self.statics: list[TriMesh] = []
        self.actors: list[Actor] = []
        self._circles = np.empty((0, 3))
        self._claim(0.0, self.ego_d, 0.0, 7.0, 2.2, 0.3)

    def build(self) -> None:
        """Draws everything, the likely conflicts first."""
        self.statics.append(surface(self.road, self.rng))
        self._traffic()
        for side in (-1, 1):
            self._parked(side)
            self._houses(side)
            self._belt(side)
            self._wood(side)
            self._avenue(side)
        self._strewn()
        self._boundaries()
        self._people()
        self._furniture()
        self._backdrop()

    def _claim(
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

    def _user(
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
        if not self._claim(s, d, yaw, shape.size[0] * stretch[0], shape.size[1] * stretch[1], margin):
            return False
        size = tuple(float(a * b) for a, b in zip(shape.size, stretch))
        scaled = Shape(shape.label, (size[0], size[1], size[2]), shape.mesh.scaled(stretch))
        self.actors.append(Actor(scaled, s, d, yaw, along, across))
        return True

    def _thing(
        self, kind: str, s: float, d: float, yaw: float, length: float, width: float, margin: float = 0.2
    ) -> bool:
        """Puts a piece of scenery down where there is room."""
        if not self._claim(s, d, yaw, length, width, margin):
            return False
        mesh = _scenery(kind, int(self.rng.integers(THINGS)))
        stretch = self.rng.uniform(0.85, 1.15, 3)
        T = self.road.upright(s, d, yaw)
        self.statics.append(mesh.scaled(stretch).moved(T))
        return True

    def _vehicle(self) -> str:
        return "van" if self.rng.random() < 0.13 else "car"

    def _somewhere(self) -> float:
        """s with more of the draws near the ego, where an object is seen."""
        u = self.rng.random()
        if u < 0.6:
            return float(self.rng.uniform(3.0, min(50.0, self.end)))
        return float(self.rng.uniform(self.start, self.end))

    def _count(self, per_100m: float) -> int:
        return int(self.rng.poisson(per_100m * (self.end - self.start) / 100))

    def _traffic(self) -> None:
        rng, half = self.rng, self.road.half_width
        lanes = (
            [-self.lane, self.lane] if half < 5.5 else [-3 * self.lane, -self.lane, self.lane, 3 * self.lane]
        )
        jam = rng.random() < 0.25
        for lane in lanes:
            own = lane == -self.lane
            speed = self.ego_speed if own else float(rng.uniform(*self.street.speed)) * (0.2 if jam else 1.0)
            direction = 1.0 if lane < 0 else -1.0
            for _ in range(self._count(self.street.traffic * self.busy * (2.0 if jam else 1.0) / 2)):
                s, d = self._somewhere(), lane + rng.normal(0, 0.25)
                yaw = (0.0 if direction > 0 else np.pi) + rng.normal(0, 0.03)
                self._user(self._vehicle(), s, d, yaw, along=direction * speed, margin=0.6)
        for low, high in self.road.crossings:
            for _ in range(int(rng.poisson(1.2 * self.busy))):
                turn = rng.choice([-1, 1])
                s = (low + high) / 2 - turn * (high - low) / 4
                d = float(rng.choice([-1, 1]) * rng.uniform(half + 3, half + 30))
                moving = rng.uniform(0, 8) if rng.random() < 0.6 else 0.0
                self._user(
                    self._vehicle(), s, d, turn * np.pi / 2 + rng.normal(0, 0.05), across=turn * moving
                )

    def _parked(self, side: int) -> None:
        """A row along one kerb: parallel, perpendicular or angled, on the road or beyond the kerb."""
        rng, half = self.rng, self.road.half_width
        share = rng.uniform(*self.street.parked)
        if rng.random() > 0.8:
            share = 0.0
        style = rng.choice(3, p=[0.78, 0.13, 0.09])
        yaw = (0.0, np.pi / 2, float(rng.uniform(0.7, 1.2)) * rng.choice([-1, 1]))[style]
        pitch = (rng.uniform(5.2, 7.0), rng.uniform(2.5, 3.2), rng.uniform(3.0, 3.8))[style]
        offset = (rng.uniform(-1.2, 1.1), rng.uniform(2.2, 4.0), rng.uniform(1.8, 3.2))[style]
        inside = self.lane + 2.2  # leave the lane free
        d = side * max(half + offset, inside)
        for s in np.arange(self.start, self.end, pitch):
            if rng.random() > share or self.road.in_crossing(s, 3.0):
                continue
            flip = np.pi if rng.random() < (0.2 if (side < 0) == (style == 0) else 0.7) else 0.0
            self._user(
                self._vehicle(),
                s + rng.normal(0, 0.3),
                d + rng.normal(0, 0.15),
                yaw + flip + rng.normal(0, 0.05),
                margin=0.1,
            )
        if rng.random() < 0.15:  # a car park: a second row
            for s in np.arange(self.start, self.end, 2.8):
                if rng.random() < 0.6 and not self.road.in_crossing(s, 3.0):
                    self._user(
                        self._vehicle(),
                        s,
                        d + side * rng.uniform(7, 9),
                        np.pi / 2 + rng.normal(0, 0.06),
                        margin=0.1,
                    )

    def _strewn(self) -> None:
        rng = self.rng
        for _ in range(self._count(self.street.strewn * self.busy)):
            d = rng.choice([-1, 1]) * (self.road.half_width + rng.uniform(1.5, 28))
            yaw = (
                rng.uniform(-np.pi, np.pi)
                if rng.random() < 0.4
                else rng.choice(4, p=[0.35, 0.15, 0.35, 0.15]) * np.pi / 2 + rng.normal(0, 0.1)
            )
            self._user(self._vehicle(), self._somewhere(), float(d), float(yaw))

    def _people(self) -> None:
        self._crowds()
        busy = float(self.rng.gamma(1.6, 1 / 1.6))
        self._walkers(busy)
        self._riders(busy)

    def _crowds(self) -> None:
        """People and bicycles close together: at a crossing, before a school, at a stop."""
        rng, half = self.rng, self.road.half_width
        for _ in range(int(rng.poisson(self.street.crowds))):
            s, d = float(rng.uniform(6.0, 45.0)), float(rng.uniform(-half - 6, half + 6))
            axis = float(rng.choice([np.pi / 2, 0.0, rng.uniform(-np.pi, np.pi)], p=[0.5, 0.15, 0.35]))
            size, riding, reach = int(rng.integers(4, 15)), rng.uniform(0.0, 0.65), rng.uniform(1.0, 5.0)
            waiting = rng.random() < 0.4
            for _ in range(size):
                at_s, at_d = s + rng.normal(0, reach), d + rng.normal(0, reach)
                yaw = axis + rng.choice([0.0, np.pi]) + rng.normal(0, 0.25)
                if rng.random() < 0.15:
                    yaw = rng.uniform(-np.pi, np.pi)
                if rng.random() >= riding:
                    speed = 0.0 if waiting else float(np.clip(rng.normal(1.3, 0.4), 0, 2.5))
                    self._company(at_s, at_d, yaw, speed, int(rng.choice([1, 2, 3], p=[0.5, 0.38, 0.12])))
                    continue
                speed = 0.0 if waiting else float(rng.uniform(1.0, 6.0))
                back, aside = ((0.0, 0.9), (2.0, 0.3))[rng.integers(2)]  # beside each other, or in a row
                for k in range(int(rng.choice([1, 2, 3], p=[0.6, 0.25, 0.15]))):
                    along, across = -k * back * rng.uniform(0.9, 1.3), k * aside * rng.uniform(-1.2, 1.2)
                    self._rider(
                        at_s + along * np.cos(yaw) - across * np.sin(yaw),
                        at_d + along * np.sin(yaw) + across * np.cos(yaw),
                        yaw + rng.normal(0, 0.08),
                        speed,
                    )

    def _walkers(self, busy: float) -> None:
        rng, half = self.rng, self.road.half_width
        groups = self._count(self.street.pedestrians * busy * 0.75)
        if rng.random() < 0.5:
            groups = max(groups, 2)
        for _ in range(groups):
            s, walk = self._somewhere(), rng.choice([-1, 1])
            if rng.random() < 0.25:  # crossing the road or standing on it
                d, yaw = float(rng.uniform(-half, half)), walk * np.pi / 2
            else:
                side = rng.choice([-1, 1])
                d = float(side * (half + rng.exponential(max(self.road.pavement) / 2 + 1.2) + 0.1))
                yaw = 0.0 if walk > 0 else np.pi
            yaw += rng.normal(0, 0.3)
            if rng.random() < 0.3:
                yaw = float(rng.uniform(-np.pi, np.pi))
            speed = float(np.clip(rng.normal(1.3, 0.35), 0.0, 2.5)) if rng.random() < 0.7 else 0.0
            if rng.random() < 0.65:
                self._company(s, d, yaw, speed, int(rng.choice([1, 2, 3, 4], p=[0.52, 0.34, 0.1, 0.04])))
                continue
            for _ in range(int(rng.integers(2, 6))):
                turn = yaw + rng.normal(0, 0.2 if speed > 0 else 1.5)
                self._walker(s + rng.normal(0, 0.8), d + rng.normal(0, 0.7), turn, speed)

    def _riders(self, busy: float) -> None:
        rng, half = self.rng, self.road.half_width
        bikes = self._count(1.2 * self.street.cyclists * busy)
        if rng.random() < 0.4:
            bikes = max(bikes, 1)
        for _ in range(bikes):
            direction = rng.choice([-1, 1], p=[0.35, 0.65])
            speed = float(rng.uniform(2.0, 7.0)) if rng.random() < 0.85 else 0.0
            d = float(rng.uniform(-half - 10, half + 10))
            yaw = (0.0 if direction > 0 else np.pi) + rng.normal(0, 0.12)
            way = rng.random()
            if way < 0.3:  # beside the kerb
                d = -direction * max(half - rng.uniform(0.3, 1.6), 0.6)
            elif way < 0.55:  # across the road or out of a side street
                yaw = direction * np.pi / 2 + rng.normal(0, 0.25)
            elif way < 0.9:
                yaw = float(rng.uniform(-np.pi, np.pi))
            self._rider(self._somewhere(), d, yaw, speed)

    def _company(self, s: float, d: float, yaw: float, speed: float, number: int) -> None:
        """People who belong together, shoulder to shoulder and seldom one behind the other. Of the
        pedestrians in KITTI's tracking labels 18 % have another within 0.8 m and 32 % within 1 m."""
        rng = self.rng
        beside = rng.random() < 0.85
        direction = yaw + (np.pi / 2 if beside else 0.0)
        for _ in range(number):
            turn = yaw + rng.normal(0, 0.12) if speed > 0 else yaw + rng.normal(0, 0.8)
            self._walker(s, d, turn, speed, margin=-0.15)
            step = rng.uniform(0.56, 0.95) if beside else rng.uniform(0.8, 1.2)
            s += step * np.cos(direction) + rng.normal(0, 0.08)
            d += step * np.sin(direction) + rng.normal(0, 0.08)

    def _walker(self, s: float, d: float, yaw: float, speed: float, margin: float = 0.05) -> None:
        self._user("pedestrian", s, d, yaw, speed * np.cos(yaw), speed * np.sin(yaw), margin=margin)

    def _rider(self, s: float, d: float, yaw: float, speed: float) -> None:
        self._user("cyclist", s, d, yaw, speed * np.cos(yaw), speed * np.sin(yaw), margin=0.1)

    def _houses(self, side: int) -> None:
        rng, street = self.rng, self.street
        edge = self.road.half_width + self.road.pavement[0 if side > 0 else 1]
        share = min(1.0, street.houses * rng.uniform(0.3, 1.3))
        setback = rng.uniform(*street.setback)
        s = self.start
        while s < self.end:
            mesh = _scenery("building", int(rng.integers(THINGS)))
            width = float(np.ptp(mesh.vertices[:, 0]))
            middle = s + width / 2
            s += width + (0.0 if rng.random() < 0.4 else rng.uniform(0.5, 10))
            if rng.random() > share or self.road.in_crossing(middle, width / 2):
                continue
            d = side * (edge + setback + rng.uniform(0, 1.5))
            depth = float(mesh.vertices[:, 1].max())
            if not self._claim(middle, d + side * depth / 2, 0.0, width, depth, 0.1):
                continue
            T = self.road.upright(middle, d, 0.0 if side > 0 else np.pi)
            self.statics.append(mesh.moved(T))

    def _belt(self, side: int) -> None:
        """A strip of bushes and trees along the road, as it closes most real streets."""
        rng = self.rng
        if rng.random() > 0.55:
            return
        edge = self.road.half_width + self.road.pavement[0 if side > 0 else 1]
        distance, depth, pitch = edge + rng.uniform(0.8, 14.0), rng.uniform(0.3, 3.0), rng.uniform(1.3, 3.5)
        low, high = np.sort(rng.uniform(self.start, self.end, 2))
        share = rng.uniform(0.1, 0.7)
        for s in np.arange(low, high, pitch):
            if not self.road.in_crossing(s, 2.0):
                kind = str(rng.choice(["tree", "great_tree"])) if rng.random() < share else "bush"
                self._thing(
                    kind, s, side * (distance + rng.uniform(0, depth)), rng.uniform(-3, 3), 0.8, 0.8, 0.0
                )

    def _wood(self, side: int) -> None:
        """A stretch of road along the edge of a wood or of grown-up shrubs, some deep."""
        rng = self.rng
        if rng.random() > self.street.woods:
            return
        edge = self.road.half_width + self.road.pavement[0 if side > 0 else 1]
        distance, pitch = edge + 0.8 + rng.exponential(3.0), rng.uniform(4.0, 7.0)
        low, high = np.sort(rng.uniform(self.start, self.end, 2))
        if rng.random() < 0.4:
            low, high = self.start, self.end
        for row in range(int(rng.integers(1, 4))):
            for s in np.arange(low, high, pitch):
                d = side * (distance + 2.6 * row + rng.uniform(0, 0.8))
                if not self.road.in_crossing(s, 4.0):
                    self._thing(
                        "thicket", s, d, rng.normal(0, 0.1) + rng.choice([0, np.pi]), pitch, 1.4, -0.5
                    )

    def _avenue(self, side: int) -> None:
        """A row of old trees beside the road, which it lies in the shade of."""
        rng = self.rng
        if rng.random() > self.street.avenues:
            return
        edge = self.road.half_width + self.road.pavement[0 if side > 0 else 1]
        distance, pitch = max(self.road.half_width + 0.6, edge + rng.uniform(-1.0, 5.0)), rng.uniform(5, 13)
        low, high = np.sort(rng.uniform(self.start, self.end, 2))
        for s in np.arange(low, high, pitch) + rng.uniform(0, pitch):
            if not self.road.in_crossing(s, 1.0):
                d = side * (distance + rng.normal(0, 0.15))
                self._thing("great_tree", s, d, rng.uniform(-np.pi, np.pi), 0.9, 0.9, 0.0)

    def _boundaries(self) -> None:
        rng = self.rng
        for _ in range(self._count(self.street.boundary)):
            side = rng.choice([-1, 1])
            edge = self.road.half_width + self.road.pavement[0 if side > 0 else 1]
            kind = str(rng.choice(["wall", "hedge", "fence", "guard_rail"], p=[0.28, 0.42, 0.22, 0.08]))
            across = rng.random() < 0.2
            d = side * (edge + rng.uniform(0.3, 2.0) + (6.0 if across else 0.0))
            s = self._somewhere()
            if not self.road.in_crossing(s, 3.0):
                self._thing(
                    kind, s, float(d), (np.pi / 2 if across else 0.0) + rng.normal(0, 0.03), 8.0, 0.7, 0.1
                )

    def _furniture(self) -> None:
        rng, half = self.rng, self.road.half_width
        street = self.street
        plan = (  # kind, mean number for 100 m, the ground it takes, m
            ("pole", street.furniture * 0.6, 0.3, 0.3),
            ("sign", street.furniture * 0.4, 0.3, 0.3),
            ("clutter", street.clutter, 1.2, 1.2),
            ("parked_bicycle", street.clutter * 0.3, 0.8, 0.8),
            ("bicycle_rack", street.clutter * 0.12, 3.6, 1.8),
            ("bollards", street.clutter * 0.1, 8.0, 0.3),
            ("tree", street.trees, 0.6, 0.6),
            ("great_tree", street.trees * 0.6, 0.9, 0.9),
            ("bush", street.trees * 0.6, 1.4, 1.4),
        )
        for kind, mean, length, width in plan:
            reach = 14.0 if kind in ("tree", "great_tree", "bush") else 4.0
            for _ in range(self._count(mean * rng.uniform(0.2, 1.8))):
                d = rng.choice([-1, 1]) * (half + 0.35 + width / 4 + rng.exponential(reach / 2))
                s = self._somewhere()
                if abs(d) > 65 or self.road.in_crossing(s):
                    continue
                yaw = rng.choice([0, np.pi])
                if kind in ("clutter", "parked_bicycle"):
                    yaw = rng.uniform(-np.pi, np.pi)
                elif kind == "bicycle_rack":
                    yaw = rng.choice(4) * np.pi / 2 + rng.normal(0, 0.1)
                self._thing(kind, s, float(d), float(yaw), length, width, 0.05)

    def _backdrop(self) -> None:
        """Trees, hedges and houses far from the road, so that its ends are not empty."""
        rng = self.rng
        for _ in range(self._count(14.0 * rng.uniform(0, 1.6))):
            kinds = ["tree", "great_tree", "thicket", "bush", "building", "hedge"]
            kind = str(rng.choice(kinds, p=[0.2, 0.28, 0.22, 0.08, 0.12, 0.1]))
            d = rng.choice([-1, 1]) * rng.uniform(18, 65)
            s = float(rng.uniform(self.start, self.end))
            size = {"building": 14.0, "thicket": 5.0}.get(kind, 2.0)
            if not self.road.in_crossing(s, size / 2):
                self._thing(kind, s, float(d), float(rng.uniform(-np.pi, np.pi)), size, size, 0.1)
        for turn in np.arange(-1.9, 1.9, 0.12):  # woods and blocks on the horizon, beyond the lidar
            if rng.random() < 0.75:
                far, height = rng.uniform(125, 240), rng.uniform(3, 14)
                color = (
                    rng.uniform((35, 50, 25), (75, 85, 60))
                    if rng.random() < 0.75
                    else rng.uniform(90, 190, 3)
                )
                at = (far * np.cos(turn), far * np.sin(turn), height / 2 - 4)
                material = Material.LEAVES if color.max() < 90 else Material.WALL
                self.statics.append(
                    meshes.box(rng.uniform(10, 36, 3) * (1, 1, 0) + (0, 0, height + 8), at, material, color)
                )
        if rng.random() < 0.5:  # the street closes behind a bend or at a house
            d = float(rng.uniform(-12, 12))
            self._thing("building", self.end - 6.0, d, np.pi / 2 * rng.choice([-1, 1]), 12.0, 8.0)
