"""The compiled kernels, and what may be passed to them: every argument is checked before it reaches C."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import itertools
import platform
from collections.abc import Mapping, Sequence
from ctypes import c_float, c_int, c_void_p
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fusion_rt.arrays import mismatch
from fusion_rt.errors import DeviceError

Array = NDArray[Any]

MAX_THREADS = 256
MAX_EXTENT = 1 << 15  # rows or columns: far below 2^24, where float32 stops telling integers apart
MAX_REACH_M = 1e5  # sums of 65536ths of a metre over any number of points stay below 2^63
_MAX_INT = 2**31 - 1
_NATIVE = {t: np.dtype(t) for t in (np.float32, np.int32, np.uint8)}
_MAX_FLOAT = float(np.finfo(np.float32).max)
_LIBRARIES = {"baseline": "_cpu", "x86-64-v3": "_cpu_v3", "x86-64-v4": "_cpu_v4"}
# What a processor must say that it has, beyond what the set before needs: the x86-64 psABI's levels.
_FLAGS = {
    "x86-64-v3": {"avx2", "fma", "bmi1", "bmi2", "f16c", "movbe", "abm"},
    "x86-64-v4": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
}


class GridLike(Protocol):
    """A canvas: x_min, y_min and cell_m in metres, nx columns, ny rows."""

    @property
    def x_min(self) -> float: ...
    @property
    def y_min(self) -> float: ...
    @property
    def cell_m(self) -> float: ...
    @property
    def nx(self) -> int: ...
    @property
    def ny(self) -> int: ...


class Grid(ctypes.Structure):
    """`struct Grid` of frt.h."""

    _fields_ = [
        ("x_min", c_float),
        ("y_min", c_float),
        ("cell", c_float),
        ("nx", c_int),
        ("ny", c_int),
    ]


@functools.cache
def library(instruction_set: str = "") -> ctypes.CDLL:
    """The compiled kernels; "" is the best for this processor, or one of "baseline", "x86-64-v3" and
    "x86-64-v4".

    Raises DeviceError when they were not built, or when this processor cannot run them."""
    best = instruction_sets()[-1]
    chosen = instruction_set or best
    if chosen not in _LIBRARIES:
        raise DeviceError(f"instruction set {chosen!r} is not one of {', '.join(_LIBRARIES)}")
    if chosen not in instruction_sets():
        raise DeviceError(f"this processor has no {chosen}; the best it runs is {best}")
    return load(built(f"fusion_rt.kernels.{_LIBRARIES[chosen]}"))


def built(name: str) -> str:
    """The file of a compiled module. Raises DeviceError when it was not built."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise DeviceError(f"{name} was not built: pip install . in the checkout (needs a C++ compiler)")
    return spec.origin


def declare(lib: ctypes.CDLL, functions: Mapping[str, tuple[Any, Sequence[Any]]]) -> None:
    """Tell ctypes what a library's functions return and take: name -> result, arguments."""
    for name, (result, arguments) in functions.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments


def load(path: str) -> ctypes.CDLL:
    """A build of cpu.cpp."""
    lib = ctypes.CDLL(path)
    lib.frt_decode.restype = lib.frt_nms.restype = c_int
    declare(lib, _BETWEEN_NETWORKS)
    return lib


# Of what an answer waits for: declared, the arguments need no wrapping.
_BETWEEN_NETWORKS = {
    "frt_span": (None, (c_int, c_void_p, c_int, c_float, c_void_p)),
    "frt_deskew": (None, (c_int, c_void_p, c_void_p, c_int, c_void_p, c_void_p, c_int, c_void_p)),
    "frt_pillars_clear": (c_int, (c_int, c_void_p, c_void_p, c_int, c_int, c_void_p, c_void_p)),
    "frt_pillars": (
        c_int,
        (
            *(c_int, c_int, c_void_p, c_void_p, c_int),
            *(c_void_p, c_void_p, c_int, Grid, c_float, c_float),
            *(c_void_p,) * 9,
        ),
    ),
    "frt_bev_warp": (c_int, (c_int, c_void_p, c_int, c_void_p, Grid, c_void_p)),
    "frt_wait": (None, (c_int, c_int)),
    "frt_first_look": (c_int, (c_int, c_void_p)),
    "frt_second_look": (c_int, (c_int, c_void_p, c_int)),
}


def instruction_sets() -> list[str]:
    """Those this processor can run, best last."""
    flags: set[str] = set()
    if platform.machine() in ("x86_64", "AMD64"):
        with contextlib.suppress(OSError, IndexError):
            flags = set(Path("/proc/cpuinfo").read_text().split("flags", 1)[1].split("\n", 1)[0].split())
    better = itertools.takewhile(lambda name: _FLAGS[name] <= flags, _FLAGS)
    return ["baseline", *better]


def check_threads(threads: int) -> int:
    """Raises DeviceError unless that many workers can be had."""
    if not isinstance(threads, int) or not 1 <= threads <= MAX_THREADS:
        raise DeviceError(f"threads is {threads}, expected 1 to {MAX_THREADS}")
    return threads


def check(name: str, array: Any, dtype: Any, shape: Sequence[int | None], *, written: bool = False) -> None:
    """Raises DeviceError unless `array` is an aligned, contiguous array of that dtype and shape (None: any
    extent), and writeable where the kernel writes to it."""
    # Nearly always all is well, and a frame has a hundred arrays: few questions tell.
    if type(array) is np.ndarray and array.dtype is _NATIVE.get(dtype) and array.flags.carray:
        for want, got in itertools.zip_longest(shape, array.shape, fillvalue=-1):
            if want is not None and want != got:
                break
        else:
            if array.size <= _MAX_INT:
                return
    if wrong := mismatch(array, dtype, shape):
        raise DeviceError(f"{name} {wrong}")
    if not (array.flags.c_contiguous and array.flags.aligned):
        what = "aligned" if array.flags.c_contiguous else "contiguous"
        raise DeviceError(f"{name} is not {what}; pass np.require({name}, requirements='CA')")
    if array.size > _MAX_INT:
        raise DeviceError(f"{name} has {array.size} elements; at most {_MAX_INT} are indexed")
    if written and not array.flags.writeable:
        raise DeviceError(f"{name} is read-only, and the kernel writes to it")


def check_grid(grid: GridLike) -> Grid:
    """The canvas for C. Raises DeviceError unless it has 1 to 32768 rows and columns of positive size within
    100 km."""
    corners = (
        grid.x_min,
        grid.y_min,
        grid.x_min + grid.nx * grid.cell_m,
        grid.y_min + grid.ny * grid.cell_m,
    )
    if not (
        1 <= grid.nx <= MAX_EXTENT
        and 1 <= grid.ny <= MAX_EXTENT
        and grid.cell_m > 0
        and all(abs(c) <= MAX_REACH_M for c in corners)  # NaN is not
    ):
        raise DeviceError(
            f"grid is {grid.nx} x {grid.ny} cells of {grid.cell_m} m from ({grid.x_min}, {grid.y_min}) m;"
            f" expected 1 to {MAX_EXTENT} rows and columns of positive size within {MAX_REACH_M:.0f} m"
        )
    return Grid(grid.x_min, grid.y_min, grid.cell_m, grid.nx, grid.ny)


def check_features(shape: tuple[int, ...]) -> None:
    """Raises DeviceError unless features of images (cameras, h, w, C) have 1 to 32768 rows and columns."""
    h, w = shape[1:3]
    if not (min(h, w) >= 1 and max(h, w) <= MAX_EXTENT):
        raise DeviceError(f"features is {shape}, expected 1 to {MAX_EXTENT} rows and columns")


def floats(name: str, values: Any, shape: tuple[int, ...]) -> Array:
    """Small parameters as float32. Raises DeviceError unless there are that many and float32 holds them."""
    array = np.asarray(values)
    if array.shape != shape or array.dtype.kind not in "fiu":
        raise DeviceError(f"{name} is {array.dtype} {array.shape}, expected numbers {shape}")
    if not all(abs(v) <= _MAX_FLOAT for v in array.ravel().tolist()):  # NaN is not
        raise DeviceError(f"{name} is {array.tolist()}, expected finite numbers")
    return np.ascontiguousarray(array, np.float32)


def address(array: Array) -> int:
    """Of the array's data."""
    return array.ctypes.data


def ptr(array: Array) -> ctypes.c_void_p:
    """The same for a function whose arguments are not declared."""
    return ctypes.c_void_p(address(array))


class Kernel:
    """What launchers share: the library and the number of threads."""

    def __init__(self, threads: int, instruction_set: str = "") -> None:
        self.threads = check_threads(threads)
        self.library = library(instruction_set)
