"""A Velodyne's packets, of sensors whose lasers are as the manual says: VLP-16, Puck LITE, Puck Hi-Res,
HDL-32E, VLP-32C.

Packets, angles, the order and the times of firings: Velodyne's VLP-16 User Manual (63-9243), chapter 9 and
table 9-1; HDL-32E User Manual (63-9113), data packet format; VLP-32C User Manual (63-9325), chapter 9 and
tables 9-2 and 9-6. Of two returns the strongest is taken."""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from fusion_rt.transforms import Array

BLOCKS, CHANNELS = 12, 32
_RETURN = [("range", "<u2"), ("reflectivity", "u1")]
_BLOCK = [("flag", "<u2"), ("azimuth", "<u2"), ("returns", _RETURN, CHANNELS)]
PACKET = np.dtype([("blocks", _BLOCK, BLOCKS), ("hour_us", "<u4"), ("mode", "u1"), ("product", "u1")])
ALL, LOWER = 0xEEFF, 0xDDFF  # a block's lasers; of an HDL-64E the upper 32, the lower 32
TURN = 36000  # of the azimuth, hundredths of a degree


class Model(Struct, frozen=True, kw_only=True):
    """elevations   of a firing's lasers, degrees, in the order of their returns
    heights_mm   where each laser sits above the origin
    azimuths     degrees that each looks ahead of the block's azimuth, clockwise
    firing_us    from one firing of all lasers to the next
    laser_us     from laser to laser, or from group to group
    together     lasers of a group, which fire at once
    unit_m       of a range"""

    name: str
    elevations: tuple[float, ...]
    heights_mm: tuple[float, ...]
    azimuths: tuple[float, ...]
    firing_us: float
    laser_us: float
    together: int = 1
    unit_m: float = 0.002


def _sixteen(name: str, up: tuple[float, ...], heights_mm: tuple[float, ...]) -> Model:
    """Lasers 1, 3, 5, ... point up as `up` says, and sit below the origin; 14, 12, 10, ... point down as
    much, and sit as far above it."""
    elevations, heights = [0.0] * 16, [0.0] * 16
    for k, (angle, height) in enumerate(zip(up, heights_mm)):
        elevations[2 * k + 1], heights[2 * k + 1] = angle, -height
        elevations[14 - 2 * k], heights[14 - 2 * k] = -angle, height
    return Model(
        name=name,
        elevations=tuple(elevations),
        heights_mm=tuple(heights),
        azimuths=(0.0,) * 16,
        firing_us=55.296,
        laser_us=2.304,
    )


# Elevation and azimuth of a VLP-32C's lasers, in the order of their returns.
_VLP_32C = (
    *((-25.0, 1.4), (-1.0, -4.2), (-1.667, 1.4), (-15.639, -1.4), (-11.31, 1.4), (0.0, -1.4)),
    *((-0.667, 4.2), (-8.843, -1.4), (-7.254, 1.4), (0.333, -4.2), (-0.333, 1.4), (-6.148, -1.4)),
    *((-5.333, 4.2), (1.333, -1.4), (0.667, 4.2), (-4.0, -1.4), (-4.667, 1.4), (1.667, -4.2)),
    *((1.0, 1.4), (-3.667, -4.2), (-3.333, 4.2), (3.333, -1.4), (2.333, 1.4), (-2.667, -1.4)),
    *((-3.0, 1.4), (7.0, -1.4), (4.667, 1.4), (-2.333, -4.2), (-2.0, 4.2), (15.0, -1.4)),
    *((10.333, 1.4), (-1.333, -1.4)),
)

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
        name="HDL-32E",
        # The lowest, the seventeenth, the second lowest, ...: 4/3 degrees apart.
        elevations=tuple(round(-92 / 3 + 4 / 3 * (k // 2 + 16 * (k % 2)), 2) for k in range(32)),
        heights_mm=(0.0,) * 32,
        azimuths=(0.0,) * 32,
        firing_us=46.080,
        laser_us=1.152,
    ),
    0x28: Model(
        name="VLP-32C",
        elevations=tuple(elevation for elevation, _ in _VLP_32C),
        heights_mm=(0.0,) * 32,
        azimuths=tuple(azimuth for _, azimuth in _VLP_32C),
        firing_us=55.296,
        laser_us=2.304,
        together=2,
        unit_m=0.004,
    ),
}
OTHERS = {0x31: "a Velarray", 0x63: "a VLS-128", 0xA1: "a VLS-128"}
_DUAL = 0x39


class Points(Struct):
    """Returns: xyz (N, 3) m, intensity (N,) 0..1, time_ns (N,) of the laser's firing, ring (N,)."""

    xyz: Array
    intensity: Array
    time_ns: Array
    ring: Array


class Firings:
    """Decodes one model's packets.

    blocks     of a packet that are used
    packet_ns  from one packet's first firing to the next's"""

    def __init__(self, model: Model, mode: int) -> None:
        lasers = len(model.elevations)
        self._per_block = CHANNELS // lasers
        self._step = 2 if mode == _DUAL else 1
        self.blocks = np.arange(self._step - 1, BLOCKS, self._step)  # of two the odd one has the strongest
        self._block_us = model.firing_us * self._per_block
        firing, laser = np.divmod(np.arange(CHANNELS), lasers)
        self._after_us = firing * model.firing_us + laser // model.together * model.laser_us
        elevations = np.radians(model.elevations)[laser]
        self._cos, self._sin = np.cos(elevations), np.sin(elevations)
        self._ahead = np.array(model.azimuths)[laser] * 100
        self._unit_m = model.unit_m
        self._height_m = np.array(model.heights_mm)[laser] * 1e-3
        self._ring = np.argsort(np.argsort(model.elevations))[laser]
        self.packet_ns = BLOCKS // self._step * self._block_us * 1e3

    def points(self, packet: Array, blocks: Array, start_ns: int) -> Points:
        """Of these blocks. A laser's azimuth is that of its moment: the block's is its first laser's."""
        azimuths = packet["blocks"]["azimuth"].astype(np.int64)
        before = np.minimum(blocks, self.blocks[-2])  # the last one's next is in another packet
        gap = (azimuths[before + self._step] - azimuths[before]) % TURN
        turned = azimuths[blocks, None] + gap[:, None] * self._after_us / self._block_us
        azimuth = np.radians((turned + self._ahead) / 100)
        returns = packet["blocks"]["returns"][blocks]
        range_m = returns["range"] * self._unit_m
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
        return Points(
            xyz[seen],
            returns["reflectivity"][seen] / 255.0,
            start_ns + np.round(after_us[seen] * 1e3).astype(np.int64),
            np.broadcast_to(self._ring, seen.shape)[seen],
        )
