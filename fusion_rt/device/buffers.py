"""Memory of a card, and host memory that it reads from."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fusion_rt.errors import DeviceError

if TYPE_CHECKING:
    from fusion_rt.device.launcher import Bytes, Launcher


class DeviceBuffer:
    """Contiguous memory of a card as an array: what takes `__cuda_array_interface__` takes it.

    A view of the first axis is one too, and holds the whole as `owner`: memory lives as long as its last
    view."""

    __slots__ = ("dtype", "owner", "pointer", "shape")

    def __init__(self, pointer: int, shape: tuple[int, ...], dtype: Any, owner: Any) -> None:
        self.pointer, self.shape, self.dtype, self.owner = pointer, shape, np.dtype(dtype), owner

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.pointer, False),
            "strides": None,
            "version": 3,
        }

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int | slice) -> DeviceBuffer:
        """One of the first axis, or some that follow each other."""
        row = math.prod(self.shape[1:]) * self.dtype.itemsize
        if isinstance(index, slice):
            first, end, step = index.indices(self.shape[0])
            if step != 1:
                raise DeviceError(f"a view of a device buffer has step 1, not {step}")
            shape = (max(end - first, 0), *self.shape[1:])
        else:
            first, shape = range(self.shape[0])[index], self.shape[1:]
        return DeviceBuffer(self.pointer + first * row, shape, self.dtype, self.owner)

    def reshape(self, *shape: int) -> DeviceBuffer:
        """The same memory. Raises DeviceError unless it has as many elements."""
        if math.prod(shape) != self.size:
            raise DeviceError(f"a device buffer {self.shape} is no {shape}: other numbers of elements")
        return DeviceBuffer(self.pointer, shape, self.dtype, self.owner)


def expect(name: str, buffer: Any, dtype: Any, shape: Sequence[int | None]) -> None:
    """Raises DeviceError unless it is a DeviceBuffer of that dtype and shape (None: any extent)."""
    held = buffer.shape if isinstance(buffer, DeviceBuffer) and buffer.dtype == dtype else None
    if held is not None and len(held) == len(shape) and all(w is None or w == g for w, g in zip(shape, held)):
        return
    got = f"{buffer.dtype} {buffer.shape}" if isinstance(buffer, DeviceBuffer) else type(buffer).__name__
    wanted = "(" + ", ".join("N" if s is None else str(s) for s in shape) + ")"
    raise DeviceError(f"{name} is {got}, expected a device buffer {np.dtype(dtype)} {wanted}")


class Allocation:
    """Memory of the card, given back when nobody holds it any more."""

    def __init__(self, launcher: Launcher, nbytes: int) -> None:
        self._launcher: Launcher | None = None
        self.pointer = launcher.allocate(max(nbytes, 1))
        self._launcher = launcher

    def free(self) -> None:
        """Later calls do nothing; nor does the first where the card is lost, and its memory with it."""
        launcher, self._launcher = self._launcher, None
        if launcher is not None:
            with contextlib.suppress(DeviceError):
                launcher.free(self.pointer)

    def __del__(self) -> None:
        self.free()


class Staging:
    """Pinned host memory that uploads pass through, so that the host need not wait for them.

    A piece is used again when the card has read it; as many are made as are on their way at once."""

    SMALLEST = 1 << 12

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._pieces: dict[
            int, list[tuple[Bytes, int]]
        ] = {}  # size -> memory, and the event after its last use

    def upload(self, target: int, source: NDArray[Any], stream: int) -> None:
        """A contiguous array, which may be used again when this returns."""
        if source.nbytes == 0:
            return
        size = max(self.SMALLEST, 1 << (source.nbytes - 1).bit_length())
        pieces = self._pieces.setdefault(size, [])
        free = next((i for i, (_, event) in enumerate(pieces) if self._launcher.reached(event)), None)
        if free is None:
            memory, event = self._launcher.pinned(size), self._launcher.event()
        else:
            memory, event = pieces.pop(free)
        held = memory[: source.nbytes]
        held[...] = source.reshape(-1).view(np.uint8)
        self._launcher.copy_in(target, held, stream)
        self._launcher.record(event, stream)
        pieces.append((memory, event))
