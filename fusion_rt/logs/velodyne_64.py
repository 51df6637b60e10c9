"""An HDL-64E's packets: its lasers are measured one by one, and a db.xml comes with each sensor.

HDL-64E S3 User's Manual (63-HDL64ES3), on the packet, on db.xml and on correcting angles and distances."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np

from fusion_rt.errors import LogError
from fusion_rt.logs.velodyne_packets import BLOCKS, CHANNELS, LOWER, Points
from fusion_rt.transforms import Array

MAX_CALIBRATION_BYTES = 10 << 20


class Calibrated:
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

    def points(self, packet: Array, blocks: Array, start_ns: int) -> Points:
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
        return Points(
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
