"""Memory of the ring that a publisher lends to be written in place."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fusion_rt.bus.ring import Ring
from fusion_rt.errors import BusError

if TYPE_CHECKING:
    from fusion_rt.bus.publisher import Publisher


class Hold:
    """A slot that is being written. It is the base of every array of a loan, so a loan that was lost gives
    its slot back when the last of them is collected, and not before."""

    __slots__ = ("_done", "address", "ring", "slot")

    def __init__(self, ring: Ring, slot: int):
        self.ring, self.slot, self._done = ring, slot, False
        self.address = ring.address(slot)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return {
            "version": 3,
            "typestr": "|u1",
            "shape": (self.ring.slot_bytes,),
            "data": (self.address, False),
        }

    def memory(self) -> NDArray[np.uint8]:
        """(slot_bytes,) uint8, writable."""
        array: NDArray[np.uint8] = np.asarray(self)
        return array

    def offset(self, array: NDArray[Any]) -> int | None:
        """Where the array lies in the slot; None: elsewhere."""
        offset = address(array) - self.address
        return offset if 0 <= offset <= self.ring.slot_bytes - array.nbytes else None

    def commit(self) -> int:
        """Readers may take it; returns its generation."""
        self._done = True
        return self.ring.commit(self.slot)

    def abandon(self) -> None:
        """It was not written after all. Does nothing after `commit`, or a second time."""
        if not self._done:
            self._done = True
            self.ring.abandon(self.slot)

    def __del__(self) -> None:
        self.abandon()


def address(array: NDArray[Any]) -> int:
    """Where the array's data is."""
    return int(array.__array_interface__["data"][0])


class Loan:
    """Memory of the ring, to be filled and published; leaving the `with` block unpublished gives it back.

    array   the first array, writable until `publish`
    arrays  all of them

    For one thread at a time, which need not be the publisher's."""

    def __init__(
        self,
        publisher: Publisher,
        hold: Hold | None,
        arrays: list[NDArray[Any]],
        offsets: list[int],
    ):
        self.arrays = arrays
        self._lent = tuple(zip(arrays, offsets))
        self._publisher, self._hold = publisher, hold
        self._open = True

    @property
    def array(self) -> NDArray[Any]:
        """The first array."""
        return self.arrays[0]

    def publish(self, message: Any) -> bool:
        """Send a message made of these arrays, or of parts of them; arrays from elsewhere go through the
        socket. False: dropped, and counted. Raises BusError when called twice."""
        if not self._open:
            raise BusError(f"{self._publisher.topic}: this loan was published or given back; take a new one")
        sent = self._publisher._publish_loan(self, message)
        self._open = False
        for array in self.arrays:
            array.flags.writeable = False  # readers look at it now
        return sent

    def offsets(self, arrays: Sequence[NDArray[Any]]) -> list[int | None]:
        """Where in the slot these arrays lie; None: elsewhere."""
        if self._hold is None:
            return [None] * len(arrays)
        offsets: list[int | None] = []
        for position, array in enumerate(arrays):
            # Nearly always the arrays as they were lent, and to ask numpy for an address takes a while.
            if position < len(self._lent) and array is self._lent[position][0]:
                offsets.append(self._lent[position][1])
            else:
                offsets.append(self._hold.offset(array))
        return offsets

    def close(self) -> None:
        """Give the memory back unpublished: it must not be written any more. Later calls do nothing."""
        if self._open and self._hold is not None:
            self._hold.abandon()
        self._open = False

    def __enter__(self) -> Loan:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
