"""Packets to the histories of their sensors; what is refused is counted by cause."""

from __future__ import annotations

from collections import Counter

from fusion_rt.home.histories import Beacons, Camera, History, Microphone, Radar, Readings, Worn
from fusion_rt.home_packets import HomeReading, RadarPoints, Sight, Sound
from fusion_rt.messages import Command, ImuSample, Packet
from fusion_rt.plan import Plan, Sensor

UNKNOWN = "unknown"  # all sensors that the plan does not have, counted together: their names are not ours
_TAKES = {
    Radar: RadarPoints,
    Camera: Sight,
    Microphone: Sound,
    Worn: ImuSample,
    Beacons: HomeReading,
    Readings: HomeReading,
}


class Intake:
    """histories  sensor_id -> what it said lately
    counters   sensor_id -> cause -> packets refused"""

    def __init__(self, plan: Plan, *, stuck_s: float) -> None:
        self._plan, self._stuck_s = plan, stuck_s
        self.counters: dict[str, Counter[str]] = {}
        self.histories: dict[str, History] = {}
        self.forget()

    def forget(self) -> None:
        """Begin again; what was counted stays counted."""
        self.histories = {slug: _history(s, self._stuck_s) for slug, s in self._plan.sensors.items()}

    def take(self, packet: Packet) -> str | None:
        """Why it was refused, which is counted; None: it is in."""
        history = self.histories.get(packet.header.sensor_id)
        if history is None:
            cause: str | None = "unknown_sensor"
        elif isinstance(packet, Command):
            cause = None
        elif not isinstance(packet, _TAKES[type(history)]):
            cause = "wrong_kind"
        else:
            cause = history.take(packet)
        if cause is not None:
            self.refuse(packet.header.sensor_id, cause)
        return cause

    def refuse(self, sensor_id: str, cause: str) -> None:
        known = sensor_id if sensor_id in self.histories else UNKNOWN
        self.counters.setdefault(known, Counter())[cause] += 1


def _history(sensor: Sensor, stuck_s: float) -> History:
    special = {"radar": Radar, "camera": Camera, "microphone": Microphone, "imu": Worn, "distance": Beacons}
    kind = special.get(sensor.kind)
    return Readings(sensor, stuck_s) if kind is None else kind(sensor)
