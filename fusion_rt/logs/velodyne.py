"""A packet capture of a Velodyne lidar: VLP-16, Puck LITE, Puck Hi-Res, HDL-32E; HDL-64E with its db.xml.

Packets, angles, the order and the times of firings: Velodyne's VLP-16 User Manual (63-9243), chapter 9 and
table 9-1; HDL-32E User Manual (63-9113), data packet format; HDL-64E S3 User's Manual (63-HDL64ES3), on the
packet, on db.xml and on correcting its angles and distances. Of two returns the strongest is taken."""

from __future__ import annotations

import heapq
import itertools
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from msgspec import Struct

from fusion_rt.errors import LogError
from fusion_rt.logs.datagrams import Datagram, read_datagrams
from fusion_rt.logs.ground import height_above_ground
from fusion_rt.logs.left_out import LeftOut
from fusion_rt.logs.pcd import UNKNOWN_HEIGHT_M
from fusion_rt.messages import Header, PointCloud
from fusion_rt.rig import Lidar, Pose, Rig
from fusion_rt.transforms import Array

PORT = 2368
BLOCKS, CHANNELS = 12, 32
_RETURN = [("range", "<u2"), ("reflectivity", "u1")]
_BLOCK = [("flag", "<u2"), ("azimuth", "<u2"), ("returns", _RETURN, CHANNELS)]
PACKET = np.dtype([("blocks", _BLOCK, BLOCKS), ("hour_us", "<u4"), ("mode", "u1"), ("product", "u1")])
ALL, LOWER = 0xEEFF, 0xDDFF  # a block's lasers; of an HDL-64E the upper 32, the lower 32
DUAL = 0x39
TURN = 36000  # of the azimuth, hundredths of a degree
RANGE_M = 0.002
HOUR_NS = 3_600_000_000_000
SYNCHRONIZED_NS = 1_000_000_000  # a clock set by a GPS receiver is less than that before the capture's
SILENCE_NS = 250_000_000  # a turn takes no longer
WAITING = 16  # packets that one which was overtaken may come behind
MAX_CALIBRATION_BYTES = 10 << 20


class Model(Struct, frozen=True):
    """elevations   of a firing's lasers, degrees, in the order they fire
    heights_mm   where each laser sits above the origin
    firing_us    from one firing of all lasers to the next
    laser_us     from laser to laser"""

    name: str
    elevations: tuple[float, ...]
    heights_mm: tuple[float, ...]
    firing_us: float
    laser_us: float


def _sixteen(name: str, up: tuple[float, ...], heights_mm: tuple[float, ...]) -> Model:
    """Lasers 1, 3, 5, ... point up as `up` says, and sit below the origin; 14, 12, 10, ... point down as
    much, and sit as far above it."""
    elevations, heights = [0.0] * 16, [0.0] * 16
    for k, (angle, height) in enumerate(zip(up, heights_mm)):
        elevations[2 * k + 1], heights[2 * k + 1] = angle, -height
        elevations[14 - 2 * k], heights[14 - 2 * k] = -angle, height
    return Model(name, tuple(elevations), tuple(heights), 55.296, 2.304)


MODELS = {
    0x22: _sixteen(
        "VLP-16",
        (1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0),
        (0.7, 2.2, 3.7, 5.1, 6.6, 8.1, 9.7, 11.2),
    ),
    0x24: _sixteen(
        "Puck Hi-Res",
        (0.67, 2.0, 3.33, 4.67, 6.0, 7.33, 8.67, 10.0),
        (0.9, 1.8, 2.7, 3.7, 4.6, 5.5, 6.5, 7.4),
    ),
    0x21: Model(
        "HDL-32E",
        # The lowest, the seventeenth, the second lowest, ...: 4/3 degrees apart.
        tuple(round(-92 / 3 + 4 / 3 * (k // 2 + 16 * (k % 2)), 2) for k in range(32)),
        (0.0,) * 32,
        46.080,
        1.152,
    ),
}
_OTHERS = {0x28: "a VLP-32C", 0x31: "a Velarray", 0xA1: "a VLS-128"}


class _Points(Struct):
    """Returns: xyz (N, 3) m, intensity (N,) 0..1, time_ns (N,) of the laser's firing, ring (N,)."""

    xyz: Array
    intensity: Array
    time_ns: Array
    ring: Array


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
        self.rig = self._rig(first, lidar_height_m)

    @property
    def errors(self) -> list[str]:
        """Complete after a pass."""
        return self._left_out.lines()

    def __len__(self) -> int:
        """Sweeps, about."""
        return self._turns

    def __iter__(self) -> Iterator[PointCloud]:
        parts: list[_Points] = []
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

    def _sweep(self, parts: list[_Points], seq: int, lost: int) -> PointCloud:
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

    def _survey(self, calibration: Path | None) -> tuple[_Firings | _Calibrated, int]:
        """What decodes the packets, and how many turns there are."""
        self._clock = _Clock()
        decode: _Firings | _Calibrated | None = None
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
        if isinstance(decode, _Calibrated):
            steps = np.diff(ticks)
            if (steps > 0).any():
                decode.packet_ns = float(np.median(steps[steps > 0])) * 1e3
        if self._clock.settle():
            self.notes.append(
                "the sensor's clock is not set by GPS: stamps are set by the capture's, with its delay"
            )
        return decode, turns

    def _decoder(self, packet: Array, calibration: Path | None) -> _Firings | _Calibrated:
        if (packet["blocks"]["flag"] == LOWER).any():
            if calibration is None:
                raise LogError(
                    f"{self.path}: an HDL-64E, whose lasers are measured one by one: give the db.xml that"
                    " came with it: --calibration FILE"
                )
            return _Calibrated(calibration)
        product = int(packet["product"])
        if product not in MODELS:
            known = ", ".join(model.name for model in MODELS.values())
            raise LogError(
                f"{self.path}: packets of {_OTHERS.get(product, f'product {product:#x}')}; read are those of"
                f" {known} and HDL-64E; make a ROS bag of it with velodyne_driver"
            )
        return _Firings(MODELS[product], dual=int(packet["mode"]) == DUAL)

    def _rig(self, first: PointCloud, given_m: float | None) -> Rig:
        height_m = given_m
        if height_m is None:
            height_m = height_above_ground(first.xyz)
            said = f"{height_m or UNKNOWN_HEIGHT_M:.2f} m above the ground"
            how = "that its first sweep shows" if height_m else "is assumed: its first sweep shows none"
            self.notes.append(f"lidar: {said} {how}; --lidar-height sets it")
        T_ego_sensor = np.eye(4)
        T_ego_sensor[2, 3] = height_m or UNKNOWN_HEIGHT_M
        return Rig(lidars={"lidar": Lidar(pose=Pose.from_matrix(T_ego_sensor))})


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


class _Firings:
    """Packets of sensors whose lasers are as the manual says."""

    def __init__(self, model: Model, *, dual: bool) -> None:
        lasers = len(model.elevations)
        self._per_block = CHANNELS // lasers
        self._step = 2 if dual else 1
        self.blocks = np.arange(self._step - 1, BLOCKS, self._step)  # of two the odd one has the strongest
        self._block_us = model.firing_us * self._per_block
        firing, laser = np.divmod(np.arange(CHANNELS), lasers)
        self._after_us = firing * model.firing_us + laser * model.laser_us
        elevations = np.radians(model.elevations)[laser]
        self._cos, self._sin = np.cos(elevations), np.sin(elevations)
        self._height_m = np.array(model.heights_mm)[laser] * 1e-3
        self._ring = np.argsort(np.argsort(model.elevations))[laser]
        self.packet_ns = BLOCKS // self._step * self._block_us * 1e3

    def points(self, packet: Array, blocks: Array, start_ns: int) -> _Points:
        """Of these blocks. A laser's azimuth is that of its moment: the block's is its first laser's."""
        azimuths = packet["blocks"]["azimuth"].astype(np.int64)
        before = np.minimum(blocks, self.blocks[-2])  # the last one's next is in another packet
        gap = (azimuths[before + self._step] - azimuths[before]) % TURN
        azimuth = np.radians((azimuths[blocks, None] + gap[:, None] * self._after_us / self._block_us) / 100)
        returns = packet["blocks"]["returns"][blocks]
        range_m = returns["range"] * RANGE_M
        flat = range_m * self._cos
        xyz = np.stack(
            [
                flat * np.cos(azimuth),
                -flat * np.sin(azimuth),  # the azimuth grows clockwise
                range_m * self._sin + self._height_m,
            ],
            axis=-1,
        )
        after_us = (blocks // self._step * self._block_us)[:, None] + self._after_us
        seen = returns["range"] > 0
        return _Points(
            xyz[seen],
            returns["reflectivity"][seen] / 255.0,
            start_ns + np.round(after_us[seen] * 1e3).astype(np.int64),
            np.broadcast_to(self._ring, seen.shape)[seen],
        )


class _Calibrated:
    """An HDL-64E's packets: each laser as db.xml has it, in degrees and centimetres."""

    _NEAR_X_M, _NEAR_Y_M, _FAR_M = 2.4, 1.93, 25.04  # where the distances were measured

    def __init__(self, path: Path) -> None:
        self._unit_m, lasers = _read_calibration(path)
        self._rotation = np.radians(lasers["rotCorrection_"])
        vertical = np.radians(lasers["vertCorrection_"])
        self._cos, self._sin = np.cos(vertical), np.sin(vertical)
        self._far, self._near_x, self._near_y, self._up, self._aside = (
            lasers[name] * 1e-2
            for name in (
                "distCorrection_",
                "distCorrectionX_",
                "distCorrectionY_",
                "vertOffsetCorrection_",
                "horizOffsetCorrection_",
            )
        )
        self._ring = np.argsort(np.argsort(vertical))
        self.blocks = np.arange(BLOCKS)
        self.packet_ns = 288_000.0  # replaced by what the packets show

    def points(self, packet: Array, blocks: Array, start_ns: int) -> _Points:
        some = packet["blocks"][blocks]
        block, channel = np.nonzero(some["returns"]["range"])
        returns = some["returns"][block, channel]
        laser = channel + np.where(some["flag"] == LOWER, CHANNELS, 0)[block]
        raw = returns["range"] * self._unit_m
        angle = np.radians(some["azimuth"][block] / 100) - self._rotation[laser]
        sin, cos = np.sin(angle), np.cos(angle)
        up, aside, far = self._up[laser], self._aside[laser], self._far[laser]

        def flat(distance: Array) -> Array:
            level: Array = distance * self._cos[laser] - up * self._sin[laser]
            return level

        # The correction of a distance is measured near and far, along each axis, and in between it is a line.
        x = np.abs(flat(raw + far) * sin - aside * cos)
        y = np.abs(flat(raw + far) * cos + aside * sin)
        near_x, near_y = self._near_x[laser], self._near_y[laser]
        along_x = near_x + (far - near_x) * (x - self._NEAR_X_M) / (self._FAR_M - self._NEAR_X_M)
        along_y = near_y + (far - near_y) * (y - self._NEAR_Y_M) / (self._FAR_M - self._NEAR_Y_M)
        right = flat(raw + along_x) * sin - aside * cos
        ahead = flat(raw + along_y) * cos + aside * sin
        z = (raw + far) * self._sin[laser] + up * self._cos[laser]
        after_ns = blocks[block] // 2 * self.packet_ns / (BLOCKS // 2)
        return _Points(
            np.stack([ahead, -right, z], axis=-1),
            returns["reflectivity"] / 255.0,
            start_ns + np.round(after_ns).astype(np.int64),
            self._ring[laser],
        )


def _read_calibration(path: Path) -> tuple[float, dict[str, Array]]:
    """(metres of a range's unit, name -> one value a laser). Raises LogError."""
    try:
        if path.stat().st_size > MAX_CALIBRATION_BYTES:
            raise LogError(f"{path}: not an HDL-64E's db.xml: larger than {MAX_CALIBRATION_BYTES >> 20} MiB")
        root = ElementTree.fromstring(path.read_bytes())
    except OSError as error:
        raise LogError(f"{path}: cannot be read: {error.strerror}") from error
    except ElementTree.ParseError as error:
        raise LogError(f"{path}: not an HDL-64E's db.xml: {error}") from error
    names = (
        *("rotCorrection_", "vertCorrection_", "distCorrection_", "distCorrectionX_", "distCorrectionY_"),
        *("vertOffsetCorrection_", "horizOffsetCorrection_"),
    )
    values = {name: np.full(2 * CHANNELS, np.nan) for name in names}
    try:
        for laser in root.iter("px"):
            number = int(laser.findtext("id_", "-1"))
            for name in names:
                # The first of these sensors had one correction of the distance, for near and far.
                text = laser.findtext(name) or laser.findtext("distCorrection_") or "nan"
                values[name][number] = float(text)
        unit_m = float(root.findtext(".//distLSB_") or "0.2") * 1e-2
    except (ValueError, IndexError) as error:
        raise LogError(f"{path}: not an HDL-64E's db.xml: {error}") from error
    if not all(np.isfinite(of).all() for of in values.values()) or not 0 < unit_m < 0.1:
        raise LogError(f"{path}: not an HDL-64E's db.xml: it has no numbers for all of 64 lasers")
    return unit_m, values


def _of_hour_ns(datagram: Datagram) -> int:
    return int(np.frombuffer(datagram.data, PACKET)[0]["hour_us"]) * 1000


def _wrapped(ns: int) -> int:
    """The same time of an hour, between minus and plus half of one."""
    return (ns + HOUR_NS // 2) % HOUR_NS - HOUR_NS // 2
