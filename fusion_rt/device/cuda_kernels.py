"""The kernels of images, points and canvases on a card, with the signatures of kernels/launchers.py.

Big arrays are device buffers; what comes from a sensor may also be a host array, which is uploaded, and small
parameters are host arrays. A call puts work on the device's stream and returns; `counts`, where there are
any, waits for it. `moved_bytes` says what the last call must read and write at least once: its bound on a
card is that over the memory's bandwidth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fusion_rt.device.buffers import DeviceBuffer, expect
from fusion_rt.device.mapped import Mapped
from fusion_rt.errors import DeviceError
from fusion_rt.kernels import native
from fusion_rt.kernels.box_launchers import Grouped
from fusion_rt.kernels.launchers import check_knots, check_pillars, lens_of
from fusion_rt.kernels.native import GridLike

CROWDS = 64  # FRT_CROWDS of pillars.cu

if TYPE_CHECKING:
    from fusion_rt.device.cuda import CudaDevice

Array = NDArray[Any]


class Given:
    """A launcher's own copy, on the device, of what it is given: grown when it must be, uploaded anew unless
    it is the same as before. Where memory is shared, what changes each time is not uploaded."""

    def __init__(self, device: CudaDevice, *, keep: bool = False) -> None:
        self._device, self._keep = device, keep
        self._memory: DeviceBuffer | None = None
        self._last: tuple[tuple[int, ...], bytes] | None = None
        self._mapped = Mapped(device.launcher)

    def __call__(self, name: str, given: Any, dtype: Any, shape: Sequence[int | None]) -> DeviceBuffer:
        """Raises DeviceError unless it is an array, of the host or of the device, of that dtype and shape."""
        if isinstance(given, DeviceBuffer):
            expect(name, given, dtype, shape)
            return given
        native.check(name, given, dtype, shape)
        if self._device.unified and not self._keep and given.nbytes:
            return self._mapped(given, self._device.stream)
        if self._memory is None or self._memory.nbytes < given.nbytes:
            room = 1 << max(given.nbytes - 1, 63).bit_length()
            self._memory, self._last = self._device.empty((room,), np.uint8), None
        held = DeviceBuffer(self._memory.pointer, given.shape, given.dtype, self._memory.owner)
        told = (given.shape, given.tobytes()) if self._keep else None
        if told is None or told != self._last:
            self._device.upload(given, held)
            self._last = told
        return held


class Scratch:
    """Memory of a launcher, made anew when more is asked for."""

    def __init__(self, device: CudaDevice, dtype: Any) -> None:
        self._device, self._dtype = device, dtype
        self._memory: DeviceBuffer | None = None

    def __call__(self, count: int) -> DeviceBuffer:
        if self._memory is None or self._memory.size < count:
            self._memory = self._device.empty((1 << max(count - 1, 63).bit_length(),), self._dtype)
        return self._memory


def lanes(channels: int) -> int:
    """Threads of a team that shares so many channels: whole warps."""
    return min(max(-(-channels // 32), 1) * 32, 256)


def grid_of(grid: GridLike) -> tuple[float, float, float, int, int]:
    """`struct Grid` of frt.h. Raises DeviceError as native.check_grid does."""
    c = native.check_grid(grid)
    return c.x_min, c.y_min, c.cell, c.nx, c.ny


class ImageKernel:
    """kernels.launchers.ImageKernel; src may be of the host."""

    def __init__(self, device: CudaDevice) -> None:
        self._device = device
        self._src = Given(device)
        self._mean, self._std = Given(device, keep=True), Given(device, keep=True)
        self._columns, self._tmp = Scratch(device, np.uint8), Scratch(device, np.float32)
        self.moved_bytes = 0

    def __call__(
        self,
        src: Any,
        out: DeviceBuffer,
        K_src: Array,
        distortion: Sequence[float],
        K_dst: Array,
        *,
        bgr: bool,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        device = self._device
        pixels = self._src("src", src, np.uint8, (None, None, 3))
        expect("out", out, np.float32, (3, None, None))
        (height, width), (h, w) = pixels.shape[:2], out.shape[1:]
        numbers, means, stds = lens_of((height, width), (h, w), K_src, distortion, K_dst, mean, std)
        lens = np.array(numbers, np.float32)  # what the kernel sees decides what it is told
        mean_at, std_at = (
            self._mean("mean", means, np.float32, (3,)),
            self._std("std", stds, np.float32, (3,)),
        )
        self.moved_bytes = pixels.nbytes + out.nbytes
        teams = min(max(h, 1), device.most_blocks())
        last = (h, w, int(bgr), mean_at, std_at)
        by_value = tuple(lens.tolist())
        if lens[4:9].any():
            with np.errstate(over="ignore"):
                ratio = max(lens[0] / lens[9], lens[1] / lens[10])
            taps = 1 if ratio <= np.float32(1.2) else 2 if ratio <= np.float32(2.5) else 3
            tmp = self._tmp(teams * 5 * w)
            device.launch(
                "image_undistort", pixels, height, width, by_value, taps, *last, tmp, out, items=h, team=True
            )
            return
        columns = self._columns(w * 20)  # image.cu's Footprint
        device.launch("image_columns", width, by_value, w, columns, items=w)
        first, end = _seen_columns(by_value, width, w)
        tmp = self._tmp(teams * 3 * width)
        device.launch(
            "image_resize", pixels, height, width, by_value, columns, first, end, *last, tmp, out,
            items=h, team=True,
        )  # fmt: skip


def _seen_columns(lens: tuple[float, ...], width: int, w: int) -> tuple[int, int]:
    """Source columns that hold all which the destination's w columns look at; a few more do no harm."""
    ratio = lens[0] / lens[9]
    ends = [(0.5 - lens[11]) * ratio + lens[2], (w - 0.5 - lens[11]) * ratio + lens[2]]
    reach = max(ratio, 1.0) + 2
    low, high = ends[0] - reach, ends[1] + reach
    if not (math.isfinite(low) and math.isfinite(high)):
        return 0, width
    return int(min(max(low, 0), width)), int(min(max(high + 1, 0), width))


class DeskewKernel:
    """kernels.launchers.DeskewKernel; xyz and t may be of the host."""

    def __init__(self, device: CudaDevice) -> None:
        self._device = device
        self._xyz, self._t = Given(device), Given(device)
        self._knots_t, self._knots_T = Given(device), Given(device)
        self.moved_bytes = 0

    def __call__(self, xyz: Any, t: Any, knots_t: Array, knots_T: Array, out: DeviceBuffer) -> None:
        points = self._xyz("xyz", xyz, np.float32, (None, 3))
        n = len(points)
        times = self._t("t", t, np.float32, (n,))
        native.check("knots_t", knots_t, np.float32, (None,))
        native.check("knots_T", knots_T, np.float32, (len(knots_t), 3, 4))
        check_knots(knots_t)
        expect("out", out, np.float32, (n, 3))
        at = self._knots_t("knots_t", knots_t, np.float32, (None,))
        poses = self._knots_T("knots_T", knots_T, np.float32, (None, 3, 4))
        self.moved_bytes = 28 * n
        self._device.launch("deskew", points, times, n, at, poses, len(knots_t), out, items=n)


class PillarsKernel:
    """kernels.launchers.PillarsKernel, but that the counts come by `counts`, which waits; xyz and intensity
    may be of the host."""

    def __init__(self, device: CudaDevice) -> None:
        self._device = device
        self._xyz, self._intensity = Given(device), Given(device)
        self._W, self._b = Given(device, keep=True), Given(device, keep=True)
        self._cell, self._grouped = Scratch(device, np.int32), Scratch(device, np.float32)
        self._merged, self._crowds = Scratch(device, np.float32), Scratch(device, np.float32)
        self._count = self._start = self._touched = self._pillar = device.empty((1, 0), np.int32)
        self._counters = device.empty((5,), np.int32)
        self._told = device.launcher.pinned(16).view(np.int32)
        self._told[:] = 0
        self._ticket = device.ticket()
        self._written: tuple[int, tuple[int, ...]] | None = None
        self._owner: Any = None  # held, so that the memory is not given to another
        self._grid: GridLike | None = None
        self._points = 0
        self._size = 0, 0, 0  # points, cells and planes of the last call

    def __call__(
        self,
        xyz: Any,
        intensity: Any,
        W: Array,
        b: Array,
        grid: GridLike,
        z_min: float,
        z_max: float,
        out: DeviceBuffer,
    ) -> None:
        device = self._device
        points = self._xyz("xyz", xyz, np.float32, (None, 3))
        n = len(points)
        bright = self._intensity("intensity", intensity, np.float32, (n,))
        channels = check_pillars(W, b, z_min, z_max)
        canvas, cells, planes = grid_of(grid), grid.nx * grid.ny, channels + 1
        expect("out", out, np.float32, (grid.ny, grid.nx, planes))
        weights = self._W("W", W, np.float32, (8, None)), self._b("b", b, np.float32, (None,))
        cell, grouped = self._cell(n), self._grouped(4 * n)
        wide = (channels + 15) // 16 * 16
        merged, crowds = self._merged(9 * wide), self._crowds(CROWDS)
        if self._written != (out.pointer, out.shape):
            device.zero(out)
            self._count, self._start, self._touched = (device.empty((1, cells), np.int32) for _ in range(3))
            self._pillar = device.empty((cells,), np.int32)
            device.zero(self._counters)
            self._written, self._owner = (out.pointer, out.shape), out.owner
        count, start, touched = self._count, self._start, self._touched
        pillar, counters, fresh = self._pillar, self._counters, self._counters[4:]
        device.launch("pillars_clear", pillar, counters, planes, 1, cells, out, count, items=cells)
        device.zero(counters)
        device.launch(
            "pillars_cells", points, bright, n, canvas, z_min, z_max, cell, count, touched, fresh, counters,
            items=n,
        )  # fmt: skip
        device.launch(
            "pillars_place", count, touched, fresh, 1, cells, start, pillar, counters, items=min(n, cells)
        )
        device.launch("pillars_group", points, bright, cell, n, canvas, start, grouped, items=n)
        device.launch("pillars_merge", *weights, channels, canvas[2], wide, merged, crowds, items=wide)
        device.launch(
            "pillars_encode", grouped, start, count, 1, cells, pillar, counters, merged, wide, channels,
            crowds, out,
            items=min(n, cells), threads=64,
        )  # fmt: skip
        device.launcher.copy_out(self._told.view(np.uint8), counters.pointer, device.stream)
        self._ticket = device.ticket()
        self._grid, self._points = grid, n
        self._size = n, cells, planes

    def clear(self) -> None: ...  # the next call does, and nobody waits for it

    @property
    def moved_bytes(self) -> int:
        n, cells, planes = self._size
        kept, pillars = self.counts["points_in"], self.counts["pillars"]
        # Points and their cells, twice; the points laid out, written and read; the counts; the canvas, both
        # cleared and written.
        return 16 * n + 8 * n + 16 * n + 32 * kept + 12 * cells + 2 * 4 * planes * pillars

    @property
    def counts(self) -> dict[str, int]:
        """As kernels.launchers.PillarsKernel returns them, of the last call."""
        self._device.settle(self._ticket)
        not_finite, outside, pillars = (int(v) for v in self._told[:3])
        return {
            "points_in": self._points - not_finite - outside,
            "pillars": pillars,
            "not_finite": not_finite,
            "outside": outside,
        }

    @property
    def grouped(self) -> Grouped:
        """The points of the last call. Raises DeviceError where there was none."""
        if self._grid is None:
            raise DeviceError("no points were given to the pillars yet")
        points = self._grouped(0)
        return Grouped(points.reshape(points.size // 4, 4), self._start, self._count, self._grid)


class LiftKernel:
    """kernels.launchers.LiftKernel."""

    def __init__(self, device: CudaDevice) -> None:
        self._device = device
        self._P, self._z = Given(device, keep=True), Given(device, keep=True)
        self.moved_bytes = 0

    def __call__(
        self,
        features: DeviceBuffer,
        P: Any,
        grid: GridLike,
        z_levels: Sequence[float],
        out: DeviceBuffer,
        depth: DeviceBuffer,
    ) -> None:
        expect("features", features, np.float32, (None, None, None, None))
        cameras, h, w, channels = features.shape
        canvas = grid_of(grid)
        expect("out", out, np.float32, (grid.ny, grid.nx, channels))
        expect("depth", depth, np.float32, (grid.ny, grid.nx))
        native.check_features(features.shape)
        if not 0 < channels <= 256:
            raise DeviceError(f"features is {features.shape}, expected 1 to 256 channels")
        z = native.floats("z_levels", z_levels, (len(z_levels),))
        where = self._P("P", P, np.float32, (cameras, 3, 4))
        heights = self._z("z_levels", z, np.float32, (None,))
        self.moved_bytes = features.nbytes + out.nbytes + depth.nbytes
        self._device.launch(
            "lift", features, cameras, channels, h, w, where, canvas, heights, len(z), out, depth,
            items=grid.nx * grid.ny, team=True, threads=lanes(channels),
        )  # fmt: skip


class BevWarpKernel:
    """kernels.launchers.BevWarpKernel."""

    def __init__(self, device: CudaDevice) -> None:
        self._device = device
        self._T = Given(device)
        self.moved_bytes = 0

    def __call__(self, state: DeviceBuffer, T_prev_now: Array, grid: GridLike, out: DeviceBuffer) -> None:
        canvas = grid_of(grid)
        expect("state", state, np.float32, (grid.ny, grid.nx, None))
        expect("out", out, np.float32, state.shape)
        if state.pointer < out.pointer + out.nbytes and out.pointer < state.pointer + state.nbytes:
            raise DeviceError("state and out share memory: the warp cannot work in place")
        T = self._T("T_prev_now", T_prev_now, np.float32, (2, 3))
        self.moved_bytes = state.nbytes + out.nbytes
        channels = state.shape[2]
        self._device.launch(
            "bev_warp", state, channels, T, canvas, out,
            items=grid.nx * grid.ny, team=True, threads=lanes(channels),
        )  # fmt: skip

    begin = __call__  # a device works beside us anyway

    def wait(self) -> None: ...


IMAGE_AND_CANVAS_KERNELS: dict[str, type[Any]] = {
    "image": ImageKernel,
    "deskew": DeskewKernel,
    "pillars": PillarsKernel,
    "lift": LiftKernel,
    "bev_warp": BevWarpKernel,
}
