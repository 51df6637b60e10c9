"""Texas Instruments' mmWave radars (IWR1443, 1642, 1843, 6843 and relatives): frames on the data port, 921600
baud.

Sources: "mmWave SDK User's Guide" 3.5, "Data path: output message structure", and the demos' headers
(mmw_output.h); "3D People Counting / 3D People Tracking Demo, UART output" of TI's Radar Toolbox and, before
it, the Industrial Toolbox (lab 68xx_3D_people_counting). A frame is 02 01 04 03 06 05 08 07, a header and
TLVs (type u32, length u32, value), little-endian. TI's axes are x right, y forward, z up.

Headers, which nothing but their content tells apart:
    40 bytes  version, total length, platform, frame, cycles, objects, TLVs, sub-frame    SDK 2 and 3, toolbox
    36 bytes  the same without the sub-frame                                              SDK 1
    48 bytes  version, total length, platform, frame, sub-frame, 4 times, TLVs (u16), checksum (u16)
              Industrial Toolbox; its TLVs' lengths include their 8 bytes, their numbers are 6, 7, 8
"""

from __future__ import annotations

import struct
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from fusion_rt.sensors.framing import Cut, Flaw, Framer
from fusion_rt.sensors.radar_frame import RANGE_M, RadarFrame, radial

MAGIC = b"\x02\x01\x04\x03\x06\x05\x08\x07"
BAUD = 921_600
LONGEST = 1 << 16  # bytes; heat maps make the largest
MOST_TLVS = 32
LARGEST_KIND = 4000
PADDING = 32  # a frame is filled up to a multiple of so many bytes

POINTS, SIDE_INFO = 1, 7
COMPRESSED, TARGETS = 1020, 1010
OLD_COMPRESSED, OLD_TARGETS = 6, 7  # under the 48-byte header
_UNITS = struct.Struct("<5f")  # elevation, azimuth (rad), doppler (m/s), range (m), snr (ratio)
_PACKED = np.dtype(
    [("elevation", "i1"), ("azimuth", "i1"), ("doppler", "<i2"), ("range", "<u2"), ("snr", "<u2")]
)
# Of a target: number, position, velocity, acceleration, covariance, gain; in later versions its confidence.
TARGET_SIZES = (112, 108)

Tlv = tuple[int, bytes]


class TiMmwave:
    """Bytes -> RadarFrame. counts: as of a Framer, and "unknown_tlvs" that were skipped."""

    baud = BAUD

    def __init__(self) -> None:
        self._framer = Framer(MAGIC, 16, _length, self._decode)
        self.counts = self._framer.counts

    def feed(self, data: bytes) -> list[Cut[RadarFrame]]:
        """The frames that are complete with `data`."""
        return self._framer.feed(data)

    def _decode(self, frame: bytes) -> RadarFrame:
        return decode(frame, self.counts)


def decode(frame: bytes, counts: Counter[str]) -> RadarFrame:
    """One whole frame; what it has beside points and targets is counted. Raises Flaw."""
    if any(frame.endswith(MAGIC[:n]) for n in range(4, len(MAGIC))):  # the next one began within this one
        raise Flaw("truncated")
    tlvs, old = _tlvs(frame)
    (number,) = struct.unpack_from("<I", frame, 20)
    points = np.zeros((0, 5), np.float32)
    targets = np.zeros((0, 6), np.float32)
    side = b""
    for kind, value in tlvs:
        if kind == POINTS and not old:
            points = _rows(value, 4)
        elif kind == SIDE_INFO and not old:
            side = value
        elif kind == (OLD_COMPRESSED if old else COMPRESSED):
            points = _unpacked(value)
        elif kind == (OLD_TARGETS if old else TARGETS):
            targets = _targets(value)
        else:
            counts["unknown_tlvs"] += 1
    if points.shape[1] == 4:
        points = np.column_stack([points, _side_snr(side, len(points))])
    points, refused = _sound(points)
    targets, lost = _sound(targets)
    xyz, target_xyz = _axes(points), _axes(targets)
    return RadarFrame(
        number=number,
        xyz=xyz,
        velocity=np.ascontiguousarray(points[:, 3]),
        snr_db=np.ascontiguousarray(points[:, 4]),
        targets=target_xyz,
        target_velocity=radial(target_xyz, _axes(targets[:, 3:])),
        refused=refused + lost,
    )


def _length(head: bytes) -> int:
    (total,) = struct.unpack_from("<I", head, 12)
    if not 36 <= total <= LONGEST:
        raise Flaw("absurd_length")
    return int(total)


def _tlvs(frame: bytes) -> tuple[list[Tlv], bool]:
    """By the header in which the TLVs end where the frame does; True: the old one. Raises Flaw."""
    if len(frame) >= 48 and _checksum(frame[:48]) == 0xFFFF:
        (count,) = struct.unpack_from("<H", frame, 44)
        return _walk(frame, 48, count, includes=8), True
    flaw = Flaw("absurd_count")
    for size in (40, 36):
        try:
            (count,) = struct.unpack_from("<I", frame, 32)
            return _walk(frame, size, count, includes=0), False
        except Flaw as error:
            flaw = error
    if len(frame) >= 48 and struct.unpack_from("<H", frame, 44)[0] in range(1, 9):
        try:  # all fits the old header but its checksum
            _walk(frame, 48, struct.unpack_from("<H", frame, 44)[0], includes=8)
            flaw = Flaw("checksum")
        except Flaw:
            pass
    raise flaw


def _walk(frame: bytes, offset: int, count: int, *, includes: int) -> list[Tlv]:
    """includes: bytes of a TLV's own header that its length counts. Raises Flaw."""
    if count > MOST_TLVS:
        raise Flaw("absurd_count")
    found = []
    for _ in range(count):
        if offset + 8 > len(frame):
            raise Flaw("bad_tlv")
        kind, length = struct.unpack_from("<II", frame, offset)
        end = offset + 8 + length - includes
        if not 0 < kind <= LARGEST_KIND or length < includes or end > len(frame):
            raise Flaw("bad_tlv")
        found.append((int(kind), frame[offset + 8 : end]))
        offset = end
    if not 0 <= len(frame) - offset < PADDING:
        raise Flaw("bad_tlv")
    return found


def _checksum(header: bytes) -> int:
    """The ones' complement sum of its 16-bit words: 0xFFFF where it is right, as in IP's header (RFC
    1071)."""
    total = int(np.frombuffer(header, "<u2").sum(dtype=np.uint32))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def _rows(value: bytes, width: int) -> NDArray[np.float32]:
    if len(value) % (4 * width):
        raise Flaw("bad_points")
    return np.frombuffer(value, "<f4").reshape(-1, width)


def _side_snr(value: bytes, n: int) -> NDArray[np.float32]:
    """SNR and noise, 0.1 dB each, int16; zeros where it was not sent."""
    if not value:
        return np.zeros(n, np.float32)
    if len(value) != 4 * n:
        raise Flaw("bad_points")
    snr: NDArray[np.float32] = (np.frombuffer(value, "<i2").reshape(-1, 2)[:, 0] / 10).astype(np.float32)
    return snr


def _unpacked(value: bytes) -> NDArray[np.float32]:
    """x right, y forward, z up, doppler, SNR in dB of the people counting demos' points."""
    if len(value) < _UNITS.size or (len(value) - _UNITS.size) % _PACKED.itemsize:
        raise Flaw("bad_points")
    elevation_u, azimuth_u, doppler_u, range_u, snr_u = _UNITS.unpack_from(value)
    packed = np.frombuffer(value, _PACKED, offset=_UNITS.size)
    with np.errstate(all="ignore"):  # damaged units: what is not finite is refused later
        elevation, azimuth = packed["elevation"] * elevation_u, packed["azimuth"] * azimuth_u
        distance = packed["range"] * range_u
        ground = distance * np.cos(elevation)
        snr_db = 10 * np.log10(np.maximum(packed["snr"] * snr_u, 1.0))
        columns = (
            ground * np.sin(azimuth),
            ground * np.cos(azimuth),
            distance * np.sin(elevation),
            packed["doppler"] * doppler_u,
            snr_db,
        )
        return np.column_stack(columns).astype(np.float32)


def _targets(value: bytes) -> NDArray[np.float32]:
    """Position and velocity of each, (M, 6), TI's axes."""
    size = next((s for s in TARGET_SIZES if len(value) % s == 0), 0)
    if not size:
        raise Flaw("bad_targets")
    return np.frombuffer(value, "<f4").reshape(-1, size // 4)[:, 1:7]


def _sound(rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
    """Those whose numbers are finite and near, and how many are not."""
    good = np.isfinite(rows).all(axis=1) & (np.abs(rows[:, :3]) <= RANGE_M).all(axis=1)
    return rows[good], int((~good).sum())


def _axes(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """x right, y forward, z up -> x forward, y left, z up; (N, 3) float32."""
    return np.column_stack([rows[:, 1], -rows[:, 0], rows[:, 2]]).astype(np.float32)
