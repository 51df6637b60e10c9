"""An observation as the network's canvas: what radars and cameras say about each cell, what they cover, and
the plan."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fusion_rt.home.canvas import PLAN_CHANNELS, SIDE, Canvas
from fusion_rt.home.observation import Observation
from fusion_rt.plan import Plan

Array = NDArray[np.float32]

RADAR = ("new", "old", "dx", "dy", "z", "z_max", "speed", "snr")
CAMERA = (
    *("foot", "foot_dx", "foot_dy", "height", "stand", "stand_dx", "stand_dy", "sit", "sit_dx", "sit_dy"),
    *("lie", "lie_dx", "lie_dy", "aspect", "tilt", "ankles"),
)
COVERS = ("radar_covers", "camera_covers")
CHANNELS = (*RADAR, *CAMERA, *COVERS, *PLAN_CHANNELS)
NEW_S = 0.25
_FIRST_CAMERA, _FIRST_COVER = len(RADAR), len(RADAR) + len(CAMERA)


class Raster:
    """Writes an observation into an array of (29, 64, 64) float32."""

    def __init__(self, plan: Plan, canvas: Canvas, spatial: tuple[str, ...]) -> None:
        self._canvas = canvas
        self._covers = [canvas.covers[slug] for slug in spatial]
        self._camera = [plan.sensors[slug].kind == "camera" for slug in spatial]

    def draw(self, seen: Observation, out: Array) -> None:
        out[:_FIRST_COVER] = 0.0
        self._radar(seen.radar, out[:_FIRST_CAMERA])
        self._people(seen.sights, out[_FIRST_CAMERA:_FIRST_COVER])
        covers = out[_FIRST_COVER:]
        covers[:2] = 0.0
        for i in seen.spatial:
            np.maximum(covers[int(self._camera[i])], self._covers[i], out=covers[int(self._camera[i])])
        covers[2:] = self._canvas.plan

    def _radar(self, points: Array, out: Array) -> None:
        cell, offset, kept = self._place(points[:, 1:3])
        if not len(cell):
            return
        points = points[kept]
        size = SIDE * SIDE
        flat = out.reshape(len(RADAR), size)
        count = np.bincount(cell, minlength=size)
        hit = np.flatnonzero(count)
        per = 1.0 / count[hit]
        new = np.bincount(cell, weights=points[:, 6] <= NEW_S, minlength=size)[hit]
        flat[0, hit] = np.log1p(new)
        flat[1, hit] = np.log1p(count[hit] - new)
        values = (offset[:, 0], offset[:, 1], points[:, 3], None, np.abs(points[:, 4]), points[:, 5])
        for channel, value in enumerate(values, 2):
            if value is not None:
                flat[channel, hit] = np.bincount(cell, weights=value, minlength=size)[hit] * per
        np.maximum.at(flat[5], cell, points[:, 3])

    def _people(self, sights: Array, out: Array) -> None:
        """A likelier person overwrites another in the same cell."""
        sights = sights[np.argsort(sights[:, 9], kind="stable")]
        flat = out.reshape(len(CAMERA), SIDE * SIDE)
        for first, x in ((0, 1), (4, 3), (7, 5), (10, 7)):
            cell, offset, kept = self._place(sights[:, x : x + 2])
            flat[first, cell] = sights[kept, 9]
            flat[first + 1, cell] = offset[:, 0]
            flat[first + 2, cell] = offset[:, 1]
            if x == 1:
                flat[3, cell] = sights[kept, 10]
            flat[13, cell], flat[14, cell] = sights[kept, 11], sights[kept, 12]
            flat[15, cell] = sights[kept, 13]

    def _place(self, xy: Array) -> tuple[NDArray[np.int64], Array, NDArray[np.bool_]]:
        """Cells, offsets from their centres, and which points lie on the canvas at all."""
        place = self._canvas.cells(xy)
        kept = ((place >= 0) & (place < SIDE)).all(axis=1)
        place = place[kept]
        cells = place.astype(np.int64)
        flat: NDArray[np.int64] = cells[:, 1] * SIDE + cells[:, 0]
        return flat, (place - cells - 0.5).astype(np.float32), np.asarray(kept)
