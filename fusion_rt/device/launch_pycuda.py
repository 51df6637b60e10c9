"""The driver through PyCUDA, for programs that use it already: our stream is a `pycuda.driver.Stream`, our
context the primary one. Imported only where a card was found: `pycuda.driver` itself needs libcuda.so.1.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pycuda
import pycuda.driver as cuda

from fusion_rt.device.graphs import Graphs
from fusion_rt.device.handing_back import HandingBack
from fusion_rt.device.launcher import Bytes, driver_error, mib
from fusion_rt.device.nvidia import Card

_PORTABLE, _READ_ONLY = 1, 8  # CU_MEMHOSTREGISTER_*
_NAMES = {
    "out of memory": "CUDA_ERROR_OUT_OF_MEMORY",
    "unspecified launch failure": "CUDA_ERROR_LAUNCH_FAILED",
}


class PyCudaLauncher:
    """launcher.Launcher."""

    def __init__(self, card: Card) -> None:
        self.name = f"pycuda {pycuda.VERSION_TEXT}"
        with _what(f"open {card.name}"):
            cuda.init()
            self._context = cuda.Device(card.ordinal).retain_primary_context()
        # PyCUDA frees what nobody holds.
        self._memory: dict[int, Any] = {}
        self._streams: dict[int, Any] = {}
        self._events: dict[int, Any] = {}
        self._loaded: dict[int, Any] = {}
        self._pinned: dict[int, Any] = {}
        self.graphs = Graphs()
        memory = self._memory
        self._give_back = HandingBack(lambda pointer: memory.pop(pointer).free())
        self.activate()

    def activate(self) -> None:
        with _what("take the context"):
            self._context.push()

    def deactivate(self) -> None:
        with _what("leave the context"):
            self._context.pop()

    def close(self) -> None:
        self.graphs.close()
        for held in (self._memory, self._events, self._streams, self._loaded, self._pinned):
            held.clear()
        with _what("give the context back"):
            self._context.pop()
            self._context.detach()

    def allocate(self, nbytes: int) -> int:
        with _what(f"allocate {mib(nbytes)} on the card"):
            self._give_back.settle()
            memory = cuda.mem_alloc(nbytes)
        self._memory[int(memory)] = memory
        return int(memory)

    def free(self, pointer: int) -> None:
        with _what("free memory of the card"):
            self._give_back(pointer)

    def pinned(self, nbytes: int) -> Bytes:
        with _what(f"allocate {mib(nbytes)} of pinned host memory"):
            memory: Bytes = cuda.pagelocked_empty(nbytes, np.uint8)
        return memory

    def mapped(self, nbytes: int) -> tuple[Bytes, int]:
        with _what(f"allocate {mib(nbytes)} of pinned host memory"):
            memory = cuda.pagelocked_empty(nbytes, np.uint8, mem_flags=cuda.host_alloc_flags.DEVICEMAP)
            return memory, int(memory.base.get_device_pointer())

    def pin(self, address: int, nbytes: int) -> None:

        pages = np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))
        with _what(f"pin {mib(nbytes)} of host memory"):
            self._pinned[address] = cuda.register_host_memory(pages, _PORTABLE | _READ_ONLY)

    def unpin(self, address: int) -> None:
        with _what("unpin host memory"):
            self._pinned.pop(address).base.unregister()

    def stream(self) -> int:
        with _what("make a stream"):
            stream = cuda.Stream(1)  # CU_STREAM_NON_BLOCKING
        self._streams[stream.handle] = stream
        return int(stream.handle)

    def event(self) -> int:
        with _what("make an event"):
            event = cuda.Event()
        self._events[id(event)] = event
        return id(event)

    def record(self, event: int, stream: int) -> None:
        with _what("record an event"):
            self._events[event].record(self._streams[stream])

    def wait(self, stream: int, event: int) -> None:
        with _what("wait for an event"):
            self._streams[stream].wait_for_event(self._events[event])

    def reached(self, event: int) -> bool:
        with _what("ask for an event"):
            return bool(self._events[event].query())

    def synchronize(self, stream: int) -> None:
        with _what("run what was enqueued"):
            self._streams[stream].synchronize()

    def synchronize_event(self, event: int) -> None:
        with _what("run what was enqueued"):
            self._events[event].synchronize()

    def elapsed_ms(self, first: int, second: int) -> float:
        with _what("read the time between events"):
            return float(self._events[first].time_till(self._events[second]))

    def copy_in(self, target: int, source: Bytes, stream: int) -> None:
        with _what(f"upload {mib(source.nbytes)}"):
            cuda.memcpy_htod_async(target, source, self._streams[stream])

    def copy_out(self, target: Bytes, source: int, stream: int) -> None:
        with _what(f"download {mib(target.nbytes)}"):
            cuda.memcpy_dtoh_async(target, source, self._streams[stream])

    def copy(self, target: int, source: int, nbytes: int, stream: int) -> None:
        with _what(f"copy {mib(nbytes)}"):
            cuda.memcpy_dtod_async(target, source, nbytes, self._streams[stream])

    def zero(self, pointer: int, nbytes: int, stream: int) -> None:
        with _what(f"clear {mib(nbytes)}"):
            cuda.memset_d8_async(pointer, 0, nbytes, self._streams[stream])

    def load(self, cubin: bytes) -> int:
        with _what("load a cubin"):
            module = cuda.module_from_buffer(cubin)
        self._loaded[id(module)] = module
        return id(module)

    def function(self, module: int, name: str) -> int:
        with _what(f"find the kernel {name}"):
            function = self._loaded[module].get_function(name)
        self._loaded[id(function)] = function
        return id(function)

    def launch(self, function: int, blocks: int, threads: int, arguments: bytes, stream: int) -> None:
        with _what("launch a kernel"):
            self._loaded[function]._launch_kernel(  # as prepared_async_call does, with our own packing
                (blocks, 1), (threads, 1, 1), arguments, 0, self._streams[stream]
            )


@contextmanager
def _what(what: str) -> Iterator[None]:
    """PyCUDA's errors as ours."""
    try:
        yield
    except (cuda.Error, MemoryError) as error:
        words = re.sub(r"^\w+ failed: ", "", str(error))
        raise driver_error(what, _NAMES.get(words, words)) from error
