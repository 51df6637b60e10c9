"""Who is on the street and where: traffic, parked cars, people and riders, among what stands beside it."""

from __future__ import annotations

import numpy as np

from fusion_rt.sim import roadside
from fusion_rt.sim.plot import Plot
from fusion_rt.sim.roads import surface


class Builder(Plot):
    """Fills one street."""

    def build(self) -> None:
        """Draws everything, the likely conflicts first."""
        self.statics.append(surface(self.road, self.rng))
        self._traffic()
        for side in (-1, 1):
            self._parked(side)
            roadside.houses(self, side)
            roadside.belt(self, side)
            roadside.wood(self, side)
            roadside.avenue(self, side)
        self._strewn()
        roadside.boundaries(self)
        self._people()
        roadside.furniture(self)
        roadside.backdrop(self)

    def _vehicle(self) -> str:
        return "van" if self.rng.random() < 0.13 else "car"

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
            for _ in range(self.count(self.street.traffic * self.busy * (2.0 if jam else 1.0) / 2)):
                s, d = self.somewhere(), lane + rng.normal(0, 0.25)
                yaw = (0.0 if direction > 0 else np.pi) + rng.normal(0, 0.03)
                self.user(self._vehicle(), s, d, yaw, along=direction * speed, margin=0.6)
        for low, high in self.road.crossings:
            for _ in range(int(rng.poisson(1.2 * self.busy))):
                turn = rng.choice([-1, 1])
                s = (low + high) / 2 - turn * (high - low) / 4
                d = float(rng.choice([-1, 1]) * rng.uniform(half + 3, half + 30))
                moving = rng.uniform(0, 8) if rng.random() < 0.6 else 0.0
                self.user(self._vehicle(), s, d, turn * np.pi / 2 + rng.normal(0, 0.05), across=turn * moving)

    def _parked(self, side: int) -> None:
        """A row along one kerb: parallel, perpendicular or angled, on the road or beyond the kerb."""
        rng, half = self.rng, self.road.half_width
        share = rng.uniform(*self.street.parked)
        if rng.random() > 0.7:
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
            self.user(
                self._vehicle(),
                s + rng.normal(0, 0.3),
                d + rng.normal(0, 0.15),
                yaw + flip + rng.normal(0, 0.05),
                margin=0.1,
            )
        if rng.random() < 0.15:  # a car park: a second row
            for s in np.arange(self.start, self.end, 2.8):
                if rng.random() < 0.6 and not self.road.in_crossing(s, 3.0):
                    self.user(
                        self._vehicle(),
                        s,
                        d + side * rng.uniform(7, 9),
                        np.pi / 2 + rng.normal(0, 0.06),
                        margin=0.1,
                    )

    def _strewn(self) -> None:
        rng = self.rng
        for _ in range(self.count(self.street.strewn * self.busy)):
            d = rng.choice([-1, 1]) * (self.road.half_width + rng.uniform(1.5, 28))
            yaw = (
                rng.uniform(-np.pi, np.pi)
                if rng.random() < 0.4
                else rng.choice(4, p=[0.35, 0.15, 0.35, 0.15]) * np.pi / 2 + rng.normal(0, 0.1)
            )
            self.user(self._vehicle(), self.somewhere(), float(d), float(yaw))

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
        groups = self.count(self.street.pedestrians * busy * 0.75)
        if rng.random() < 0.5:
            groups = max(groups, 2)
        for _ in range(groups):
            s, walk = self.somewhere(), rng.choice([-1, 1])
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
            if rng.random() < 0.75:
                self._company(s, d, yaw, speed, int(rng.choice([1, 2, 3, 4], p=[0.42, 0.4, 0.13, 0.05])))
                continue
            for _ in range(int(rng.integers(2, 6))):
                turn = yaw + rng.normal(0, 0.2 if speed > 0 else 1.5)
                self._walker(s + rng.normal(0, 0.8), d + rng.normal(0, 0.7), turn, speed)

    def _riders(self, busy: float) -> None:
        rng, half = self.rng, self.road.half_width
        bikes = self.count(1.2 * self.street.cyclists * busy)
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
            self._rider(self.somewhere(), d, yaw, speed)

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
        self.user("pedestrian", s, d, yaw, speed * np.cos(yaw), speed * np.sin(yaw), margin=margin)

    def _rider(self, s: float, d: float, yaw: float, speed: float) -> None:
        self.user("cyclist", s, d, yaw, speed * np.cos(yaw), speed * np.sin(yaw), margin=0.1)
