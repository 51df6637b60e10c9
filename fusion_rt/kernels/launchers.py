"""The kernels as Python callables on CPU arrays.

Arrays are C-contiguous float32 unless said otherwise; outputs are given by the caller, and the scratch memory
of a launcher is made once and grows when it must. A launcher with scratch memory is not thread-safe. Each
raises DeviceError for arguments of another shape, dtype or layout.
"""

from __future__ import annotations

import ctypes
import itertools
import math
from collections.abc import Sequence

import numpy as np

from fusion_rt.errors import DeviceError
from fusion_rt.kernels import native
from fusion_rt.kernels.box_launchers import (
    BoxContextKernel,
    BoxRefineKernel,
    DecodeKernel,
    Grouped,
    NmsKernel,
    RoiPointsKernel,
    RoiSampleKernel,
)
from fusion_rt.kernels.native import Array, GridLike, Kernel, check, check_grid, floats, ptr

_FOOTPRINT = 5  # numbers in image.cu's Footprint


class ImageKernel(Kernel):
    """Undistort, resize with antialiasing (box filter), RGB, normalise, planes: one image."""

    def __init__(self, threads: int, instruction_set: str = "") -> None:
        super().__init__(threads, instruction_set)
        self._columns = np.empty(0, np.float32)
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
        0..255. Pixels whose centre the source does not show are 0, the mean colour."""
        check("src", src, np.uint8, (None, None, 3))
        check("out", out, np.float32, (3, None, None), written=True)
        (height, width), (h, w) = src.shape[:2], out.shape[1:]
        numbers, means, stds = lens_of((height, width), (h, w), K_src, distortion, K_dst, mean, std)
        lens = np.array(numbers, np.float32)
        rows = self.threads * max(3 * width, 5 * w)
        if self._tmp.size < rows:
            self._tmp = np.empty(rows, np.float32)
        if self._columns.size < w * _FOOTPRINT:
            self._columns = np.empty(w * _FOOTPRINT, np.float32)
        self.library.frt_image(
            self.threads, ptr(src), height, width, ptr(lens), h, w, int(bgr), ptr(means), ptr(stds),
            ptr(self._columns), ptr(self._tmp), ptr(out),
        )  # fmt: skip


def lens_of(
    src: tuple[int, ...],
    out: tuple[int, ...],
    K_src: Array,
    distortion: Sequence[float],
    K_dst: Array,
    mean: Sequence[float],
    std: Sequence[float],
) -> tuple[tuple[float, ...], Array, Array]:
    """`struct Lens` of image.cu, and mean and std (3,) float32; src and out are rows and columns.

    Raises DeviceError for what the kernel cannot work with."""
    if not (min(src) >= 1 and max(*src, *out) <= native.MAX_EXTENT):
        raise DeviceError(
            f"src is {(*src, 3)}, out is {(3, *out)}; expected 1 to {native.MAX_EXTENT} rows and columns"
        )
    distortions = floats("distortion", distortion, (5,)).tolist()
    lens = (*_pinhole("K_src", K_src), *distortions, *_pinhole("K_dst", K_dst))
    means, stds = floats("mean", mean, (3,)), floats("std", std, (3,))
    if not min(stds.tolist()) > 0:
        raise DeviceError(f"std is {stds.tolist()}, expected positive numbers")
    return lens, means, stds


def _pinhole(name: str, K: Array) -> list[float]:
    """fx, fy, cx, cy of K (3, 3)."""
    fx, _, cx, _, fy, cy, *_ = floats(name, K, (3, 3)).ravel().tolist()
    if not min(fx, fy) > 0:
        raise DeviceError(f"{name} has focal lengths {[fx, fy]} px, expected positive ones")
    return [fx, fy, cx, cy]


class DeskewKernel(Kernel):
    """Points to one time and frame, each by the pose at its own time."""

    def __call__(self, xyz: Array, t: Array, knots_t: Array, knots_T: Array, out: Array) -> None:
        """xyz (N, 3), t (N,) s; knots_t (K,) s increasing, knots_T (K, 3, 4) = T_out_lidar -> out (N, 3).

        Outside the knots the nearest pose holds; a NaN in t makes its point NaN where there are more knots
        than one."""
        check("xyz", xyz, np.float32, (None, 3))
        check("t", t, np.float32, (len(xyz),))
        check("knots_t", knots_t, np.float32, (None,))
        check("knots_T", knots_T, np.float32, (len(knots_t), 3, 4))
        check("out", out, np.float32, (len(xyz), 3), written=True)
        check_knots(knots_t)
        self.library.frt_deskew(
            self.threads, ptr(xyz), ptr(t), len(xyz), ptr(knots_t), ptr(knots_T), len(knots_t), ptr(out)
        )


def check_knots(knots_t: Array) -> None:
    """Raises DeviceError unless the times increase, and are at least one."""
    times = knots_t.tolist()
    increasing = all(a < b for a, b in itertools.pairwise(times))  # NaN is not
    if not (times and increasing and math.isfinite(times[0]) and math.isfinite(times[-1])):
        raise DeviceError(f"knots_t is {times}, expected increasing times, at least one")


class PillarsKernel(Kernel):
    """Points to a canvas by a linear layer and the largest response in each cell; any number of points."""

    def __init__(self, threads: int, instruction_set: str = "") -> None:
        super().__init__(threads, instruction_set)
        self._cell, self._grouped = np.empty(0, np.int32), np.empty((0, 4), np.float32)
        self._count = self._start = self._touched = np.zeros((0, 0), np.int32)  # (threads, cells)
        self._pillar = np.zeros(0, np.int32)
        self._counters = np.zeros(4 + threads, np.int32)
        self._merged = np.empty(0, np.float32)
        self._written: Array | None = None  # held, so that its memory is not given to another
        self._grouping: Grouped | None = None
        self.counts = {"points_in": 0, "pillars": 0, "not_finite": 0, "outside": 0}  # of the last call

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
        """xyz (N, 3) ego m, intensity (N,), W (8, C), b (C,) -> out (ny, nx, C + 1).

        The features of a point: offset to the cell's centre in cells (2), z, intensity held to 0..1, offset
        to the mean of the cell's points (3), log(1 + count) / 5. A cell has the largest response of its
        points, at least 0, and last that count; both are 0 where no point is. Between calls with
        one `out` only the touched cells are cleared: nobody else may write to it.
        Returns points_in, pillars, and the points left out: not_finite, outside."""
        check("xyz", xyz, np.float32, (None, 3))
        check("intensity", intensity, np.float32, (len(xyz),))
        channels, canvas = check_pillars(W, b, z_min, z_max), check_grid(grid)
        check("out", out, np.float32, (grid.ny, grid.nx, channels + 1), written=True)
        if len(xyz) > self._cell.size:
            self._cell = np.empty(2 * len(xyz), np.int32)
            self._grouped = np.empty((2 * len(xyz), 4), np.float32)
        if self._merged.size < 9 * (channels + 15):
            self._merged = np.empty(9 * (channels + 15), np.float32)
        if not _same_memory(self._written, out):
            out[...] = 0
            cells = grid.ny * grid.nx
            shape = self.threads, cells
            self._count, self._start, self._touched = (np.zeros(shape, np.int32) for _ in range(3))
            self._pillar = np.zeros(cells, np.int32)
            self._counters[:] = 0
            self._written = out
        pillars = self.library.frt_pillars(
            self.threads, ptr(xyz), ptr(intensity), len(xyz), ptr(W), ptr(b), channels, canvas,
            ctypes.c_float(z_min), ctypes.c_float(z_max), ptr(self._cell), ptr(self._grouped),
            ptr(self._count), ptr(self._start), ptr(self._touched), ptr(self._pillar), ptr(self._counters),
            ptr(self._merged), ptr(out),
        )  # fmt: skip
        held = self._grouping
        if held is None or held.points is not self._grouped or held.start is not self._start or held.grid != grid:
            self._grouping = Grouped(self._grouped, self._start, self._count, grid)
        not_finite, outside = int(self._counters[0]), int(self._counters[1])
        self.counts = {
            "points_in": len(xyz) - not_finite - outside,
            "pillars": int(pillars),
            "not_finite": not_finite,
            "outside": outside,
        }
        return self.counts

    @property
    def grouped(self) -> Grouped:
        """The points of the last call; the same object while its memory is. Raises DeviceError where there was none."""
        if self._grouping is None:
            raise DeviceError("no points were given to the pillars yet")
        return self._grouping


def check_pillars(W: Array, b: Array, z_min: float, z_max: float) -> int:
    """The channels. Raises DeviceError for a layer or heights that the kernel cannot work with."""
    check("W", W, np.float32, (8, None))
    channels: int = W.shape[1]
    check("b", b, np.float32, (channels,))
    if channels == 0:
        raise DeviceError("W has 0 channels, expected at least one")
    if not (-native.MAX_REACH_M <= z_min <= z_max <= native.MAX_REACH_M):
        raise DeviceError(f"z_min, z_max are {z_min}, {z_max}; expected rising heights within 100 km")
    return channels


def _same_memory(a: Array | None, b: Array) -> bool:
    """Callers index anew for each call: two views of one buffer are one output."""
    return a is not None and a.ctypes.data == b.ctypes.data and a.shape == b.shape


class LiftKernel(Kernel):
    """Camera features onto the canvas: the mean over the heights and cameras that see a cell."""

    def __call__(
        self, features: Array, P: Array, grid: GridLike, z_levels: Sequence[float], out: Array, depth: Array
    ) -> None:
        """features (cameras, h, w, C), P (cameras, 3, 4) ego m -> feature px, z_levels m
        -> out (ny, nx, C), depth (ny, nx) m: the mean over what saw the cell, 0 where nothing did. C <= 256.
        Seen is what lies more than 0.1 m before a camera and inside its features; the outer half pixel takes
        the border's value."""
        check("features", features, np.float32, (None, None, None, None))
        cameras, h, w, channels = features.shape
        check("P", P, np.float32, (cameras, 3, 4))
        canvas = check_grid(grid)
        check("out", out, np.float32, (grid.ny, grid.nx, channels), written=True)
        check("depth", depth, np.float32, (grid.ny, grid.nx), written=True)
        if not (0 < channels <= 256 and min(h, w) >= 1 and max(h, w) <= native.MAX_EXTENT):
            raise DeviceError(
                f"features is {features.shape}, expected 1 to 256 channels, 1 to {native.MAX_EXTENT} rows and"
                " columns"
            )
        z = floats("z_levels", z_levels, (len(z_levels),))
        self.library.frt_lift(
            self.threads, ptr(features), cameras, channels, h, w, ptr(P), canvas, ptr(z), len(z), ptr(out),
            ptr(depth),
        )  # fmt: skip


class BevWarpKernel(Kernel):
    """The previous canvas seen from the present ego frame; zero where it saw nothing."""

    _held: tuple[Array, Array] | None = None  # what is being read and written

    def __call__(self, state: Array, T_prev_now: Array, grid: GridLike, out: Array) -> None:
        """state (ny, nx, C), T_prev_now (2, 3): present x, y -> previous x, y -> out (ny, nx, C).

        Bilinear between the cells' centres; what lies outside counts as 0."""
        self.begin(state, T_prev_now, grid, out)
        self.wait()

    def begin(self, state: Array, T_prev_now: Array, grid: GridLike, out: Array) -> None:
        """The same beside whatever comes next. Until `wait` state and out must be left alone."""
        canvas = check_grid(grid)
        check("state", state, np.float32, (grid.ny, grid.nx, None))
        check("T_prev_now", T_prev_now, np.float32, (2, 3))
        check("out", out, np.float32, state.shape, written=True)
        if np.may_share_memory(state, out):
            raise DeviceError("state and out share memory: the warp cannot work in place")
        channels = state.shape[2]
        self.wait()
        self._held = state, out
        self.library.frt_bev_warp(self.threads, ptr(state), channels, ptr(T_prev_now), canvas, ptr(out))

    def wait(self) -> None:
        """Until what was begun is done."""
        if self._held is not None:
            self.library.frt_wait(self.threads)
            self._held = None

    def __del__(self) -> None:
        self.wait()  # the memory is not given back before


KERNELS: dict[str, type[Kernel]] = {
    "image": ImageKernel,
    "deskew": DeskewKernel,
    "pillars": PillarsKernel,
    "lift": LiftKernel,
    "bev_warp": BevWarpKernel,
    "decode": DecodeKernel,
    "nms": NmsKernel,
    "roi_sample": RoiSampleKernel,
    "roi_points": RoiPointsKernel,
    "box_context": BoxContextKernel,
    "box_refine": BoxRefineKernel,
}
