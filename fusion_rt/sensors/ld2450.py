"""HiLink HLK-LD2450: up to three targets, ten times a second, 256000 baud.

Source: "HLK-LD2450 Motion target detection and tracking module, Instruction manual" V1.00 (2023-05-10),
section 6, and "HLK-LD2450 Serial Communication Protocol" V1.03 (2023-10-17), section 2.3. A frame is
AA FF 03 00, three targets of x, y (mm), speed (cm/s) and distance resolution (mm), 55 CC. The numbers are
little-endian, sign and magnitude: the highest bit set is positive. What HiLink does not say, ESPHome's
component found out: x is positive to the right of the sensor, speed is positive away from it.
"""

from __future__ import annotations

import numpy as np

from fusion_rt.sensors.framing import Cut, Flaw, Framer
from fusion_rt.sensors.radar_frame import RANGE_M, RadarFrame

MAGIC, END = b"\xaa\xff\x03\x00", b"\x55\xcc"
BAUD = 256_000
TARGETS = 3
SIZE = len(MAGIC) + 8 * TARGETS + len(END)


class Ld2450:
    """Bytes -> RadarFrame, its targets as points. counts: as of a Framer."""

    baud = BAUD

    def __init__(self) -> None:
        self._framer = Framer(MAGIC, len(MAGIC), lambda head: SIZE, decode)
        self.counts = self._framer.counts

    def feed(self, data: bytes) -> list[Cut[RadarFrame]]:
        """The frames that are complete with `data`."""
        return self._framer.feed(data)


def decode(frame: bytes) -> RadarFrame:
    """One whole frame. Raises Flaw: its end is not where it should be."""
    if frame[-2:] != END:
        raise Flaw("bad_end")
    words = np.frombuffer(frame, "<u2", 4 * TARGETS, len(MAGIC)).reshape(TARGETS, 4)
    words = words[words.any(axis=1)]  # an empty slot is all zero
    magnitude = (words[:, :3] & 0x7FFF).astype(np.float32)
    x, y, speed = np.where(words[:, :3] & 0x8000, magnitude, -magnitude).T
    xyz = np.column_stack([y / 1000, -x / 1000, np.zeros_like(x)]).astype(np.float32)
    near = np.abs(xyz).max(axis=1, initial=0) <= RANGE_M
    return RadarFrame(
        xyz=np.ascontiguousarray(xyz[near]),
        velocity=(speed[near] / 100).astype(np.float32),
        snr_db=np.zeros(int(near.sum()), np.float32),
        refused=int((~near).sum()),
    )
