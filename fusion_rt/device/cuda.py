"""An NVIDIA card as a device: buffers are its memory, kernels are the .cu files compiled for it.

Work is put on one of two streams and goes on while the host does other things: on "camera" from an image's
arrival to its features, on "main" all else. `with device.on("camera")` says which; `device.stream` is its
handle, for whoever else puts work there. The host waits once an answer, for its rows.
"""

from __future__ import annotations

import contextlib
import struct
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fusion_rt.device.buffers import Allocation, DeviceBuffer, Staging
from fusion_rt.device.launcher import Launcher, open_launcher
from fusion_rt.device.nvidia import Card, first_card
from fusion_rt.device.pinning import Pins
from fusion_rt.device.recording import Recording
from fusion_rt.errors import DeviceError, EngineError
from fusion_rt.kernels import cubins, native, sources

if TYPE_CHECKING:
    from fusion_rt.device.protocol import Decoder, Repeated
    from fusion_rt.engine import Engine
    from fusion_rt.models.package import ModelPackage

STREAMS = ("main", "camera")
BLOCK = 256  # threads
MAX_PARTS = 16  # of a model
DIRECT = 1 << 16  # bytes; less is copied faster than it is waited for
_LETTERS = {"pointer": "Q", "int": "i", "float": "f"}
_STRUCTURES = {"Grid": "fffii", "Lens": "13f"}  # frt.h, image.cu


class CudaDevice:
    """The card; `threads` of the host are for networks without a runtime on it.

    launcher  "cuda-bindings", "pycuda", or "" for the first that is installed
    cache     a folder for compiled kernels; None: the user's
    Not thread-safe.
    Raises DeviceError: no card, an old driver, no launcher, no compiler, no memory."""

    def __init__(
        self, threads: int = 2, *, card: Card | None = None, launcher: str = "", cache: Path | None = None
    ) -> None:
        self.threads = native.check_threads(threads)
        self.card = card or first_card()
        found = cubins.load(self.card.architecture, cache)
        self.warnings = found.warnings
        self.launcher: Launcher = open_launcher(self.card, launcher)
        self._thread = threading.get_ident()
        self._allocations: weakref.WeakSet[Allocation] = weakref.WeakSet()
        self._functions = {
            kernel: self.launcher.function(module, kernel)
            for module, file in ((self.launcher.load(f.cubin), f) for f in found.files.values())
            for kernel in file.resources
        }
        self._packers = {name: _Packer(name, of) for name, of in sources.kernels().items()}
        self._streams = {name: self.launcher.stream() for name in STREAMS}
        self._joints = {name: self.launcher.event() for name in STREAMS}
        self._staging, self._pins = Staging(self.launcher), Pins(self.launcher)
        self._end = weakref.finalize(self, _end, self.launcher, self._allocations, self._pins)
        self._read = self.launcher.event()
        # How many values of each part's outputs were not finite, ever; and at the last answer.
        self._parts: dict[str, int] = {}
        self._broken_before = np.zeros(MAX_PARTS, np.int32)
        self._broken_now = self.launcher.pinned(4 * MAX_PARTS).view(np.int32)
        self._spare: dict[int, list[Allocation]] = {}  # of `clone`, by size
        self.stream, self.unified = self._streams["main"], False
        self._waits = dict.fromkeys(self._streams.values(), 0)
        self._broken = self.empty((MAX_PARTS,), np.int32)
        self.synchronize()

    @property
    def name(self) -> str:
        """The card's."""
        return self.card.name

    @property
    def architecture(self) -> str:
        """ "sm_90"."""
        return self.card.architecture

    @property
    def stream_handle(self) -> int:
        """Of the present stream."""
        return self.stream

    def __str__(self) -> str:
        return f"cuda, {self.card.name} ({self.card.architecture}), {self.launcher.name}"

    def empty(self, shape: tuple[int, ...], dtype: Any) -> DeviceBuffer:
        """A zeroed buffer. Raises DeviceError where the card's memory is used up."""
        buffer = self._buffer(shape, dtype, None)
        self.zero(buffer)
        return buffer

    def share_memory(self) -> None:
        """From now on kernels read what sensors gave where the host has it. Raises DeviceError where the card
        has memory of its own."""
        if not self.card.integrated:
            raise DeviceError(
                f"{self.card.name} has memory of its own: `unified_memory` is for cards that share the CPU's"
                " (Jetson); take it out of the configuration"
            )
        self.unified = True

    def upload(self, array: NDArray[Any], out: DeviceBuffer) -> None:
        """Copies; shapes and dtypes must agree. The array may be used again at once.

        What lies in the bus's shared memory is read from there by the card itself, where that can be
        pinned."""
        _same(array, out)
        array = np.ascontiguousarray(array)
        if array.nbytes >= DIRECT and self._pins.hold(array):
            self.launcher.copy_in(out.pointer, array.reshape(-1).view(np.uint8), self.stream)
            self.launcher.record(self._read, self.stream)
            self.launcher.synchronize_event(self._read)  # afterwards its writer may have it back
        else:
            self._staging.upload(out.pointer, array, self.stream)

    def download(self, buffer: DeviceBuffer, out: NDArray[Any]) -> None:
        """Copies, when all that was put on the stream before is done; shapes and dtypes must agree."""
        _same(buffer, out)
        if buffer.nbytes == 0:
            return
        memory = self.launcher.pinned(buffer.nbytes)
        self.launcher.copy_out(memory, buffer.pointer, self.stream)
        self.synchronize()
        np.copyto(out, memory.view(out.dtype).reshape(out.shape))

    def fetch(self, buffer: DeviceBuffer) -> NDArray[Any]:
        """A new host array with what is in the buffer."""
        out = np.empty(buffer.shape, buffer.dtype)
        self.download(buffer, out)
        return out

    def zero(self, buffer: DeviceBuffer) -> None:
        if buffer.nbytes:
            self.launcher.zero(buffer.pointer, buffer.nbytes, self.stream)

    def copy(self, buffer: DeviceBuffer, out: DeviceBuffer) -> None:
        """Device to device; shapes and dtypes must agree."""
        _same(buffer, out)
        if buffer.nbytes:
            self.launcher.copy(out.pointer, buffer.pointer, buffer.nbytes, self.stream)

    def clone(self, buffer: DeviceBuffer) -> DeviceBuffer:
        """A copy, in memory that an earlier clone gave back where there is such."""
        spare = self._spare.setdefault(buffer.nbytes, [])
        allocation = spare.pop() if spare else None
        out = self._buffer(buffer.shape, buffer.dtype, allocation)
        held, out.owner = out.owner, _Lent()
        weakref.finalize(out.owner, spare.append, held).atexit = False
        self.copy(buffer, out)
        return out

    def kernel(self, name: str) -> Callable[..., Any]:
        """A launcher of cuda_kernels.py or cuda_box_kernels.py, with memory of its own."""
        from fusion_rt.device.cuda_box_kernels import BOX_KERNELS
        from fusion_rt.device.cuda_kernels import IMAGE_AND_CANVAS_KERNELS

        known = {**IMAGE_AND_CANVAS_KERNELS, **BOX_KERNELS}
        if name not in known:
            raise DeviceError(f"no kernel {name!r}; there are {', '.join(known)}")
        launcher: Callable[..., Any] = known[name](self)
        return launcher

    def decoder(self, package: ModelPackage) -> Decoder:
        from fusion_rt.device.cuda_decoder import CudaDecoder

        return CudaDecoder(self, package)

    @contextmanager
    def on(self, stream: str) -> Iterator[None]:
        """Work of this block goes to that stream. In any other thread than that which made the device,
        everything belongs in such a block."""
        if not self._end.alive:
            raise DeviceError("this CUDA device is closed; make another")
        guest = self._thread != threading.get_ident()
        if guest:
            self.launcher.activate()
        before, self.stream = self.stream, self._streams[stream]
        try:
            yield
        finally:
            self.stream = before
            if guest:
                self.launcher.deactivate()

    def join(self, other: str) -> None:
        """What comes now waits for all that was put on the other stream so far."""
        event = self._joints[other]
        self.launcher.record(event, self._streams[other])
        self.launcher.wait(self.stream, event)

    def synchronize(self) -> None:
        """Waits for the present stream. Raises DeviceError for whatever went wrong on the card."""
        self.launcher.synchronize(self.stream)
        self._waits[self.stream] += 1

    def ticket(self) -> tuple[int, int]:
        """For all that is on the present stream so far."""
        return self.stream, self._waits[self.stream]

    def settle(self, ticket: tuple[int, int]) -> None:
        """Waits for what the ticket is for, unless that was done since."""
        stream, waits = ticket
        if self._waits[stream] == waits:
            self.launcher.synchronize(stream)
            self._waits[stream] += 1

    def repeated(self, engines: Sequence[Engine], *, record: bool = True) -> Repeated:
        """A CUDA graph, unless an engine among them cannot be in one."""
        whole = [engine.name for engine in engines if not getattr(engine, "recordable", False)]
        why = f"{', '.join(sorted(set(whole)))} cannot be recorded" if whole else ""
        return Recording(self, why if record else "not wanted")

    def expect_finite(self, part: str, outputs: Mapping[str, DeviceBuffer]) -> None:
        """They are counted on the card; `answered` tells."""
        which = self._parts.setdefault(part, len(self._parts))
        counter = self._broken[which : which + 1]
        for buffer in outputs.values():
            self.launch("count_broken", buffer, buffer.size, counter, items=buffer.size)

    def answered(self) -> None:
        """Waits for all that an answer is made of. Raises EngineError where a value was not finite."""
        memory = self._broken_now.view(np.uint8)
        self.launcher.copy_out(memory, self._broken.pointer, self.stream)
        self.synchronize()
        more = self._broken_now - self._broken_before
        self._broken_before[:] = self._broken_now
        broken = [f"{int(more[which])} of {part}" for part, which in self._parts.items() if more[which]]
        if broken:
            raise EngineError(f"values that are not finite: {', '.join(broken)}; were the inputs?")

    def launch(
        self, kernel: str, *arguments: Any, items: int, team: bool = False, threads: int = BLOCK
    ) -> None:
        """Put a kernel on the stream: enough threads for `items` iterations, or a block each where a team
        takes one; never more than fill the card, the rest comes round again."""
        wanted = items if team else -(-items // threads)
        blocks = max(1, min(wanted, self.most_blocks(threads)))
        packed = self._packers[kernel](arguments)
        self.launcher.launch(self._functions[kernel], blocks, threads, packed, self.stream)

    def most_blocks(self, threads: int = BLOCK) -> int:
        """As many of that size as are launched at most: all that may be at work at once."""
        return self.card.processors * min(32, 2048 // threads)

    def close(self) -> None:
        """Gives everything back. Later calls do nothing; buffers still held are gone."""
        self._end()

    def _buffer(self, shape: tuple[int, ...], dtype: Any, allocation: Allocation | None) -> DeviceBuffer:
        buffer = DeviceBuffer(0, shape, dtype, allocation)
        if allocation is None:
            allocation = buffer.owner = Allocation(self.launcher, buffer.nbytes)
            self._allocations.add(allocation)
        buffer.pointer = allocation.pointer
        return buffer


def _end(launcher: Launcher, allocations: weakref.WeakSet[Allocation], pins: Pins) -> None:
    """Also when the program ends: PyCUDA would have it so."""
    pins.release()
    for allocation in list(allocations):
        allocation.free()  # others may share the context: it would not take it along
    with contextlib.suppress(DeviceError):  # of a card that is lost there is nothing to give back
        launcher.close()


class _Lent:
    """Memory of a clone: when it goes, the memory is free for the next."""


class _Packer:
    """The arguments of one kernel as they lie in its parameter memory."""

    def __init__(self, kernel: str, parameters: tuple[sources.Parameter, ...]) -> None:
        self._kernel, self._parameters = kernel, parameters
        letters, offset = "<", 0
        for p in parameters:
            one = _STRUCTURES.get(p.kind) or _LETTERS[p.kind]
            align = 8 if p.kind == "pointer" else 4
            pad = -offset % align
            letters += "x" * pad + one
            offset += pad + struct.calcsize("<" + one)
        self._pack = struct.Struct(letters).pack

    def __call__(self, arguments: tuple[Any, ...]) -> bytes:
        flat: list[Any] = []
        for p, value in zip(self._parameters, arguments, strict=True):
            if isinstance(value, DeviceBuffer):
                if p.kind != "pointer" or (p.dtype and p.dtype != value.dtype.name):
                    wanted = f"{p.dtype} buffer" if p.kind == "pointer" else p.kind
                    raise DeviceError(
                        f"{self._kernel}: {p.name} is a {value.dtype} buffer, expected a {wanted}"
                    )
                flat.append(value.pointer)
            elif isinstance(value, tuple):
                flat.extend(value)
            else:
                flat.append(value)
        return self._pack(*flat)


def _same(source: Any, target: Any) -> None:
    if source.shape != target.shape or source.dtype != target.dtype:
        raise DeviceError(
            f"copy of {source.dtype} {source.shape} into {target.dtype} {target.shape}: they must agree"
        )
