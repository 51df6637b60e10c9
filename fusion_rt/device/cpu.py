"""The CPU as a device: buffers are numpy arrays, kernels are the C++ build of the .cu files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fusion_rt.errors import DeviceError
from fusion_rt.kernels import native
from fusion_rt.kernels.launchers import KERNELS

if TYPE_CHECKING:
    from fusion_rt.device.protocol import Decoder, Repeated
    from fusion_rt.engine import Engine
    from fusion_rt.models.package import ModelPackage

_NOW: AbstractContextManager[None] = nullcontext()


class CpuDevice:
    """`threads` workers share each kernel. instruction_set: "" picks the best, or one of `native`.

    Raises DeviceError for a number outside 1 to 256, and when the kernels were not built."""

    def __init__(self, threads: int = 2, instruction_set: str = "") -> None:
        self.threads = native.check_threads(threads)
        native.library(instruction_set)
        self.instruction_set = instruction_set

    def __str__(self) -> str:
        return f"cpu, {self.threads} thread{'s' if self.threads > 1 else ''}"

    def empty(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """A zeroed array."""
        return np.zeros(shape, dtype)

    def upload(self, array: NDArray[Any], out: NDArray[Any]) -> None:
        """Copies; shapes and dtypes must agree."""
        _same(array, out)
        np.copyto(out, array)

    def download(self, buffer: NDArray[Any], out: NDArray[Any]) -> None:
        """Copies; shapes and dtypes must agree."""
        _same(buffer, out)
        np.copyto(out, buffer)

    def fetch(self, buffer: NDArray[Any]) -> NDArray[Any]:
        """A copy."""
        return buffer.copy()

    def zero(self, buffer: NDArray[Any]) -> None:
        buffer[...] = 0

    def copy(self, buffer: NDArray[Any], out: NDArray[Any]) -> None:
        """Copies; shapes and dtypes must agree."""
        _same(buffer, out)
        np.copyto(out, buffer)

    def clone(self, buffer: NDArray[Any]) -> NDArray[Any]:
        """A copy."""
        return buffer.copy()

    def on(self, stream: str) -> AbstractContextManager[None]:
        """Everything is done at once, in the order of asking."""
        return _NOW

    def join(self, other: str) -> None:
        """Nothing to wait for."""

    def expect_finite(self, part: str, outputs: Mapping[str, NDArray[Any]]) -> None:
        """The engines of the CPU see to it themselves."""

    def repeated(self, engines: Sequence[Engine], *, record: bool = True) -> Repeated:
        """Done at once, each time."""
        return _AtOnce()

    def close(self) -> None:
        """Nothing to give back."""

    def decoder(self, package: ModelPackage) -> Decoder:
        from fusion_rt.device.cpu_decoder import CpuDecoder

        return CpuDecoder(self, package)

    def synchronize(self) -> None:
        """Nothing waits: every call has done its work when it returns."""

    def kernel(self, name: str) -> Callable[..., Any]:
        """A launcher of fusion_rt.kernels.launchers, with scratch memory of its own."""
        if name not in KERNELS:
            raise DeviceError(f"no kernel {name!r}; there are {', '.join(KERNELS)}")
        launcher: Callable[..., Any] = KERNELS[name](self.threads, self.instruction_set)  # type: ignore[assignment]
        return launcher


class _AtOnce:
    why = "the device is a CPU"

    def __call__(self, work: Callable[..., None], *arguments: Any) -> None:
        work(*arguments)


def _same(source: NDArray[Any], target: NDArray[Any]) -> None:
    if source.shape != target.shape or source.dtype != target.dtype:
        raise DeviceError(
            f"copy of {source.dtype} {source.shape} into {target.dtype} {target.shape}: they must agree"
        )
