"""The NVIDIA cards of this machine, asked of the driver itself: no package is needed to know that there are
none."""

from __future__ import annotations

import ctypes

from msgspec import Struct

from fusion_rt.errors import DeviceError

DRIVER = 13_000  # the CUDA version that our cubins need: driver 580 or later
_MAJOR, _MINOR, _PROCESSORS = 75, 76, 16  # CUdevice_attribute


class Card(Struct, frozen=True):
    """One card: its number, name, compute capability, multiprocessors and memory."""

    ordinal: int
    name: str
    capability: tuple[int, int]
    processors: int
    memory_bytes: int

    @property
    def architecture(self) -> str:
        """ "sm_90"."""
        return "sm_{}{}".format(*self.capability)


def cards() -> list[Card]:
    """Those that we can use. Raises DeviceError where there are none: no driver, an old one, no card."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise DeviceError(
            f"no NVIDIA driver here ({error}); install one of version 580 or later, or use `device: cpu`"
        ) from error
    status = cuda.cuInit(0)
    if status == 100:  # CUDA_ERROR_NO_DEVICE
        raise DeviceError("the NVIDIA driver finds no card; in a container, was it started with --gpus all?")
    if status:
        raise DeviceError(f"the NVIDIA driver does not start (cuInit: error {status}); does nvidia-smi work?")
    version, count = ctypes.c_int(), ctypes.c_int()
    _ask(cuda.cuDriverGetVersion(ctypes.byref(version)), "cuDriverGetVersion")
    if version.value < DRIVER:
        raise DeviceError(
            f"the NVIDIA driver speaks CUDA {_dotted(version.value)}, our kernels need {_dotted(DRIVER)};"
            " update it to version 580 or later"
        )
    _ask(cuda.cuDeviceGetCount(ctypes.byref(count)), "cuDeviceGetCount")
    return [_card(cuda, n) for n in range(count.value)]


def first_card() -> Card:
    """Raises DeviceError where there is none that we can use."""
    found = cards()
    if not found:
        raise DeviceError("the NVIDIA driver finds no card; in a container, was it started with --gpus all?")
    return found[0]


def _card(cuda: ctypes.CDLL, ordinal: int) -> Card:
    name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
    _ask(cuda.cuDeviceGetName(name, len(name), ordinal), "cuDeviceGetName")
    _ask(cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), ordinal), "cuDeviceTotalMem")

    def attribute(which: int) -> int:
        value = ctypes.c_int()
        _ask(cuda.cuDeviceGetAttribute(ctypes.byref(value), which, ordinal), "cuDeviceGetAttribute")
        return value.value

    capability = attribute(_MAJOR), attribute(_MINOR)
    return Card(
        ordinal, name.value.decode(errors="replace"), capability, attribute(_PROCESSORS), memory.value
    )


def _ask(status: int, what: str) -> None:
    if status:
        raise DeviceError(
            f"the NVIDIA driver does not answer ({what}: error {status}); does nvidia-smi work?"
        )


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"
