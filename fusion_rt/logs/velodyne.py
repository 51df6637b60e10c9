"""A packet capture of a Velodyne lidar: VLP-16, Puck LITE, Puck Hi-Res, HDL-32E, VLP-32C; HDL-64E with its
db.xml."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fusion_rt.errors import LogError
from fusion_rt.logs.datagrams import Datagram, read_datagrams
from fusion_rt.logs.ground import lidar_height
from fusion_rt.logs.left_out import LeftOut
from fusion_rt.logs.velodyne_64 import Calibrated
from fusion_rt.logs.velodyne_packets import ALL, LOWER, MODELS, OTHERS, PACKET, TURN, Firings, Points
from fusion_rt.messages import Header, PointCloud
from fusion_rt.rig import Lidar, Pose, Rig
from fusion_rt.transforms import Array

PORT = 2368
HOUR_NS = 3_600_000_000_000
SYNCHRONIZED_NS = 1_000_000_000  # a clock set by a GPS receiver is less than that before the capture's
SILENCE_NS = 250_000_000  # a turn takes no longer
WAITING = 16  # packets that one which was overtaken may come behind


class VelodyneCapture:
    """A capture to iterate over: sweeps, in the order of the capture.

    port            of the lidar's packets
    calibration     of an HDL-64E: its db.xml
    lidar_height_m  above the ground; not given: from the first sweep

    x points along azimuth zero. A sweep begins where the azimuth passes it; its stamp is its first firing's
    time. The sensor counts microseconds of an hour, and the capture says which. Where no GPS receiver has set
    its clock, it is shifted so that the quickest packet was captured as it was measured; `notes` say so.

    rig     one lidar, level; `errors` what was missing. Raises LogError."""

    def __init__(
        self,
        path: str | Path,
        *,
        port: int = PORT,
        calibration: str | Path | None = None,
        lidar_height_m: float | None = None,
    ) -> None:
        self.path, self.port = Path(path), port
        self.notes: list[str] = []
        self._left_out = LeftOut()
        self._decode, self._turns = self._survey(Path(calibration) if calibration else None)
        self._left_out = LeftOut()
        sweeps = iter(self)
        first = max((s for s, _ in zip(sweeps, range(2))), key=lambda s: len(s.xyz), default=None)
        self._left_out = LeftOut()
        if first is None:
            raise LogError(f"{path}: no packet holds a return; was the sensor covered?")
        height_m, note = lidar_height(first.xyz, lidar_height_m)
        self.notes += note
        self.rig = Rig(lidars={"lidar": Lidar(pose=Pose(translation=(0.0, 0.0, height_m)))})

    @property
    def errors(self) -> list[str]:
        """Complete after a pass."""
        return self._left_out.lines()

    def __len__(self) -> int:
        """Sweeps, about."""
        return self._turns

    def __iter__(self) -> Iterator[PointCloud]:
        parts: list[Points] = []
        seq, azimuth, lost = 0, 0, 0
        before_ns: int | None = None
        for start_ns, packet in self._in_order():
            if before_ns is not None:
                missing = round((start_ns - before_ns) / self._decode.packet_ns) - 1
                lost += max(missing, 0)
            begins = before_ns is not None and start_ns - before_ns > SILENCE_NS
            before_ns = start_ns
            azimuths = packet["blocks"]["azimuth"].astype(np.int64)[self._decode.blocks]
            turned = np.diff(azimuths, prepend=azimuth) < -TURN // 2
            turned[0] |= begins
            azimuth = int(azimuths[-1])
            for blocks in np.split(self._decode.blocks, np.flatnonzero(turned)):
                if len(blocks) and turned[self._decode.blocks == blocks[0]].any() and parts:
                    yield self._sweep(parts, seq, lost)
                    parts, seq, lost = [], seq + 1, 0
                points = self._decode.points(packet, blocks, start_ns)
                if len(points.xyz):
                    parts.append(points)
        if parts:
            yield self._sweep(parts, seq, lost)

    def _in_order(self) -> Iterator[tuple[int, Array]]:
        """Each packet once, by its first firing's time: the network may change the order, or send twice."""
        waiting: list[tuple[int, bytes]] = []
        latest_ns = -1
        for datagram in itertools.chain(self._datagrams(), [None] * WAITING):
            if datagram is not None:
                heapq.heappush(waiting, (self._clock.time_ns(datagram), datagram.data))
            if waiting and (datagram is None or len(waiting) > WAITING):
                time_ns, data = heapq.heappop(waiting)
                if time_ns > latest_ns:
                    latest_ns = time_ns
                    yield time_ns, np.frombuffer(data, PACKET)[0]

    def _datagrams(self) -> Iterator[Datagram]:
        for datagram in read_datagrams(self.path, self._left_out):
            if datagram.port == self.port and len(datagram.data) == PACKET.itemsize:
                flags = np.frombuffer(datagram.data, PACKET)[0]["blocks"]["flag"]
                if np.isin(flags, (ALL, LOWER)).all():
                    yield datagram
                else:
                    self._left_out.add("flags", f"{self.path}: a packet whose blocks have no lasers")

    def _sweep(self, parts: list[Points], seq: int, lost: int) -> PointCloud:
        if lost:
            self._left_out.add("packets", f"{self.path}: sweep {seq} lacks {lost} packets")
        time_ns = np.concatenate([p.time_ns for p in parts])
        stamp_ns = int(time_ns.min())
        return PointCloud(
            header=Header(sensor_id="lidar", frame_id="lidar", seq=seq, stamp_ns=stamp_ns),
            xyz=np.concatenate([p.xyz for p in parts]).astype(np.float32),
            intensity=np.concatenate([p.intensity for p in parts]).astype(np.float32),
            t=((time_ns - stamp_ns) * 1e-9).astype(np.float32),
            ring=np.concatenate([p.ring for p in parts]).astype(np.uint16),
        )

    def _survey(self, calibration: Path | None) -> tuple[Firings | Calibrated, int]:
        """What decodes the packets, and how many turns there are."""
        self._clock = _Clock()
        decode: Firings | Calibrated | None = None
        turns, azimuth = 1, -1
        ticks: list[int] = []
        for datagram in self._datagrams():
            packet = np.frombuffer(datagram.data, PACKET)[0]
            if decode is None:
                decode = self._decoder(packet, calibration)
            self._clock.see(datagram)
            if len(ticks) < 1000:
                ticks.append(int(packet["hour_us"]))
            turns += int(packet["blocks"]["azimuth"][0]) < azimuth - TURN // 2
            azimuth = int(packet["blocks"]["azimuth"][0])
        if decode is None:
            raise LogError(
                f"{self.path}: no Velodyne packets ({PACKET.itemsize} bytes) to port {self.port};"
                " --port sets another"
            )
        if isinstance(decode, Calibrated):
            steps = np.diff(ticks)
            if (steps > 0).any():
                decode.packet_ns = float(np.median(steps[steps > 0])) * 1e3
        if self._clock.settle():
            self.notes.append(
                "the sensor's clock is not set by GPS: stamps are set by the capture's, with its delay"
            )
        return decode, turns

    def _decoder(self, packet: Array, calibration: Path | None) -> Firings | Calibrated:
        if (packet["blocks"]["flag"] == LOWER).any():
            if calibration is None:
                raise LogError(
                    f"{self.path}: an HDL-64E, whose lasers are measured one by one: give the db.xml that"
                    " came with it: --calibration FILE"
                )
            return Calibrated(calibration)
        product = int(packet["product"])
        if product not in MODELS:
            known = ", ".join(model.name for model in MODELS.values())
            raise LogError(
                f"{self.path}: packets of {OTHERS.get(product, f'product {product:#x}')}; read are those of"
                f" {known} and HDL-64E; make a ROS bag of it with velodyne_driver"
            )
        return Firings(MODELS[product], int(packet["mode"]))


class _Clock:
    """From microseconds of an hour to UNIX time: `see` every packet, `settle`, then ask."""

    def __init__(self) -> None:
        self._first_ns: int | None = None
        self._least_ns = 0
        self._shift_ns = 0

    def see(self, datagram: Datagram) -> None:
        if self._first_ns is None:
            self._first_ns = _wrapped(datagram.captured_ns - _of_hour_ns(datagram))
            self._least_ns = self._first_ns
        self._least_ns = min(self._least_ns, self._behind_ns(datagram))

    def settle(self) -> bool:
        """Whether the sensor's clock had to be shifted."""
        if abs(self._least_ns) >= SYNCHRONIZED_NS:
            self._shift_ns = self._least_ns
        return self._shift_ns != 0

    def time_ns(self, datagram: Datagram) -> int:
        return datagram.captured_ns - self._behind_ns(datagram) + self._shift_ns

    def _behind_ns(self, datagram: Datagram) -> int:
        """From the sensor's time to the capture's; half an hour at most, but without a jump there."""
        first_ns = self._first_ns or 0
        return first_ns + _wrapped(datagram.captured_ns - _of_hour_ns(datagram) - first_ns)


def _of_hour_ns(datagram: Datagram) -> int:
    return int(np.frombuffer(datagram.data, PACKET)[0]["hour_us"]) * 1000


def _wrapped(ns: int) -> int:
    """The same time of an hour, between minus and plus half of one."""
    return (ns + HOUR_NS // 2) % HOUR_NS - HOUR_NS // 2
