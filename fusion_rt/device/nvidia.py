"""Which NVIDIA cards there are, asked of the driver itself: no package, no toolkit, not even a card is needed
to know that there are none."""

from __future__ import annotations

import ctypes
from pathlib import Path

from msgspec import Struct

from fusion_rt.errors import DeviceError

NEEDED = (13, 0)  # the CUDA that our cubins need: driver 580 or later
_DRIVER = "libcuda.so.1"
_NAME_BYTES = 128
_MAJOR, _MINOR, _PROCESSORS = 75, 76, 16  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*, MULTIPROCESSOR_COUNT
_CLOCK_KHZ, _BUS_BITS, _INTEGRATED = 36, 37, 18  # MEMORY_CLOCK_RATE, GLOBAL_MEMORY_BUS_WIDTH, INTEGRATED


class Card(Struct, frozen=True, kw_only=True):
    """One card.

    ordinal         its number
    architecture    "sm_90"
    memory_bytes    in all
    processors      multiprocessors
    bandwidth_gb_s  of its memory, 0 where the driver does not tell
    integrated      it shares the memory of the CPU (Jetson)
    """

    ordinal: int = 0
    name: str
    architecture: str
    memory_bytes: int
    processors: int = 1
    bandwidth_gb_s: float = 0.0
    integrated: bool = False

    @property
    def capability(self) -> tuple[int, int]:
        """(9, 0) of "sm_90"."""
        number = self.architecture.removeprefix("sm_")
        return int(number[:-1]), int(number[-1])


class Driver(Struct, frozen=True, kw_only=True):
    """What the driver says of itself.

    cuda    the newest CUDA that it runs, "13.0"; "" where it does not answer
    error   why there are no cards; "" where there are, or where there is no driver at all
    loaded  whether the library is there
    """

    loaded: bool
    cuda: str = ""
    cards: tuple[Card, ...] = ()
    error: str = ""


def ask_driver() -> Driver:
    """Takes no memory of any card: no context is made."""
    try:
        cuda = ctypes.CDLL(_DRIVER)
    except OSError as error:
        # A container without --gpus has the device or the modules, but not the library.
        has_card = Path("/dev/nvidiactl").exists() or Path("/proc/driver/nvidia/version").exists()
        return Driver(loaded=False, error=str(error) if has_card else "")
    status = cuda.cuInit(0)
    if status:
        return Driver(loaded=True, error=f"cuInit: {_meaning(cuda, status)}")
    version, count = ctypes.c_int(), ctypes.c_int()
    status = cuda.cuDriverGetVersion(ctypes.byref(version)) or cuda.cuDeviceGetCount(ctypes.byref(count))
    if status:
        return Driver(loaded=True, error=_meaning(cuda, status))
    cards = tuple(_card(cuda, i) for i in range(count.value))
    newest = f"{version.value // 1000}.{version.value % 1000 // 10}"
    return Driver(loaded=True, cuda=newest, cards=cards, error="" if cards else "no device")


def first_card(driver: Driver | None = None) -> Card:
    """The card that we use. Raises DeviceError where we can use none: no driver, an old one, no card."""
    driver = driver or ask_driver()
    if not driver.loaded:
        raise DeviceError(
            f"no NVIDIA driver here ({driver.error or _DRIVER}); install one of version 580 or later, or use"
            " `device: cpu`"
        )
    if not driver.cards:
        raise DeviceError(
            f"the NVIDIA driver gives no card ({driver.error}); does nvidia-smi work? In a container, was it"
            " started with --gpus all?"
        )
    if tuple(int(part) for part in driver.cuda.split(".")) < NEEDED:
        raise DeviceError(
            f"the NVIDIA driver speaks CUDA {driver.cuda}, our kernels need {NEEDED[0]}.{NEEDED[1]};"
            " update it to version 580 or later"
        )
    return driver.cards[0]


def _card(cuda: ctypes.CDLL, index: int) -> Card:
    device, name, size = ctypes.c_int(), ctypes.create_string_buffer(_NAME_BYTES), ctypes.c_size_t()
    cuda.cuDeviceGet(ctypes.byref(device), index)
    cuda.cuDeviceGetName(name, _NAME_BYTES, device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(size), device)

    def attribute(number: int) -> int:
        value = ctypes.c_int()
        return 0 if cuda.cuDeviceGetAttribute(ctypes.byref(value), number, device) else value.value

    # Two transfers a clock: what cards' data sheets call their memory's bandwidth.
    bandwidth = 2 * attribute(_CLOCK_KHZ) * 1e3 * attribute(_BUS_BITS) / 8 / 1e9
    return Card(
        ordinal=index,
        name=name.value.decode(errors="replace"),
        architecture=f"sm_{attribute(_MAJOR)}{attribute(_MINOR)}",
        memory_bytes=size.value,
        processors=attribute(_PROCESSORS),
        bandwidth_gb_s=round(bandwidth, 1),
        integrated=bool(attribute(_INTEGRATED)),
    )


def _meaning(cuda: ctypes.CDLL, status: int) -> str:
    text = ctypes.c_char_p()
    cuda.cuGetErrorString(status, ctypes.byref(text))
    return f"{(text.value or b'unknown error').decode()} ({status})"
