"""What we ask of a CUDA driver, and nothing more. Two libraries can be asked: cuda-bindings, which has
wheels, and PyCUDA, whose users have a context, streams and arrays already. Both load the same cubins and
share the card's primary context with TensorRT and torch.

Pointers, streams, events, modules and functions are the driver's own handles, as integers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from fusion_rt.device.nvidia import Card
from fusion_rt.errors import DeviceError

if TYPE_CHECKING:
    from fusion_rt.device.graphs import Graphs

Bytes = NDArray[np.uint8]


class Launcher(Protocol):
    """One card's primary context, which is that of the thread in which the launcher was made. Any other
    thread calls `activate` first and `deactivate` last.

    name    the library and its version
    graphs  work of its streams, kept
    Each raises DeviceError with the driver's own words where the driver refuses."""

    name: str
    graphs: Graphs

    def activate(self) -> None:
        """The context becomes the calling thread's."""
        ...

    def deactivate(self) -> None:
        """And no longer."""
        ...

    def close(self) -> None:
        """Gives the context back; it ends with its last user."""
        ...

    def allocate(self, nbytes: int) -> int: ...

    def free(self, pointer: int) -> None: ...

    def pinned(self, nbytes: int) -> Bytes:
        """Host memory that copies need not stage; it lives as long as the array."""
        ...

    def mapped(self, nbytes: int) -> tuple[Bytes, int]:
        """Such memory that kernels may read too, and where it lies for them."""
        ...

    def pin(self, address: int, nbytes: int) -> None:
        """Make whole pages of somebody else's host memory so; read only."""
        ...

    def unpin(self, address: int) -> None: ...

    def stream(self) -> int: ...

    def event(self) -> int:
        """For order and for times."""
        ...

    def record(self, event: int, stream: int) -> None: ...

    def wait(self, stream: int, event: int) -> None:
        """What is put on the stream from now on comes after the event."""
        ...

    def reached(self, event: int) -> bool: ...

    def synchronize(self, stream: int) -> None: ...

    def synchronize_event(self, event: int) -> None: ...

    def elapsed_ms(self, first: int, second: int) -> float: ...

    def copy_in(self, target: int, source: Bytes, stream: int) -> None:
        """Host to card; the source must be pinned, and stand until the stream has passed."""
        ...

    def copy_out(self, target: Bytes, source: int, stream: int) -> None: ...

    def copy(self, target: int, source: int, nbytes: int, stream: int) -> None: ...

    def zero(self, pointer: int, nbytes: int, stream: int) -> None: ...

    def load(self, cubin: bytes) -> int:
        """A module; it lives as long as the context."""
        ...

    def function(self, module: int, name: str) -> int: ...

    def launch(self, function: int, blocks: int, threads: int, arguments: bytes, stream: int) -> None:
        """`arguments`: the parameters as they lie in memory, each aligned to its size."""
        ...


def open_launcher(card: Card, library: str = "") -> Launcher:
    """library: "cuda-bindings", "pycuda", or "" for the first of them that is installed.

    Raises DeviceError where none is, or where the context cannot be had."""
    known = {"cuda-bindings": _bindings, "pycuda": _pycuda}
    if library and library not in known:
        raise DeviceError(f"launcher {library!r} is not one of {', '.join(known)}")
    missing = []
    for name in (library,) if library else known:
        try:
            return known[name](card)
        except ImportError as error:
            missing.append(f"{name}: {error}")
    raise DeviceError(f"nothing to launch kernels with ({'; '.join(missing)}); pip install 'fusion-rt[cuda]'")


def _bindings(card: Card) -> Launcher:
    from fusion_rt.device.launch_bindings import BindingsLauncher

    return BindingsLauncher(card)


def _pycuda(card: Card) -> Launcher:
    from fusion_rt.device.launch_pycuda import PyCudaLauncher

    return PyCudaLauncher(card)


# What to do about an error, by the driver's name for it.
_REMEDIES = {
    "CUDA_ERROR_OUT_OF_MEMORY": "end other programs on the card (nvidia-smi), or use a smaller model",
    "CUDA_ERROR_NO_BINARY_FOR_GPU": "the cubin is for another card: empty the cubins' cache, start again",
    "CUDA_ERROR_INVALID_IMAGE": "the cubin is damaged: empty the cubins' cache, start again",
    "CUDA_ERROR_DEVICE_UNAVAILABLE": "another program has the card for itself: nvidia-smi -q -d COMPUTE",
    "CUDA_ERROR_ILLEGAL_ADDRESS": "a kernel left its memory; run tools/gpu_check.py and report it",
    "CUDA_ERROR_LAUNCH_FAILED": "the card gave up; see dmesg for its Xid, restart the program",
    "CUDA_ERROR_ECC_UNCORRECTABLE": "the card's memory is failing: see nvidia-smi -q -d ECC",
}
_RESTART = "restart the program; if it comes again, see dmesg for the card's Xid"


def driver_error(what: str, name: str, words: str = "") -> DeviceError:
    """What was being done, what the driver says, and what to do."""
    said = f"{name} ({words})" if words else name
    return DeviceError(f"CUDA: {what}: {said}; {_REMEDIES.get(name, _RESTART)}")


def mib(nbytes: int) -> str:
    return f"{nbytes / 2**20:.1f} MiB"
