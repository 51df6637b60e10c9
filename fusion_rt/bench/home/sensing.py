"""The sensors of the home that is measured: events at uneven times, radars, slow sensors by MQTT."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType

import numpy as np
from msgspec import Struct

from fusion_rt.bench.home.furnished import SIZE_PX, SLOW, of_kind
from fusion_rt.bus import Bus
from fusion_rt.header import Header
from fusion_rt.home_packets import HomeReading, RadarPoints, Sight
from fusion_rt.plan import Plan

RADAR_S, SIGHT_S = 0.1, 0.2
EMPTY_S, SEEN_S = (1.5, 3.0), (1.0, 2.5)  # how long a radar sees nobody, and somebody
POINTS = 6
LEAST_APART_S = 0.002


class Sent(Struct, frozen=True):
    """An event, and when it happened: a contact or a motion sensor that turned over, a radar that began to
    see somebody."""

    kind: str
    room: str
    stamp_ns: int


class Sensors:
    """Use as a context manager. by_mqtt: topic, payload; prepared: cameras whose sights come from here."""

    def __init__(
        self, bus: Bus, plan: Plan, by_mqtt: Callable[[str, bytes], None], prepared: list[str]
    ) -> None:
        self._plan, self._by_mqtt = plan, by_mqtt
        self._events = of_kind(plan, "contact", "motion")
        self._radars = of_kind(plan, "radar")
        self._slow = of_kind(plan, *SLOW)
        self._sights = prepared
        self._stack = ExitStack()
        named = (*self._events, *self._radars, *self._sights)
        self._publishers = {slug: self._stack.enter_context(bus.publisher(slug)) for slug in named}
        self._on = dict.fromkeys(self._events, False)
        self._seen_until = dict.fromkeys(self._radars, (0.0, 0.0))  # begins, ends
        self._rng = np.random.default_rng(0)
        self._seqs = {slug: itertools.count() for slug in named}

    def __enter__(self) -> Sensors:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def play(self, seconds: float, rate_hz: float) -> list[Sent]:
        """So many events a second of contacts and motion sensors, in turn; the others at their own pace."""
        sent: list[Sent] = []
        began = time.monotonic()
        tasks = [(began, "event", slug) for slug in ("",)]
        tasks += [(began + i * RADAR_S / 4, "radar", slug) for i, slug in enumerate(self._radars)]
        tasks += [(began + i / len(self._slow), "slow", slug) for i, slug in enumerate(self._slow)]
        tasks += [(began + i * SIGHT_S / 4, "sight", slug) for i, slug in enumerate(self._sights)]
        heapq.heapify(tasks)
        turn = itertools.cycle(self._events)
        while tasks[0][0] < began + seconds:
            due, what, slug = heapq.heappop(tasks)
            time.sleep(max(due - time.monotonic(), 0.0))
            if what == "event":
                sent.append(self._event(next(turn)))
                due += max(self._rng.exponential(1 / rate_hz), LEAST_APART_S)
            elif what == "radar":
                sent += self._radar(slug, due)
                due += RADAR_S
            elif what == "sight":
                self._sight(slug)
                due += SIGHT_S
            else:
                kind = self._plan.sensors[slug].kind
                value = SLOW[kind][1] * (1 + 0.01 * self._rng.normal())
                self._by_mqtt(f"bench/{slug}", f"{value:.2f}".encode())
                due += 10.0
            heapq.heappush(tasks, (due, what, slug))
        return sent

    def _event(self, slug: str) -> Sent:
        sensor = self._plan.sensors[slug]
        on = self._on[slug] = not self._on[slug]
        header = self._header(slug)
        reading = HomeReading(header=header, entity=slug, kind=sensor.kind, value=float(on), unit="")
        self._publishers[slug].send(reading)
        return Sent(sensor.kind, sensor.room, header.stamp_ns)

    def _radar(self, slug: str, now_s: float) -> list[Sent]:
        begins, ends = self._seen_until[slug]
        appears = False
        if now_s >= ends:
            begins = now_s + self._rng.uniform(*EMPTY_S)
            self._seen_until[slug] = begins, begins + self._rng.uniform(*SEEN_S)
        elif now_s >= begins:
            appears = now_s - RADAR_S < begins
        n = POINTS if begins <= now_s < ends else 0
        middle = np.array([2.0 + 0.3 * np.sin(now_s), 0.1, -0.3])
        header = self._header(slug)
        packet = RadarPoints(
            header=header,
            xyz=(middle + self._rng.normal(0, 0.15, (n, 3))).astype(np.float32),
            velocity=self._rng.normal(0.3, 0.1, n).astype(np.float32),
            snr_db=np.full(n, 18.0, np.float32),
        )
        self._publishers[slug].send(packet)
        return [Sent("radar", self._plan.sensors[slug].room, header.stamp_ns)] if appears else []

    def _sight(self, slug: str) -> None:
        """Somebody who stands there, as a `watch` node would tell it."""
        width, height = SIZE_PX
        x, y = 320 + self._rng.normal(0, 3), 240 + self._rng.normal(0, 3)
        points = np.column_stack([self._rng.normal(x, 40, 17), self._rng.normal(y, 90, 17), np.full(17, 0.9)])
        sight = Sight(
            header=self._header(slug),
            width=width,
            height=height,
            boxes=np.array([[x - 60, y - 150, x + 60, y + 150]], np.float32),
            scores=np.array([0.95], np.float32),
            keypoints=points[None].astype(np.float32),
        )
        self._publishers[slug].send(sight)

    def _header(self, slug: str) -> Header:
        return Header(sensor_id=slug, frame_id=slug, seq=next(self._seqs[slug]), stamp_ns=time.time_ns())
