"""The network at work: one tick in, its answers out, and the memory in between."""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from fusion_rt.home.canvas import Canvas
from fusion_rt.home.observation import Observation
from fusion_rt.home.raster import Raster
from fusion_rt.models.head import Head

Array = NDArray[np.float32]

COUNTS = 5  # 0, 1, 2, 3, 4 and more people
PEOPLE = 8  # that are looked at a second time
# Of an occupied room, in the order of the network's output.
ROOM_ACTIVITIES = ("sleeping", "sitting", "walking", "cooking", "other")
# p; place in cells of the canvas; standard deviation of it, m; m/s; probabilities.
PERSON = ("p", "x", "y", "sigma", "vx", "vy", "standing", "sitting", "lying", "fall")
MAX_DT_S = 60.0


class Answers(Struct):
    """counts      (16, 5) float32: probability of so many people in each room
    activities  (16, 5) float32: ROOM_ACTIVITIES, if somebody is there
    people      (8, 10) float32: PERSON, x and y in the home frame, m"""

    counts: Array
    activities: Array
    people: Array


class HomeNetwork:
    """Holds what was seen before. For one home."""

    def __init__(self, head: Head, canvas: Canvas, raster: Raster) -> None:
        self._head, self._canvas, self._raster = head, canvas, raster
        head.inputs["room_map"][0] = canvas.room_map
        head.inputs["ways"][0] = canvas.ways
        self.forget()

    def forget(self) -> None:
        self._head.inputs["cells"][...] = 0.0
        self._head.inputs["memory"][...] = 0.0

    def run(self, seen: Observation, dt_s: float, *, remember: bool = True) -> Answers:
        """remember: what was seen becomes part of the memory."""
        inputs = self._head.inputs
        self._raster.draw(seen, inputs["canvas"][0])
        inputs["rooms"][0] = seen.rooms
        inputs["dt"][...] = min(max(dt_s, 0.0), MAX_DT_S)
        outputs = self._head.run()
        if remember:
            inputs["cells"][...] = outputs["next_cells"]
            inputs["memory"][...] = outputs["next_memory"]
        people = outputs["people"][0].copy()
        people[:, 1:3] = self._canvas.metres(people[:, 1:3])
        return Answers(outputs["counts"][0].copy(), outputs["activities"][0].copy(), people)
