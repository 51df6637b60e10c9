"""A home's radar: HiLink LD2450 or LD2410, TI mmWave, on a serial port, behind ser2net, or as captured
bytes."""

from __future__ import annotations

import math
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from fusion_rt.bus import Bus, Publisher
from fusion_rt.errors import ConfigError
from fusion_rt.messages import Header, HomeReading, RadarPoints
from fusion_rt.sensors.arrival import FrameClock, sent_s
from fusion_rt.sensors.ld2410 import Ld2410
from fusion_rt.sensors.ld2450 import Ld2450
from fusion_rt.sensors.ports import Gone, Port, configure, open_port, setup_lines
from fusion_rt.sensors.radar_frame import Decoder, PresenceFrame, RadarFrame
from fusion_rt.sensors.ti_mmwave import TiMmwave

RETRY_S = (0.5, 1.0, 2.0, 5.0)  # then 5 s each
STILL_S = 1.0  # an LD2410's readings are told so often where nothing changes
SILENT_S = 3.0  # a port that is open and says nothing for so long is opened anew
MODELS: dict[str, type[Decoder]] = {"ld2450": Ld2450, "ld2410": Ld2410, "ti_mmwave": TiMmwave}


class RadarConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """sensor_id  the radar's name in the plan, and its topic; of an ld2410 that of its presence
    model      ld2450, ld2410, ti_mmwave
    port       /dev/serial/by-id/..., tcp://HOST:PORT (ser2net), or a file of captured bytes
    baud       null: what the model has when it leaves the factory
    delay_s    from the measurement to its first byte: stamps are set back by it
    mirrored   the module hangs upside down: left and right, up and down are exchanged
    targets    ti_mmwave: publish what the device tracks instead of its points
    setup_port, setup  ti_mmwave: the command port, and the .cfg file that is sent to it
    motion_id, distance_id  ld2410: sensors of the plan (motion; distance) that it tells beside
    """

    sensor_id: str
    model: Literal["ld2450", "ld2410", "ti_mmwave"]
    port: str
    baud: Annotated[int, Meta(gt=0)] | None = None
    delay_s: Annotated[float, Meta(ge=0, le=10)] = 0.0
    mirrored: bool = False
    targets: bool = False
    setup_port: str | None = None
    setup: str | None = None
    motion_id: str | None = None
    distance_id: str | None = None

    def __post_init__(self) -> None:
        if (self.setup is None) != (self.setup_port is None):
            raise ConfigError(f"{self.sensor_id}: setup and setup_port go together")
        for key, model in (("targets", "ti_mmwave"), ("setup", "ti_mmwave"), ("motion_id", "ld2410")):
            if getattr(self, key) and self.model != model:
                raise ConfigError(f"{self.sensor_id}: {key} is for {model} only")
        if self.distance_id and self.model != "ld2410":
            raise ConfigError(f"{self.sensor_id}: distance_id is for ld2410 only")


def run(config: RadarConfig, bus: Bus) -> None:
    """Until told to stop. A port that is not there, or goes away, is tried again; a file ends the node.

    Raises ConfigError, NodeError."""
    baud = config.baud or MODELS[config.model].baud
    lines = None if config.setup is None else setup_lines(Path(config.setup).expanduser())
    failures = 0
    with ExitStack() as stack:
        topics = [t for t in (config.sensor_id, config.motion_id, config.distance_id) if t]
        teller = _Teller(config, {topic: stack.enter_context(bus.publisher(topic)) for topic in topics})
        while not bus.stopping:
            frames = teller.frames
            try:
                if lines is not None and config.setup_port is not None:
                    configure(config.setup_port, lines)
                port = open_port(config.port, baud)
                try:
                    _listen(config, port, baud, teller, bus)
                finally:
                    port.close()
            except EOFError:
                return
            except Gone as gone:
                failures = 0 if teller.frames > frames else failures + 1
                if failures <= 1:
                    print(f"{config.sensor_id}: {gone}; trying again", file=sys.stderr)
            bus.detail["reopened"] = bus.detail.get("reopened", 0) + 1
            bus.wait(RETRY_S[min(failures, len(RETRY_S) - 1)])


def _listen(config: RadarConfig, port: Port, baud: int, teller: _Teller, bus: Bus) -> None:
    """Until told to stop, or nothing comes any more. Raises Gone, EOFError."""
    decoder, clock = MODELS[config.model](), FrameClock()
    before = dict(bus.detail)
    heard = time.monotonic()
    while not bus.stopping:
        data = port.read()
        arrival_ns = time.time_ns()
        if not data:
            if time.monotonic() - heard > SILENT_S:
                bus.detail["silences"] = bus.detail.get("silences", 0) + 1
                return
            continue
        heard = time.monotonic()
        for cut in decoder.feed(data):
            frame = cut.frame
            began_ns = arrival_ns - round(sent_s(cut.size + cut.behind, baud) * 1e9)
            if isinstance(frame, RadarFrame):
                stamp_ns = clock.stamp_ns(frame.number, began_ns) - round(config.delay_s * 1e9)
                teller.points(frame, stamp_ns)
            else:
                teller.presence(frame, began_ns - round(config.delay_s * 1e9))
        bus.detail["frames"] = teller.frames
        bus.detail["points_refused"] = teller.refused
        for cause, count in decoder.counts.items():
            bus.detail[cause] = before.get(cause, 0) + count


class _Teller:
    """Frames as packets."""

    def __init__(self, config: RadarConfig, outputs: dict[str, Publisher]) -> None:
        self._config, self._outputs = config, outputs
        self._seqs = dict.fromkeys(outputs, 0)
        self._told: tuple[PresenceFrame, int] | None = None
        self.frames = self.refused = 0

    def points(self, frame: RadarFrame, stamp_ns: int) -> None:
        self.frames += 1
        self.refused += frame.refused
        xyz, velocity, snr_db = frame.xyz, frame.velocity, frame.snr_db
        if self._config.targets:
            xyz, velocity, snr_db = frame.targets, frame.target_velocity, np.zeros_like(frame.target_velocity)
        if self._config.mirrored:
            xyz = xyz * np.array([1, -1, -1], np.float32)
        self._outputs[self._config.sensor_id].send(
            RadarPoints(
                header=self._header(self._config.sensor_id, stamp_ns),
                xyz=_contiguous(xyz),
                velocity=_contiguous(velocity),
                snr_db=_contiguous(snr_db),
            )
        )

    def presence(self, frame: PresenceFrame, stamp_ns: int) -> None:
        """At once where somebody comes or goes, else every STILL_S."""
        self.frames += 1
        if self._told is not None:
            before, told_ns = self._told
            same = (before.presence, before.motion) == (frame.presence, frame.motion)
            if same and 0 <= stamp_ns - told_ns < STILL_S * 1e9:
                return
        self._told = frame, stamp_ns
        config = self._config
        self._read(config.sensor_id, "presence", float(frame.presence), "", stamp_ns)
        if config.motion_id:
            self._read(config.motion_id, "motion", float(frame.motion), "", stamp_ns)
        if config.distance_id and not math.isnan(frame.distance_m):
            self._read(config.distance_id, "distance", frame.distance_m, "m", stamp_ns)

    def _read(self, sensor_id: str, kind: str, value: float, unit: str, stamp_ns: int) -> None:
        header = self._header(sensor_id, stamp_ns)
        reading = HomeReading(header=header, entity=sensor_id, kind=kind, value=value, unit=unit)
        self._outputs[sensor_id].send(reading)

    def _header(self, sensor_id: str, stamp_ns: int) -> Header:
        seq = self._seqs[sensor_id]
        self._seqs[sensor_id] += 1
        return Header(sensor_id=sensor_id, frame_id=sensor_id, seq=seq, stamp_ns=stamp_ns)


def _contiguous(array: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(array, np.float32)
