"""When packets become an answer: what is accepted, what asks for an answer, what goes into it.

Time is in the packets. The watermark is the newest accepted stamp; a packet far from it is refused, unless
others agree with it: one wild clock cannot stop the rest, and a log that starts again from its beginning is
followed.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated

from msgspec import Meta, Struct

from fusion_rt.errors import ConfigError
from fusion_rt.messages import Packet, SensorUse

SPATIAL = ("lidar", "camera")  # in order: whose packets ask for an answer
_ALONE = 5  # packets in a row that a single sensor needs to move the watermark by itself

Seconds = Annotated[float, Meta(gt=0)]


class AlignConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When packets become a prediction: `align:` in a scenario.

    triggers            sensors whose packet asks for an answer, the first that is alive; empty: lidars, then
                        cameras
    max_age_s           older packets are reported stale, not used
    lost_after_s        a trigger silent for so long hands over to the next; with all silent the tracks coast
    coast_every_s       answers a second while coasting, on the packets of whatever is left
    future_tolerance_s  how far ahead of all others a stamp may be
    late_s              how far behind the watermark it may be
    deadline_s          from the trigger's arrival to the answer: reported, met or not
    """

    triggers: tuple[str, ...] = ()
    max_age_s: Seconds = 0.15
    lost_after_s: Seconds = 0.35
    coast_every_s: Seconds = 0.1
    future_tolerance_s: Seconds = 1.0
    late_s: Seconds = 2.0
    deadline_s: Seconds = 0.05

    def __post_init__(self) -> None:
        if self.deadline_s > self.max_age_s:
            raise ConfigError(
                f"deadline_s {self.deadline_s} exceeds max_age_s {self.max_age_s}:"
                " packets would expire unused"
            )


class Verdict(Struct, frozen=True):
    """What became of a packet. cause: why it was dropped, "" if accepted. trigger_ns: the stamp to answer
    for. restarted: time began anew; everything remembered is void."""

    accepted: bool
    cause: str = ""
    trigger_ns: int | None = None
    restarted: bool = False


class Snapshot(Struct, frozen=True):
    """What an answer may use: the newest usable packet of each sensor, and every sensor's report."""

    packets: dict[str, Packet]
    sensors: tuple[SensorUse, ...]


class _Dissent(Struct, frozen=True):
    """Refused packets of one sensor in a row: their first and newest stamp, how many, and `_taken` at the
    first."""

    first_ns: int
    newest_ns: int
    count: int
    taken: int


class Aligner:
    """The newest packet of every sensor of `modalities` (sensor_id -> "lidar", "camera", "gnss", "imu")."""

    def __init__(self, config: AlignConfig, modalities: dict[str, str]) -> None:
        unknown = [s for s in config.triggers if s not in modalities]
        if unknown:
            raise ConfigError(
                f"align.triggers: {', '.join(unknown)} not in the rig, which has {', '.join(modalities)}"
            )
        self.config = config
        self._modalities = modalities
        ranked = [s for kind in SPATIAL for s, modality in modalities.items() if modality == kind]
        self._triggers = list(config.triggers) or ranked
        self._dropped: dict[str, Counter[str]] = {s: Counter() for s in modalities}
        self._accepted: Counter[str] = Counter()
        self._newest: dict[str, Packet] = {}
        self._watermark: int | None = None
        self._start: int | None = None
        self._answered: int | None = None
        self._dissent: dict[str, _Dissent] = {}
        self._taken = 0  # packets accepted, of all sensors
        # trigger -> other sensors' first stamp after the trigger's last packet
        self._since: dict[str, dict[str, int]] = {s: {} for s in self._triggers}

    @property
    def counters(self) -> dict[str, dict[str, int]]:
        """sensor_id -> accepted, and dropped by cause; their sum is what came. "?" holds unknown sensors."""
        names = sorted({*self._dropped, *self._accepted})
        return {
            s: {"accepted": self._accepted[s], **dict(sorted(self._dropped.get(s, Counter()).items()))}
            for s in names
        }

    def push(self, packet: Packet) -> Verdict:
        """Accept or drop a packet; says whether it asks for an answer."""
        sensor, stamp = packet.header.sensor_id, packet.header.stamp_ns
        if sensor not in self._modalities:
            return self._drop("?", "unknown_sensor")
        cause = self._judge(sensor, stamp)
        restarted = False
        if cause in ("future", "late", "out_of_order") and self._agreed(sensor, stamp, cause):
            self._begin()
            cause, restarted = "", True
        if cause:
            return self._drop(sensor, cause)
        self._dissent.pop(sensor, None)
        self._accepted[sensor] += 1
        self._taken += 1
        self._newest[sensor] = packet
        self._watermark = stamp if self._watermark is None else max(self._watermark, stamp)
        self._start = stamp if self._start is None else self._start
        for other, since in self._since.items():
            if other == sensor:
                since.clear()
            else:
                since.setdefault(sensor, stamp)
        trigger = self._asks(sensor, stamp)
        if trigger:
            self._answered = stamp
        return Verdict(True, trigger_ns=stamp if trigger else None, restarted=restarted)

    def refuse(self, packet: Packet, cause: str) -> None:
        """An accepted packet turned out unusable: it is counted as dropped and forgotten."""
        sensor = packet.header.sensor_id
        self._accepted[sensor] -= 1
        self._dropped[sensor][cause] += 1
        if self._newest.get(sensor) is packet:
            del self._newest[sensor]

    def snapshot(self, stamp_ns: int) -> Snapshot:
        """What an answer for a stamp may use."""
        packets, reports = {}, []
        for sensor, modality in self._modalities.items():
            packet = self._newest.get(sensor)
            status, age_s = "missing", None
            if packet is not None:
                age_s = (stamp_ns - packet.header.stamp_ns) / 1e9
                # Fixes come once a second or slower: the ego filter has used them, however old.
                limit = self.config.max_age_s if modality in (*SPATIAL, "imu") else 5.0
                status = "used" if age_s <= limit else "stale"
                if status == "used":
                    packets[sensor] = packet
            reports.append(
                SensorUse(
                    sensor_id=sensor,
                    modality=modality,
                    status=status,
                    age_s=age_s,
                    seq=None if packet is None else packet.header.seq,
                    dropped=dict(sorted(self._dropped[sensor].items())),
                )
            )
        return Snapshot(packets, tuple(reports))

    def _begin(self) -> None:
        self._newest, self._dissent, self._since = {}, {}, {s: {} for s in self._triggers}
        self._watermark = self._start = self._answered = None

    def _judge(self, sensor: str, stamp: int) -> str:
        previous = self._newest.get(sensor)
        if previous is not None and stamp == previous.header.stamp_ns:
            return "duplicate"
        if self._watermark is None:
            return ""
        if stamp - self._watermark > self.config.future_tolerance_s * 1e9:
            return "future"
        if self._watermark - stamp > self.config.late_s * 1e9:
            return "late"
        if previous is not None and stamp < previous.header.stamp_ns:
            return "out_of_order"
        return ""

    def _agreed(self, sensor: str, stamp: int, cause: str) -> bool:
        """Whether enough refused packets tell one other time: two sensors, or one alone many times in a row.

        They must outnumber the sensors that still live at the watermark. Packets that merely overtook each
        other look the same at first, so that these must come many times."""
        tolerance = self.config.future_tolerance_s * 1e9
        before = self._dissent.get(sensor)
        if before is None or abs(stamp - before.newest_ns) > tolerance:
            dissent = _Dissent(stamp, stamp, 1, self._taken)
        else:
            dissent = _Dissent(before.first_ns, stamp, before.count + 1, before.taken)
        self._dissent[sensor] = dissent
        if cause == "out_of_order" and dissent.count < _ALONE:
            return False
        with_it = [s for s, other in self._dissent.items() if abs(other.newest_ns - stamp) <= tolerance]
        # All that was accepted before may be of sensors that are gone: then nobody speaks for the old time.
        silent = self._taken == dissent.taken and abs(stamp - dissent.first_ns) >= tolerance
        against = [] if silent else [s for s in self._newest if s not in self._dissent]
        return len(with_it) > max(len(against), 1) or (dissent.count >= _ALONE and not against)

    def _drop(self, sensor: str, cause: str) -> Verdict:
        self._dropped.setdefault(sensor, Counter())[cause] += 1
        return Verdict(False, cause)

    def _asks(self, sensor: str, stamp: int) -> bool:
        if self._answered is not None and stamp <= self._answered:
            return False
        alive = next((s for s in self._triggers if not self._lost(s)), None)
        if alive is not None:
            return sensor == alive
        assert self._start is not None
        since = stamp - (self._answered if self._answered is not None else self._start)
        return since >= self.config.coast_every_s * 1e9

    def _lost(self, trigger: str) -> bool:
        """Silent for too long, as another sensor counts the time since the trigger's last packet (before its
        first: since the stream's start). Differences of one clock: that it is set wrong does not matter."""
        limit_ns = self.config.lost_after_s * 1e9
        return any(
            self._newest[s].header.stamp_ns - first > limit_ns
            for s, first in self._since[trigger].items()
            if s in self._newest
        )
