"""The kernels as Python callables on CPU arrays.

Arrays are C-contiguous float32 unless said otherwise; outputs are given by the caller, and the scratch memory
of a launcher is made once and grows when it must. A launcher with scratch memory is not thread-safe. Each
raises DeviceError for arguments of another shape, dtype or layout.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from operator import is_
from typing import Any

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
    ViewSampleKernel,
)
from fusion_rt.kernels.native import Array, GridLike, Kernel, address, check, check_grid, floats, ptr

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
            *(self.threads, address(xyz), address(t), len(xyz)),
            *(knots_t.tobytes(), knots_T.tobytes(), len(knots_t), address(out)),
        )


def check_knots(knots_t: Array) -> None:
    """Raises DeviceError unless the times increase, and are at least one."""
    times = knots_t.tolist()
    increasing = all(a < b for a, b in itertools.pairwise(times))  # NaN is not
    if not (times and increasing and math.isfinite(times[0]) and math.isfinite(times[-1])):
        raise DeviceError(f"knots_t is {times}, expected increasing times, at least one")


class PillarsKernel(Kernel):
    """Points to a canvas by a linear layer and the largest response in each cell; any number of points."""

    _clearing = 0  # the number of what `clear` began

    def __init__(self, threads: int, instruction_set: str = "") -> None:
        super().__init__(threads, instruction_set)
        self._cell, self._grouped = np.empty(0, np.int32), np.empty((0, 4), np.float32)
        self._count = self._start = self._touched = np.zeros((0, 0), np.int32)  # (threads, cells)
        self._pillar = np.zeros(0, np.int32)
        self._counters = np.zeros(4 + threads, np.int32)
        self._written: Array | None = None  # held, so that its memory is not given to another
        self._given: tuple[Any, ...] = (None,) * 6
        self._layer: tuple[Any, ...] = ()
        self._memory: tuple[int, ...] = ()
        self._cleared: tuple[int, ...] = ()
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
        n = len(xyz)
        check("xyz", xyz, np.float32, (None, 3))
        check("intensity", intensity, np.float32, (n,))
        given = W, b, grid, z_min, z_max, out
        if n > self._cell.size or not all(map(is_, given, self._given)):
            self._bind(n, *given)
        clearing, self._clearing = self._clearing, 0
        pillars = self.library.frt_pillars(
            self.threads, clearing, address(xyz), address(intensity), n, *self._layer, *self._memory
        )
        not_finite, outside = self._counters[:2].tolist()
        self.counts = {
            "points_in": n - not_finite - outside,
            "pillars": pillars,
            "not_finite": not_finite,
            "outside": outside,
        }
        return self.counts

    def clear(self) -> None:
        """Begin to clear the canvas of the last call, beside whatever comes before the next one: until then
        it is not to be read."""
        if self._grouping is not None and not self._clearing:
            self._clearing = self.library.frt_pillars_clear(self.threads, *self._cleared)

    def _bind(
        self, n: int, W: Array, b: Array, grid: GridLike, z_min: float, z_max: float, out: Array
    ) -> None:
        """Check what mostly stays from call to call, and make room for n points."""
        channels, canvas, cells = check_pillars(W, b, z_min, z_max), check_grid(grid), grid.nx * grid.ny
        check("out", out, np.float32, (grid.ny, grid.nx, channels + 1), written=True)
        self._wait()
        if n > self._cell.size:
            self._cell, self._grouped = np.empty(2 * n, np.int32), np.empty((2 * n, 4), np.float32)
        if not _same_memory(self._written, out):
            out[...] = 0
            shape = self.threads, cells
            self._count, self._start, self._touched = (np.zeros(shape, np.int32) for _ in range(3))
            self._pillar = np.zeros(cells, np.int32)
            self._counters[:] = 0
            self._written = out
        merged = np.empty(9 * (channels + 15), np.float32)
        self._layer = address(W), address(b), channels, canvas, z_min, z_max
        self._memory = tuple(
            address(array)
            for array in (
                *(self._cell, self._grouped, self._count, self._start, self._touched),
                *(self._pillar, self._counters, merged, out),
            )
        )
        count_at, pillar_at, counters_at = self._memory[2], self._memory[5], self._memory[6]
        self._cleared = pillar_at, counters_at, channels + 1, cells, address(out), count_at
        self._given, self._merged = (W, b, grid, z_min, z_max, out), merged
        self._grouping = Grouped(self._grouped, self._start, self._count, grid)

    def _wait(self) -> None:
        """Until what `clear` began is done."""
        if self._clearing:
            self.library.frt_wait(self.threads, self._clearing)
            self._clearing = 0

    def __del__(self) -> None:
        self._wait()  # the memory is not given back before

    @property
    def grouped(self) -> Grouped:
        """The points of the last call; the same object while its memory is. Raises DeviceError where there
        was none."""
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
        native.check_features(features.shape)
        if not 0 < channels <= 256:
            raise DeviceError(f"features is {features.shape}, expected 1 to 256 channels")
        z = floats("z_levels", z_levels, (len(z_levels),))
        self.library.frt_lift(
            self.threads, ptr(features), cameras, channels, h, w, ptr(P), canvas, ptr(z), len(z), ptr(out),
            ptr(depth),
        )  # fmt: skip


class BevWarpKernel(Kernel):
    """The previous canvas seen from the present ego frame; zero where it saw nothing."""

    _job = 0  # the number of what `begin` began

    def __init__(self, threads: int, instruction_set: str = "") -> None:
        super().__init__(threads, instruction_set)
        self._given: tuple[Any, ...] = (None,) * 3
        self._memory: tuple[Any, ...] = ()

    def __call__(self, state: Array, T_prev_now: Array, grid: GridLike, out: Array) -> None:
        """state (ny, nx, C), T_prev_now (2, 3): present x, y -> previous x, y -> out (ny, nx, C).

        Bilinear between the cells' centres; what lies outside counts as 0."""
        self.begin(state, T_prev_now, grid, out)
        self.wait()

    def begin(self, state: Array, T_prev_now: Array, grid: GridLike, out: Array) -> None:
        """The same beside whatever comes next. Until `wait` state and out must be left alone."""
        check("T_prev_now", T_prev_now, np.float32, (2, 3))
        if not all(map(is_, (state, grid, out), self._given)):
            self._bind(state, grid, out)
        self.wait()
        state_at, channels, canvas, out_at = self._memory
        self._job = self.library.frt_bev_warp(
            self.threads, state_at, channels, T_prev_now.tobytes(), canvas, out_at
        )

    def wait(self) -> None:
        """Until what was begun is done."""
        if self._job:
            self.library.frt_wait(self.threads, self._job)
            self._job = 0

    def __del__(self) -> None:
        self.wait()  # the memory is not given back before

    def _bind(self, state: Array, grid: GridLike, out: Array) -> None:
        """Check what mostly stays from call to call."""
        canvas = check_grid(grid)
        check("state", state, np.float32, (grid.ny, grid.nx, None))
        check("out", out, np.float32, state.shape, written=True)
        if np.may_share_memory(state, out):
            raise DeviceError("state and out share memory: the warp cannot work in place")
        self.wait()
        self._given, self._memory = (state, grid, out), (address(state), state.shape[2], canvas, address(out))


KERNELS: dict[str, type[Kernel]] = {
    "image": ImageKernel,
    "deskew": DeskewKernel,
    "pillars": PillarsKernel,
    "lift": LiftKernel,
    "bev_warp": BevWarpKernel,
    "decode": DecodeKernel,
    "nms": NmsKernel,
    "roi_sample": RoiSampleKernel,
    "view_sample": ViewSampleKernel,
    "roi_points": RoiPointsKernel,
    "box_context": BoxContextKernel,
    "box_refine": BoxRefineKernel,
}
