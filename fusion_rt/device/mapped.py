"""Host memory that kernels read where it is: a card that shares the CPU's memory needs no upload."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fusion_rt.device.buffers import DeviceBuffer
from fusion_rt.device.launcher import Bytes, Launcher

if TYPE_CHECKING:
    from typing import Any


class _Place(NamedTuple):
    """memory: the host's view. pointer: the card's. event: after its last reader."""

    memory: Bytes
    pointer: int
    event: int


class Mapped:
    """For one input of one kernel, which is given another array each time: places in turn, so that the host
    writes the next while the card still reads the last."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._places: list[_Place] = []
        self._room = 1 << 12  # bytes
        self._last: tuple[_Place, int] | None = None  # and the stream of its readers

    def __call__(self, array: NDArray[Any], stream: int) -> DeviceBuffer:
        """A contiguous array, which may be used again when this returns -> what work may read that is put on
        the stream before the next call."""
        if self._last is not None:
            last, its_stream = self._last
            self._launcher.record(last.event, its_stream)
        if array.nbytes > self._room:  # all places are of one size, which only grows
            self._room, self._places = 1 << (array.nbytes - 1).bit_length(), []
        place = next((p for p in self._places if self._launcher.reached(p.event)), None)
        if place is None:
            place = _Place(*self._launcher.mapped(self._room), self._launcher.event())
            self._places.append(place)
        place.memory[: array.nbytes] = array.reshape(-1).view(np.uint8)
        self._last = place, stream
        return DeviceBuffer(place.pointer, array.shape, array.dtype, place.memory)
