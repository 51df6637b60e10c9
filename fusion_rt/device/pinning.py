"""The bus's shared memory, pinned: a card then reads a message where its writer put it."""

from __future__ import annotations

import contextlib
import weakref
from typing import Any

from numpy.typing import NDArray

from fusion_rt.bus.lease import Segment, lease_of
from fusion_rt.device.launcher import Launcher
from fusion_rt.errors import DeviceError


class Pins:
    """Whole segments, each pinned when its first array comes, for as long as it is mapped."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        # False: the driver does not allow it. The end comes before the memory is unmapped.
        self._pinned: weakref.WeakKeyDictionary[Segment, bool] = weakref.WeakKeyDictionary()
        self._ends: list[weakref.finalize[Any, Any]] = []

    def hold(self, array: NDArray[Any]) -> bool:
        """Whether the card may read the array's memory directly."""
        lease = lease_of(array)
        if lease is None:
            return False
        if lease.segment not in self._pinned:
            self._pinned[lease.segment] = self._pin(lease.segment)
        return self._pinned[lease.segment]

    def release(self) -> None:
        """All of them."""
        for end in self._ends:
            end()
        self._ends.clear()
        self._pinned.clear()

    def _pin(self, segment: Segment) -> bool:
        address, nbytes = segment.mapping
        try:
            self._launcher.pin(address, nbytes)
        except DeviceError:
            return False  # no right to lock that much memory, or an older driver: through the staging
        self._ends = [end for end in self._ends if end.alive]
        self._ends.append(weakref.finalize(segment, self._unpin, address))
        return True

    def _unpin(self, address: int) -> None:
        with contextlib.suppress(DeviceError):  # the card is lost: so is the pinning
            self._launcher.unpin(address)
