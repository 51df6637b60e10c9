"""What each sensor said lately. One class a kind of packet; each says why it refuses something, or None."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from fusion_rt.home.modalities import BINARY, RANGES, stale_after_s
from fusion_rt.home_packets import READINGS, HomeReading, RadarPoints, Sight, Sound
from fusion_rt.messages import ImuSample
from fusion_rt.plan import Sensor
from fusion_rt.scene import EVENTS

REPEATED = 25  # frames, all the same and not empty: the sensor hangs
KEPT = 96  # readings of one sensor: their slopes are taken over these
BEACONS = 32  # of one receiver
RADAR_S = 0.6  # what is seen of a radar at a tick
APPEARS_S = 1.0  # a radar that saw nothing for so long, and sees something now, tells news
SOUND_S = 5.0


class History:
    """stamp_ns  of the newest that was accepted; None: nothing yet, or since the sensor said that it is not
    available"""

    def __init__(self, sensor: Sensor) -> None:
        self.sensor = sensor
        self.stamp_ns: int | None = None
        self.newest_ns: int | None = None  # also of packets that said "not available"
        self._stale_s = stale_after_s(sensor)

    def replayed(self, stamp_ns: int) -> bool:
        return self.newest_ns is not None and stamp_ns <= self.newest_ns

    def age_s(self, now_ns: int) -> float | None:
        return None if self.stamp_ns is None else max(0.0, (now_ns - self.stamp_ns) / 1e9)

    def status(self, now_ns: int) -> str:
        """As in HomeSensorUse."""
        age = self.age_s(now_ns)
        if age is None:
            return "missing"
        return "stale" if self._stale_s is not None and age > self._stale_s else "used"

    def _accept(self, stamp_ns: int) -> None:
        self.stamp_ns = self.newest_ns = stamp_ns


class Readings(History):
    """Of one sensor: (stamp_ns, value), and when the value changed last.

    value, changed_ns, on_ns  the newest; since when it is what it is; when it was 1 last (binary kinds)"""

    def __init__(self, sensor: Sensor, stuck_s: float) -> None:
        super().__init__(sensor)
        self.value = math.nan
        self.changed_ns = self.jumped_ns = self.on_ns = -(1 << 62)
        self.past: deque[tuple[int, float]] = deque(maxlen=KEPT)
        self._stuck_ns = round(stuck_s * 1e9)

    def take(self, packet: HomeReading) -> str | None:
        kind, stamp_ns, value = packet.kind, packet.header.stamp_ns, packet.value
        if kind != self.sensor.kind:
            return "wrong_kind"
        if packet.unit != READINGS[kind]:
            return "wrong_unit"
        if self.replayed(stamp_ns):
            return "replayed"
        if math.isnan(value):
            self.newest_ns, self.stamp_ns = stamp_ns, None
            return "unavailable"
        low, high = RANGES[kind]
        if not low <= value <= high or (kind in BINARY and value not in (0.0, 1.0)):
            return "out_of_range"
        self._accept(stamp_ns)
        if value != self.value:
            if jumped(kind, self.value, value):
                self.jumped_ns = stamp_ns
            self.changed_ns = stamp_ns
        if value == 1.0:
            self.on_ns = stamp_ns
        self.value = value
        self.past.append((stamp_ns, value))
        return None

    def status(self, now_ns: int) -> str:
        held = self.value == 1.0 and now_ns - self.changed_ns > self._stuck_ns
        if held and self.sensor.kind in ("motion", "presence"):
            return "stale"  # nobody moves for an hour without a pause: it is stuck
        return super().status(now_ns)

    def slope(self, now_ns: int, over_s: float) -> float:
        """Change a minute, over so many seconds or what is known."""
        if len(self.past) < 2:
            return 0.0
        since = now_ns - round(over_s * 1e9)
        first = next((entry for entry in self.past if entry[0] >= since), self.past[-1])
        last = self.past[-1]
        dt_s = (last[0] - first[0]) / 1e9
        return 60.0 * (last[1] - first[1]) / dt_s if dt_s > 1e-3 else 0.0

    def share_on(self, now_ns: int, over_s: float) -> float:
        """Share of the time that it was 1."""
        since = now_ns - round(over_s * 1e9)
        total, end = 0, now_ns
        for stamp_ns, value in reversed(self.past):
            begin = max(stamp_ns, since)
            total += max(0, end - begin) if value == 1.0 else 0
            end = min(end, begin)
            if stamp_ns <= since:
                break
        return total / (over_s * 1e9)


def jumped(kind: str, before: float, after: float) -> bool:
    """Whether that is more than noise: a lamp, an appliance, a door."""
    if math.isnan(before):
        return False
    if kind == "illuminance":
        return abs(math.log1p(after) - math.log1p(before)) > 0.3
    if kind == "power":
        return abs(after - before) > max(15.0, 0.2 * abs(before))
    return True


class Beacons(History):
    """Distances of beacons from one receiver: entity -> (stamp_ns, m)."""

    def __init__(self, sensor: Sensor) -> None:
        super().__init__(sensor)
        self.latest: dict[str, tuple[int, float]] = {}

    def take(self, packet: HomeReading) -> str | None:
        stamp_ns, value = packet.header.stamp_ns, packet.value
        if packet.kind != "distance":
            return "wrong_kind"
        if packet.unit != READINGS["distance"]:
            return "wrong_unit"
        before = self.latest.get(packet.entity)
        if before is not None and stamp_ns <= before[0]:
            return "replayed"
        if math.isnan(value):
            self.latest.pop(packet.entity, None)
            return "unavailable"
        if not RANGES["distance"][0] <= value <= RANGES["distance"][1]:
            return "out_of_range"
        if before is None and len(self.latest) >= BEACONS:
            return "too_many_beacons"
        self.latest[packet.entity] = (stamp_ns, value)
        if self.newest_ns is None or stamp_ns > self.newest_ns:
            self._accept(stamp_ns)
        return None

    def near(self, now_ns: int) -> list[float]:
        """Distances that are not stale, m."""
        limit = (self._stale_s or 30.0) * 1e9
        return [value for stamp_ns, value in self.latest.values() if now_ns - stamp_ns <= limit]


class Frames(History):
    """Of a sensor that sends arrays: equal frames again and again mean that it hangs."""

    def __init__(self, sensor: Sensor) -> None:
        super().__init__(sensor)
        self._before, self._equal = b"", 0

    def hangs(self, content: bytes) -> bool:
        self._equal = self._equal + 1 if content and content == self._before else 0
        self._before = content
        return self._equal >= REPEATED


class Radar(Frames):
    """frames: (stamp_ns, points (N, 5) float32: x, y, z in the home frame, m; velocity along the ray, m/s;
    SNR in units of 20 dB).
    appeared: whether the newest has points after APPEARS_S without any: somebody has come"""

    def __init__(self, sensor: Sensor) -> None:
        super().__init__(sensor)
        self.frames: deque[tuple[int, np.ndarray]] = deque()
        self.appeared = False
        self._points_ns = -(1 << 62)  # the latest frame with points
        T = sensor.T_home_sensor
        self._R, self._t = T[:3, :3].astype(np.float32), T[:3, 3].astype(np.float32)

    def take(self, packet: RadarPoints) -> str | None:
        stamp_ns = packet.header.stamp_ns
        if self.sensor.kind != "radar":
            return "wrong_kind"
        if self.replayed(stamp_ns):
            return "replayed"
        told = np.concatenate([packet.xyz, packet.velocity[:, None], packet.snr_db[:, None]], axis=1)
        if not np.isfinite(told).all():
            return "not_finite"
        if self.hangs(told.tobytes()):
            self.newest_ns = stamp_ns
            return "stuck"
        inside = (np.abs(told[:, :3]) <= 2 * self.sensor.range_m).all(axis=1) & (np.abs(told[:, 3]) < 30.0)
        if not inside.all():
            return "out_of_range"
        told[:, :3] = told[:, :3] @ self._R.T + self._t
        told[:, 4] *= 0.05
        self.appeared = len(told) > 0 and stamp_ns - self._points_ns > APPEARS_S * 1e9
        if len(told):
            self._points_ns = stamp_ns
        self.frames.append((stamp_ns, told))
        self._accept(stamp_ns)
        while self.frames[0][0] < stamp_ns - RADAR_S * 1e9:
            self.frames.popleft()
        return None


class Camera(Frames):
    """The newest people that it found: boxes, scores, keypoints as in Sight."""

    def __init__(self, sensor: Sensor) -> None:
        super().__init__(sensor)
        self.sight: Sight | None = None

    def take(self, packet: Sight) -> str | None:
        stamp_ns = packet.header.stamp_ns
        if self.sensor.kind != "camera":
            return "wrong_kind"
        if (packet.width, packet.height) != (self.sensor.width, self.sensor.height):
            return "wrong_size"
        if self.replayed(stamp_ns):
            return "replayed"
        parts = (packet.boxes, packet.scores, packet.keypoints)
        if not all(np.isfinite(part).all() for part in parts):
            return "not_finite"
        if self.hangs(packet.boxes.tobytes()):
            self.newest_ns = stamp_ns
            return "stuck"
        boxes, size = packet.boxes, np.array([packet.width, packet.height] * 2, dtype=np.float32)
        ordered = (boxes[:, 2:] >= boxes[:, :2]).all() if len(boxes) else True
        if not ordered or (np.abs(boxes) > 4 * size).any() or (np.abs(packet.scores - 0.5) > 0.5).any():
            return "out_of_range"
        self.sight = packet
        self._accept(stamp_ns)
        return None


class Microphone(History):
    """The newest packet, and those of the last seconds: (stamp_ns, level dB(A), speech, events in order)."""

    def __init__(self, sensor: Sensor) -> None:
        super().__init__(sensor)
        self.past: deque[tuple[int, float, float, tuple[float, ...]]] = deque()

    def take(self, packet: Sound) -> str | None:
        stamp_ns = packet.header.stamp_ns
        if self.sensor.kind != "microphone":
            return "wrong_kind"
        if self.replayed(stamp_ns):
            return "replayed"
        low, high = RANGES["sound_level"]
        chances = (packet.speech, *packet.events.values())
        if not low <= packet.level_dba <= high or not all(0.0 <= p <= 1.0 for p in chances):
            return "out_of_range"
        events = tuple(packet.events.get(kind, 0.0) for kind in EVENTS)
        self.past.append((stamp_ns, packet.level_dba, packet.speech, events))
        self._accept(stamp_ns)
        while self.past[0][0] < stamp_ns - SOUND_S * 1e9:
            self.past.popleft()
        return None


class Worn(History):
    """Norms of the specific force, m/s^2: (stamp_ns, norm), of the last five seconds."""

    def __init__(self, sensor: Sensor) -> None:
        super().__init__(sensor)
        self.past: deque[tuple[int, float]] = deque()

    def take(self, packet: ImuSample) -> str | None:
        stamp_ns = packet.header.stamp_ns
        if self.sensor.kind != "imu":
            return "wrong_kind"
        if self.replayed(stamp_ns):
            return "replayed"
        norm = math.hypot(*packet.specific_force)
        if not math.isfinite(norm) or not all(map(math.isfinite, packet.angular_rate)):
            return "not_finite"
        if norm > 400.0:
            return "out_of_range"
        self.past.append((stamp_ns, norm))
        self._accept(stamp_ns)
        while self.past[0][0] < stamp_ns - SOUND_S * 1e9:
            self.past.popleft()
        return None
