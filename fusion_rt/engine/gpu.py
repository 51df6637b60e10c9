"""What engines on a GPU share: the device they ask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

DeviceBuffers = Mapping[str, Any]  # name -> float32, with __cuda_array_interface__


class GpuDevice(Protocol):
    """What an engine asks of a device; `CudaDevice` is one.

    name           the card, as its driver calls it
    architecture   "sm_90"
    stream_handle  the CUDA stream on which it enqueues now, as a number; it may work on several in turn
    """

    @property
    def name(self) -> str: ...
    @property
    def architecture(self) -> str: ...
    @property
    def stream_handle(self) -> int: ...

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any: ...
    def upload(self, array: NDArray[Any], out: Any) -> None: ...
    def download(self, buffer: Any, out: NDArray[Any]) -> None: ...
    def synchronize(self) -> None: ...


class DeviceEngine(Protocol):
    """An engine whose buffers are a device's. `run` enqueues on the device's stream and returns; it does not
    look at the outputs.

    recordable  whether `run` may be part of a CUDA graph that somebody else records: it waits for nothing and
                takes no memory. torch-cuda is a graph of its own, and no graph takes another's replay in"""

    recordable: bool
    name: str
    precision: str
    identity: str

    @property
    def inputs(self) -> DeviceBuffers: ...

    @property
    def outputs(self) -> DeviceBuffers: ...

    def run(self) -> None: ...


def address(buffer: Any) -> int:
    """Where a device buffer's data lies."""
    return int(buffer.__cuda_array_interface__["data"][0])
