"""The driver through cuda-bindings: wheels, no toolkit.

Not through cuda.core, which stands on the same binding: it cannot pass a structure to a kernel by value.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import weakref
from typing import Any

import numpy as np
from cuda.bindings import driver

from fusion_rt.device.graphs import Graphs
from fusion_rt.device.handing_back import HandingBack
from fusion_rt.device.launcher import Bytes, driver_error, mib
from fusion_rt.device.nvidia import Card

_OK = driver.CUresult.CUDA_SUCCESS
_NOT_READY = driver.CUresult.CUDA_ERROR_NOT_READY


class BindingsLauncher:
    """launcher.Launcher."""

    def __init__(self, card: Card) -> None:
        self.name = f"cuda-bindings {importlib.metadata.version('cuda-bindings')}"
        _call("start the driver", driver.cuInit(0))
        self._device = _call(f"open {card.name}", driver.cuDeviceGet(card.ordinal))
        self._context = _call(f"open {card.name}", driver.cuDevicePrimaryCtxRetain(self._device))
        # What cuLaunchKernel is given: where the parameters lie, and how many bytes they are.
        self._size = ctypes.c_size_t()
        self._streams: list[int] = []
        self._events: list[int] = []
        self.graphs = Graphs()
        self._give_back = HandingBack(_free)
        self._give_host_back = HandingBack(driver.cuMemFreeHost)
        self._extra = (ctypes.c_void_p * 5)(1, None, 2, ctypes.addressof(self._size), None)
        self.activate()

    def activate(self) -> None:
        _call("take the context", driver.cuCtxSetCurrent(self._context))

    def deactivate(self) -> None:
        _call("leave the context", driver.cuCtxSetCurrent(0))

    def close(self) -> None:
        self.graphs.close()
        for event in self._events:
            driver.cuEventDestroy(event)
        for stream in self._streams:
            driver.cuStreamDestroy(stream)
        _call("give the context back", driver.cuDevicePrimaryCtxRelease(self._device))

    def allocate(self, nbytes: int) -> int:
        self._give_back.settle()
        return int(_call(f"allocate {mib(nbytes)} on the card", driver.cuMemAlloc(nbytes)))

    def free(self, pointer: int) -> None:
        self._give_back(pointer)

    def pinned(self, nbytes: int) -> Bytes:
        return self._host_memory(nbytes, 0)[0]

    def mapped(self, nbytes: int) -> tuple[Bytes, int]:
        memory, address = self._host_memory(nbytes, driver.CU_MEMHOSTALLOC_DEVICEMAP)
        return memory, int(_call("map host memory", driver.cuMemHostGetDevicePointer(address, 0)))

    def _host_memory(self, nbytes: int, flags: int) -> tuple[Bytes, int]:
        self._give_host_back.settle()
        what = f"allocate {mib(nbytes)} of pinned host memory"
        address = int(_call(what, driver.cuMemHostAlloc(nbytes, flags)))
        memory = (ctypes.c_uint8 * nbytes).from_address(address)
        weakref.finalize(memory, self._give_host_back, address).atexit = False  # the context may be gone
        return np.ctypeslib.as_array(memory), address

    def pin(self, address: int, nbytes: int) -> None:
        flags = driver.CU_MEMHOSTREGISTER_PORTABLE | driver.CU_MEMHOSTREGISTER_READ_ONLY
        _call(f"pin {mib(nbytes)} of host memory", driver.cuMemHostRegister(address, nbytes, flags))

    def unpin(self, address: int) -> None:
        _call("unpin host memory", driver.cuMemHostUnregister(address))

    def stream(self) -> int:
        flag = driver.CUstream_flags.CU_STREAM_NON_BLOCKING
        stream = int(_call("make a stream", driver.cuStreamCreate(flag)))
        self._streams.append(stream)
        return stream

    def event(self) -> int:
        event = int(_call("make an event", driver.cuEventCreate(0)))
        self._events.append(event)
        return event

    def record(self, event: int, stream: int) -> None:
        _call("record an event", driver.cuEventRecord(event, stream))

    def wait(self, stream: int, event: int) -> None:
        _call("wait for an event", driver.cuStreamWaitEvent(stream, event, 0))

    def reached(self, event: int) -> bool:
        (status,) = driver.cuEventQuery(event)
        if status != _NOT_READY:
            _call("ask for an event", (status,))
        return bool(status == _OK)

    def synchronize(self, stream: int) -> None:
        _call("run what was enqueued", driver.cuStreamSynchronize(stream))

    def synchronize_event(self, event: int) -> None:
        _call("run what was enqueued", driver.cuEventSynchronize(event))

    def elapsed_ms(self, first: int, second: int) -> float:
        return float(_call("read the time between events", driver.cuEventElapsedTime(first, second)))

    def copy_in(self, target: int, source: Bytes, stream: int) -> None:
        n = source.nbytes
        _call(f"upload {mib(n)}", driver.cuMemcpyHtoDAsync(target, source.ctypes.data, n, stream))

    def copy_out(self, target: Bytes, source: int, stream: int) -> None:
        n = target.nbytes
        _call(f"download {mib(n)}", driver.cuMemcpyDtoHAsync(target.ctypes.data, source, n, stream))

    def copy(self, target: int, source: int, nbytes: int, stream: int) -> None:
        _call(f"copy {mib(nbytes)}", driver.cuMemcpyDtoDAsync(target, source, nbytes, stream))

    def zero(self, pointer: int, nbytes: int, stream: int) -> None:
        _call(f"clear {mib(nbytes)}", driver.cuMemsetD8Async(pointer, 0, nbytes, stream))

    def load(self, cubin: bytes) -> int:
        return int(_call("load a cubin", driver.cuModuleLoadData(cubin)))

    def function(self, module: int, name: str) -> int:
        return int(_call(f"find the kernel {name}", driver.cuModuleGetFunction(module, name.encode())))

    def launch(self, function: int, blocks: int, threads: int, arguments: bytes, stream: int) -> None:
        self._size.value = len(arguments)
        held = ctypes.create_string_buffer(arguments, len(arguments))
        self._extra[1] = ctypes.addressof(held)
        extra = ctypes.addressof(self._extra)
        done = driver.cuLaunchKernel(function, blocks, 1, 1, threads, 1, 1, 0, stream, 0, extra)
        _call("launch a kernel", done)


def _free(pointer: int) -> None:
    _call("free memory of the card", driver.cuMemFree(pointer))


def _call(what: str, answer: tuple[Any, ...]) -> Any:
    """What the driver gave, after its status. Raises DeviceError."""
    status, *value = answer
    if status != _OK:
        _, words = driver.cuGetErrorString(status)
        raise driver_error(what, status.name, words.decode() if isinstance(words, bytes) else "")
    return value[0] if value else None
