"""The kernels as Python callables on CPU arrays: every argument is checked before it reaches C.

Arrays are C-contiguous float32 unless said otherwise; outputs are given by the caller, and the scratch memory of
a launcher is made once and grows when it must. A launcher with scratch memory is not thread-safe.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fusion_rt.errors import DeviceError

Array = NDArray[Any]
_MAX_INT = 2**31 - 1


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


class _Grid(ctypes.Structure):
    _fields_ = [
        ("x_min", ctypes.c_float),
        ("y_min", ctypes.c_float),
        ("cell", ctypes.c_float),
        ("nx", ctypes.c_int),
        ("ny", ctypes.c_int),
    ]


@functools.cache
def library(instruction_set: str = "") -> ctypes.CDLL:
    """The compiled kernels; the best for this processor, or "baseline" or "x86-64-v3".

    Raises DeviceError when they were not built."""
    name = {"baseline": "_cpu", "x86-64-v3": "_cpu_v3"}.get(instruction_set) or _best()
    spec = importlib.util.find_spec(f"fusion_rt.kernels.{name}")
    if spec is None or spec.origin is None:
        raise DeviceError(
            f"the kernels ({name}) were not built: pip install . in the checkout (needs a C++ compiler)"
        )
    lib = ctypes.CDLL(spec.origin)
    lib.frt_pillars.restype = lib.frt_decode.restype = lib.frt_nms.restype = ctypes.c_int
    return lib


def _best() -> str:
    if platform.machine() not in ("x86_64", "AMD64"):
        return "_cpu"
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split("flags", 1)[1].split("\n", 1)[0].split())
    except (OSError, IndexError):
        return "_cpu"
    return "_cpu_v3" if {"avx2", "fma", "bmi2", "f16c", "movbe"} <= flags else "_cpu"


class Kernel:
    """What launchers share: the library and the number of threads."""

    def __init__(self, threads: int, instruction_set: str = "") -> None:
        self.threads = threads
        self.library = library(instruction_set)


class ImageKernel(Kernel):
    """Undistort, resize with antialiasing (box filter), RGB, normalise, planes: one image."""

    def __init__(self, threads: int, instruction_set: str = "") -> None:
        super().__init__(threads, instruction_set)
        self._tmp = np.empty(0, np.float32)

    def __call__(
        self,
        src: Array,
        out: Array,
        K_src: Array,
        distortion: Sequence[float],
        K_dst: Array,
        *,
        bgr: bool,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        """src (H, W, 3) uint8 -> out (3, h, w). K_* (3, 3) px, distortion k1 k2 p1 p2 k3, mean and std RGB in
        0..255. Pixels that the source does not show are 0."""
        check("src", src, np.uint8, (None, None, 3))
        check("out", out, np.float32, (3, None, None))
        height, width = src.shape[:2]
        if height == 0 or width == 0:
            raise DeviceError(f"src is {src.shape}: an image needs at least one pixel")
        h, w = out.shape[1:]
        lens = np.array(
            [*(K_src[0, 0], K_src[1, 1], K_src[0, 2], K_src[1, 2]), *distortion]
            + [K_dst[0, 0], K_dst[1, 1], K_dst[0, 2], K_dst[1, 2]],
            np.float32,
        )
        check("lens", lens, np.float32, (13,))
        if not (np.isfinite(lens).all() and min(lens[0], lens[1], lens[9], lens[10]) > 0):
            raise DeviceError(f"focal lengths must be positive and all parameters finite, got {lens.tolist()}")
        means, stds = np.array(mean, np.float32), np.array(std, np.float32)
        check("mean", means, np.float32, (3,))
        check("std", stds, np.float32, (3,))
        if self._tmp.size < h * width * 3:
            self._tmp = np.empty(h * width * 3, np.float32)
        self.library.frt_image(
            self.threads, ptr(src), height, width, ptr(lens), h, w, int(bgr), ptr(means), ptr(stds),
            ptr(self._tmp), ptr(out),
        )  # fmt: skip


class DeskewKernel(Kernel):
    """Points to one time and frame, each by the pose at its own time."""

    def __call__(self, xyz: Array, t: Array, knots_t: Array, knots_T: Array, out: Array) -> None:
        """xyz (N, 3), t (N,) s; knots_t (K,) s increasing, knots_T (K, 3, 4) = T_out_lidar -> out (N, 3)."""
        check("xyz", xyz, np.float32, (None, 3))
        check("t", t, np.float32, (len(xyz),))
        check("knots_t", knots_t, np.float32, (None,))
        check("knots_T", knots_T, np.float32, (len(knots_t), 3, 4))
        check("out", out, np.float32, (len(xyz), 3))
        if len(knots_t) == 0 or not (np.diff(knots_t) > 0).all():
            raise DeviceError(f"knots_t must hold increasing times, at least one; got {knots_t.tolist()}")
        self.library.frt_deskew(
            self.threads, ptr(xyz), ptr(t), len(xyz), ptr(knots_t), ptr(knots_T), len(knots_t), ptr(out)
        )


class PillarsKernel(Kernel):
    """Points to a canvas by a linear layer and the largest response in each cell; any number of points."""

    def __init__(self, threads: int, instruction_set: str = "") -> None:
        super().__init__(threads, instruction_set)
        self._cell, self._grouped = np.empty(0, np.int32), np.empty(0, np.int32)
        self._count = self._start = self._pillar = np.zeros(0, np.int32)
        self._counters = np.zeros(4, np.int32)
        self._pillars = 0
        self._written: Array | None = None

    def __call__(
        self,
        xyz: Array,
        intensity: Array,
        W: Array,
        b: Array,
        grid: GridLike,
        z_min: float,
        z_max: float,
        out: Array,
    ) -> dict[str, int]:
        """xyz (N, 3) ego m, intensity (N,), W (8, C), b (C,) -> out (C + 1, ny, nx), C <= 128.

        The features of a point: offset to the cell's centre in cells (2), z, intensity, offset to the mean of
        the cell's points (3), log(1 + count) / 5; the last plane is that count. Between calls with one `out`
        only the touched cells are cleared: nobody else may write to it.
        Returns points_in, pillars, and the points left out: not_finite, outside."""
        check("xyz", xyz, np.float32, (None, 3))
        check("intensity", intensity, np.float32, (len(xyz),))
        check("W", W, np.float32, (8, None))
        channels, cells = W.shape[1], grid.nx * grid.ny
        check("b", b, np.float32, (channels,))
        check("out", out, np.float32, (channels + 1, grid.ny, grid.nx))
        if not 0 < channels <= 128:
            raise DeviceError(f"W has {channels} channels, expected 1 to 128")
        if len(xyz) > self._cell.size:
            self._cell, self._grouped = (np.empty(2 * len(xyz), np.int32) for _ in range(2))
        if self._written is not out:
            out[...] = 0
            self._count, self._start, self._pillar = (np.zeros(cells, np.int32) for _ in range(3))
            self._pillars, self._written = 0, out
        self._pillars = self.library.frt_pillars(
            self.threads, ptr(xyz), ptr(intensity), len(xyz), ptr(W), ptr(b), channels, _grid(grid),
            ctypes.c_float(z_min), ctypes.c_float(z_max), self._pillars, ptr(self._cell), ptr(self._grouped),
            ptr(self._count), ptr(self._start), ptr(self._pillar), ptr(self._counters), ptr(out),
        )  # fmt: skip
        not_finite, outside = int(self._counters[0]), int(self._counters[1])
        return {
            "points_in": len(xyz) - not_finite - outside,
            "pillars": self._pillars,
            "not_finite": not_finite,
            "outside": outside,
        }


class LiftKernel(Kernel):
    """Camera features onto the canvas: the mean over the heights and cameras that see a cell."""

    def __init__(self, threads: int, instruction_set: str = "") -> None:
        super().__init__(threads, instruction_set)
        self._tmp = np.empty(0, np.float32)

    def __call__(
        self, features: Array, P: Array, grid: GridLike, z_levels: Sequence[float], out: Array, valid: Array
    ) -> None:
        """features (cameras, C, h, w), P (cameras, 3, 4) ego m -> feature px, z_levels m
        -> out (C, ny, nx), valid (ny, nx) 0 or 1. C <= 256."""
        check("features", features, np.float32, (None, None, None, None))
        cameras, channels, h, w = features.shape
        check("P", P, np.float32, (cameras, 3, 4))
        check("out", out, np.float32, (channels, grid.ny, grid.nx))
        check("valid", valid, np.float32, (grid.ny, grid.nx))
        if not 0 < channels <= 256 or h == 0 or w == 0:
            raise DeviceError(f"features are {features.shape}: expected 1 to 256 channels and a pixel")
        z = np.array(z_levels, np.float32)
        if self._tmp.size < features.size:
            self._tmp = np.empty(features.size, np.float32)
        self.library.frt_lift(
            self.threads, ptr(features), cameras, channels, h, w, ptr(P), _grid(grid), ptr(z), len(z),
            ptr(self._tmp), ptr(out), ptr(valid),
        )  # fmt: skip


class BevWarpKernel(Kernel):
    """The previous canvas seen from the present ego frame; zero where it saw nothing."""

    def __call__(self, state: Array, T_prev_now: Array, grid: GridLike, out: Array) -> None:
        """state (C, ny, nx), T_prev_now (2, 3): present x, y -> previous x, y -> out (C, ny, nx)."""
        check("state", state, np.float32, (None, grid.ny, grid.nx))
        check("T_prev_now", T_prev_now, np.float32, (2, 3))
        check("out", out, np.float32, state.shape)
        if np.shares_memory(state, out):
            raise DeviceError("state and out share memory: the warp cannot work in place")
        self.library.frt_bev_warp(
            self.threads, ptr(state), len(state), ptr(T_prev_now), _grid(grid), ptr(out)
        )


class DecodeKernel(Kernel):
    """The best k local maxima of the heatmap as boxes."""

    def __init__(self, threads: int, instruction_set: str = "") -> None:
        super().__init__(threads, instruction_set)
        self._candidate = np.empty(0, np.int32)
        self._counters = np.zeros(1, np.int32)

    def __call__(
        self, heatmap: Array, regression: Array, grid: GridLike, threshold: float, k: int, out: Array
    ) -> int:
        """heatmap (classes, ny, nx) logits, regression (15, ny, nx), threshold a probability
        -> out (k, 16): x y z l w h yaw vx vy score class, std of x y z size yaw; returns how many rows.
        Ordered by score, ties by class and cell."""
        check("heatmap", heatmap, np.float32, (None, grid.ny, grid.nx))
        check("regression", regression, np.float32, (15, grid.ny, grid.nx))
        check("out", out, np.float32, (k, 16))
        if not 0 < threshold < 1:
            raise DeviceError(f"threshold is {threshold}, expected a probability between 0 and 1")
        if self._candidate.size < heatmap.size:
            self._candidate = np.empty(heatmap.size, np.int32)
        return int(
            self.library.frt_decode(
                self.threads, ptr(heatmap), ptr(regression), len(heatmap), _grid(grid),
                ctypes.c_float(np.log(threshold / (1 - threshold))), k, ptr(self._candidate),
                self._candidate.size, ptr(self._counters), ptr(out),
            )
        )  # fmt: skip


class NmsKernel(Kernel):
    """Of boxes of one class that overlap, the best stays."""

    def __init__(self, threads: int, instruction_set: str = "") -> None:
        super().__init__(threads, instruction_set)
        self._overlap = np.empty(0, np.uint8)
        self._counters = np.zeros(1, np.int32)

    def __call__(self, boxes: Array, scores: Array, classes: Array, iou: float, keep: Array) -> int:
        """boxes (n, 7), scores (n,) falling, classes (n,) int32; `iou` seen from above
        -> keep (>= n,) int32 indices, best first; returns how many."""
        check("boxes", boxes, np.float32, (None, 7))
        n = len(boxes)
        check("scores", scores, np.float32, (n,))
        check("classes", classes, np.int32, (n,))
        check("keep", keep, np.int32, (None,))
        if len(keep) < n:
            raise DeviceError(f"keep holds {len(keep)} indices, {n} boxes may stay")
        if not (np.diff(scores) <= 0).all():
            raise DeviceError("scores must fall: sort the boxes, best first")
        if self._overlap.size < n * n:
            self._overlap = np.empty(n * n, np.uint8)
        return int(
            self.library.frt_nms(
                self.threads, ptr(boxes), ptr(classes), n, ctypes.c_float(iou), ptr(self._overlap), ptr(keep),
                ptr(self._counters),
            )
        )  # fmt: skip


class RoiSampleKernel(Kernel):
    """Features at five points of each box: centre, front, back, left, right."""

    def __call__(self, features: Array, boxes: Array, grid: GridLike, out: Array) -> None:
        """features (C, ny, nx), boxes (n, 7) -> out (n, 5 * C), zero outside the canvas."""
        check("features", features, np.float32, (None, grid.ny, grid.nx))
        check("boxes", boxes, np.float32, (None, 7))
        check("out", out, np.float32, (len(boxes), 5 * len(features)))
        self.library.frt_roi_sample(
            self.threads, ptr(features), len(features), ptr(boxes), len(boxes), _grid(grid), ptr(out)
        )


KERNELS: dict[str, type[Kernel]] = {
    "image": ImageKernel,
    "deskew": DeskewKernel,
    "pillars": PillarsKernel,
    "lift": LiftKernel,
    "bev_warp": BevWarpKernel,
    "decode": DecodeKernel,
    "nms": NmsKernel,
    "roi_sample": RoiSampleKernel,
}


def check(name: str, array: Any, dtype: Any, shape: Sequence[int | None]) -> None:
    """Raises DeviceError unless `array` is a contiguous array of that dtype and shape (None: any extent)."""
    fits = (
        isinstance(array, np.ndarray)
        and array.dtype == dtype
        and array.ndim == len(shape)
        and all(want is None or want == got for want, got in zip(shape, array.shape))
    )
    if not fits:
        got = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        wanted = "(" + ", ".join("N" if s is None else str(s) for s in shape) + ")"
        raise DeviceError(f"{name} is {got}, expected {np.dtype(dtype)} {wanted}")
    if not array.flags.c_contiguous:
        raise DeviceError(f"{name} is not contiguous; pass np.ascontiguousarray({name})")
    if array.size > _MAX_INT:
        raise DeviceError(f"{name} has {array.size} elements; at most {_MAX_INT} are indexed")


def ptr(array: Array) -> ctypes.c_void_p:
    """The address of the array's data."""
    return ctypes.c_void_p(array.ctypes.data)


def _grid(grid: GridLike) -> _Grid:
    return _Grid(grid.x_min, grid.y_min, grid.cell_m, grid.nx, grid.ny)
