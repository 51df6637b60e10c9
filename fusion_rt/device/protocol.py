"""What the pipeline asks of a device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from numpy.typing import NDArray


class Device(Protocol):
    """Memory and kernels. The pipeline is written once against it."""

    threads: int

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """A buffer of the device, zeroed."""
        ...

    def upload(self, array: NDArray[Any], out: Any) -> None:
        """Host array -> device buffer of its shape and dtype."""
        ...

    def download(self, buffer: Any, out: NDArray[Any]) -> None:
        """Device buffer -> host array of its shape and dtype."""
        ...

    def kernel(self, name: str) -> Callable[..., Any]:
        """A launcher with scratch memory of its own. Raises DeviceError for an unknown name."""
        ...
