"""The kernels that work on boxes: from the network's outputs to rows, their second look, and what stays.
launchers.py says what all kernels have in common."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fusion_rt.errors import DeviceError
from fusion_rt.kernels import native
from fusion_rt.kernels.native import Array, GridLike, Kernel, check, check_grid, floats, ptr


@dataclass(frozen=True)
class Grouped:
    """Points as the pillars kernel leaves them, by cell; they stand until its next call.

    points (M, 4) float32: x, y from the cell's centre and z (m), intensity; start, count (workers, cells)
    int32; the canvas of the cells. On a card these are its buffers."""

    points: Any
    start: Any
    count: Any
    grid: GridLike


class DecodeKernel(Kernel):
    """The best k local maxima of the heatmap as boxes.

    counts: of the last call, the `peaks`, how many were `overflow` beyond k, and how many `broken`, left out
    because their logit or regression was not finite."""

    def __init__(self, threads: int, instruction_set: str = "") -> None:
        super().__init__(threads, instruction_set)
        self._candidate = np.empty(0, np.int32)
        self._counters = np.zeros(2, np.int32)
        self.counts = {"peaks": 0, "overflow": 0, "broken": 0}

    def __call__(
        self,
        heatmap: Array,
        regression: Array,
        grid: GridLike,
        threshold: float,
        k: int,
        out: Array,
        *,
        slack: float = 0.0,
    ) -> int:
        """heatmap (classes, ny, nx) logits, regression (ny, nx, 15), threshold a probability
        -> out (k, 16): x y z l w h yaw vx vy score class, std of x y z size yaw; returns how many rows.
        A peak is above the threshold and of its eight neighbours of its class none is higher by more than
        `slack`, a logit; of equal neighbours the first cell. Ordered by score, ties by class and cell; other
        rows are left alone."""
        canvas = check_grid(grid)
        check("heatmap", heatmap, np.float32, (None, grid.ny, grid.nx))
        check("regression", regression, np.float32, (grid.ny, grid.nx, 15))
        check("out", out, np.float32, (k, 16), written=True)
        logit = check_threshold(threshold)
        if self._candidate.size < heatmap.size:
            self._candidate = np.empty(heatmap.size, np.int32)
        rows = int(
            self.library.frt_decode(
                self.threads, ptr(heatmap), ptr(regression), len(heatmap), canvas,
                ctypes.c_float(logit), ctypes.c_float(check_slack(slack)), k,
                ptr(self._candidate), ptr(self._counters), ptr(out),
            )
        )  # fmt: skip
        peaks, broken = (int(n) for n in self._counters)
        self.counts = {"peaks": peaks, "overflow": peaks - rows, "broken": broken}
        return rows


def check_slack(slack: float) -> float:
    """Raises DeviceError unless it is finite and not negative."""
    if not 0 <= slack < np.inf:
        raise DeviceError(f"slack is {slack}, expected a logit, 0 or more")
    return slack


def check_threshold(threshold: float) -> float:
    """Its logit. Raises DeviceError unless it is a probability."""
    if not 0 < threshold < 1:
        raise DeviceError(f"threshold is {threshold}, expected a probability between 0 and 1")
    return float(np.log(threshold / (1 - threshold)))


class NmsKernel(Kernel):
    """Of boxes of one class that overlap too far for it, the best stays."""

    def __init__(self, threads: int, instruction_set: str = "") -> None:
        super().__init__(threads, instruction_set)
        self._overlap, self._gone = np.empty(0, np.uint8), np.empty(0, np.uint8)
        self._counters = np.zeros(1, np.int32)

    def __call__(self, boxes: Array, scores: Array, classes: Array, iou: Sequence[float], keep: Array) -> int:
        """boxes (n, 7) x y z l w h yaw, scores (n,) falling, classes (n,) int32, indices into iou; a box goes
        when the IoU with one of its class that stays exceeds that of the class, seen from above -> keep
        (>= n,) int32 indices, best first; returns how many. A box without area, or not finite, overlaps
        nothing."""
        check("boxes", boxes, np.float32, (None, 7))
        n = len(boxes)
        check("scores", scores, np.float32, (n,))
        check("classes", classes, np.int32, (n,))
        check("keep", keep, np.int32, (None,), written=True)
        if len(keep) < n:
            raise DeviceError(f"keep holds {len(keep)} indices, {n} boxes may stay")
        if n > native.MAX_EXTENT:
            raise DeviceError(f"boxes has {n} rows; every pair is compared, so at most {native.MAX_EXTENT}")
        if not (scores[1:] <= scores[:-1]).all():
            raise DeviceError("scores must fall: sort the boxes, best first")
        limits = check_iou(iou)
        if n and not 0 <= classes.min() <= classes.max() < len(limits):
            raise DeviceError(
                f"classes go from {classes.min()} to {classes.max()}, iou knows 0 to {len(limits) - 1}"
            )
        if self._overlap.size < n * n:
            self._overlap, self._gone = np.empty(n * n, np.uint8), np.empty(n, np.uint8)
        return int(
            self.library.frt_nms(
                self.threads, ptr(boxes), ptr(classes), n, ptr(limits), ptr(self._overlap), ptr(self._gone),
                ptr(keep), ptr(self._counters),
            )
        )  # fmt: skip


def check_iou(iou: Sequence[float]) -> Array:
    """As float32. Raises DeviceError unless each is a share."""
    limits = floats("iou", iou, (len(iou),))
    if not ((limits >= 0) & (limits <= 1)).all():
        raise DeviceError(f"iou is {limits.tolist()}, expected 0 to 1 for each class")
    return limits


class RoiSampleKernel(Kernel):
    """Features at five points of each box: centre, front, back, left, right."""

    def __call__(self, features: Array, boxes: Array, grid: GridLike, out: Array) -> None:
        """features (ny, nx, C), boxes (n, 7) -> out (n, 5 * C), bilinear, zero outside the canvas."""
        canvas = check_grid(grid)
        check("features", features, np.float32, (grid.ny, grid.nx, None))
        channels = features.shape[2]
        check("boxes", boxes, np.float32, (None, 7))
        check("out", out, np.float32, (len(boxes), 5 * channels), written=True)
        self.library.frt_roi_sample(
            self.threads, ptr(features), channels, ptr(boxes), len(boxes), canvas, ptr(out)
        )


class ViewSampleKernel(Kernel):
    """What cameras see of each box: their features in 3 x 3 equal parts of its outline."""

    def __call__(self, features: Array, P: Array, boxes: Array, out: Array) -> None:
        """features (cameras, h, w, C), P (cameras, 3, 4) ego m -> feature px, boxes (n, 7) -> out (n, 9 * C):
        bilinear in the middle of each part, rows of parts from above, the mean over the cameras that see the
        box. Its outline is the upright rectangle around its corners, as far as it lies in the image. A camera
        does not see a box whose centre is not more than 0.1 m before it, nor does one whose P is zero; what
        none sees is zero."""
        cameras, h, w, channels = check_views(features, P)
        check("boxes", boxes, np.float32, (None, 7))
        check("out", out, np.float32, (len(boxes), 9 * channels), written=True)
        self.library.frt_view_sample(
            self.threads, ptr(features), cameras, channels, h, w, ptr(P), ptr(boxes), len(boxes), ptr(out)
        )


def check_views(features: Array, P: Array) -> tuple[int, int, int, int]:
    """The shape of the features of cameras. Raises DeviceError for such as the kernel cannot work with."""
    check("features", features, np.float32, (None, None, None, None))
    cameras, h, w, channels = features.shape
    check("P", P, np.float32, (cameras, 3, 4))
    native.check_features(features.shape)
    return cameras, h, w, channels


ROI_HIDDEN, ROI_BLOCK = 16, 64  # roi_points.cu's first layer, and what the second is a multiple of


class RoiPointsKernel(Kernel):
    """Two linear layers over the points in and around each box, the largest response of all."""

    def __init__(self, threads: int, instruction_set: str = "") -> None:
        super().__init__(threads, instruction_set)
        self._inside = np.empty(0, np.int32)

    def __call__(
        self,
        grouped: Grouped,
        rows: Array,
        margin_m: float,
        most: int,
        at: Array,
        size: Array,
        kind: Array,
        second: Array,
        bias: Array,
        out: Array,
    ) -> None:
        """grouped: points that the pillars kernel left; rows (n, 16) as decoded -> out
        (n, C + 1): of the points up to `margin_m` outside of a box's faces the largest responses, at least
        0, and log(1 + count) / 5. Of more than `most` points in a box about so many are looked at: which,
        follows from where they are.

        The first layer, of 16 channels, is at (3, 16) for along, across and up from the box's centre (m),
        size (3, 16) for half its length, width and height (m), kind (classes, 16) with the bias in it; the
        second is (16, C) and bias (C,), C a multiple of 64. There is a ReLU after each."""
        canvas = check_grid(grouped.grid)
        workers, cells = len(grouped.count), grouped.grid.nx * grouped.grid.ny
        check("grouped.points", grouped.points, np.float32, (None, 4))
        check("grouped.start", grouped.start, np.int32, (workers, cells))
        check("grouped.count", grouped.count, np.int32, (workers, cells))
        check("rows", rows, np.float32, (None, 16))
        check("at", at, np.float32, (3, ROI_HIDDEN))
        check("size", size, np.float32, (3, ROI_HIDDEN))
        check("kind", kind, np.float32, (None, ROI_HIDDEN))
        check("second", second, np.float32, (ROI_HIDDEN, None))
        channels, n = second.shape[1], len(rows)
        check("bias", bias, np.float32, (channels,))
        check("out", out, np.float32, (n, channels + 1), written=True)
        check_roi(channels, margin_m, most)
        _check_classes(rows, len(kind), "kind")
        if self._inside.size < n:
            self._inside = np.empty(n, np.int32)
        self.library.frt_roi_points(
            self.threads, ptr(grouped.points), ptr(grouped.start), ptr(grouped.count), workers, canvas,
            ptr(rows), n, ctypes.c_float(margin_m), most, ptr(at), ptr(size), ptr(kind), ptr(second),
            ptr(bias), channels, ptr(self._inside), ptr(out),
        )  # fmt: skip


def check_roi(channels: int, margin_m: float, most: int) -> None:
    """Raises DeviceError for what the kernel cannot work with."""
    if channels == 0 or channels % ROI_BLOCK:
        raise DeviceError(f"second has {channels} channels, expected a multiple of {ROI_BLOCK}")
    if not 0 <= margin_m <= native.MAX_REACH_M:
        raise DeviceError(f"margin_m is {margin_m}, expected metres, 0 or more")
    if not 1 <= most <= native.MAX_EXTENT:
        raise DeviceError(f"most is {most}, expected 1 to {native.MAX_EXTENT} points")


class BoxContextKernel(Kernel):
    """What the second look is told of each decoded row."""

    def __call__(self, rows: Array, out: Array) -> None:
        """rows (n, 16) as decoded -> out (n, 16): scaled box, score and class, as model.yaml's `box_context`
        lists them."""
        check("rows", rows, np.float32, (None, 16))
        check("out", out, np.float32, rows.shape, written=True)
        self.library.frt_box_context(self.threads, ptr(rows), len(rows), ptr(out))


class BoxRefineKernel(Kernel):
    """The second look's answer, applied."""

    def __call__(
        self,
        rows: Array,
        fits: Array,
        score: Array,
        deltas: Array,
        facing: Array,
        log_sigma: Array,
        out: Array,
    ) -> None:
        """rows (n, 16) as decoded -> out (n, 16). score (n, 1) comes on the score's logit, of which fits
        (classes, 2), gain and offset, make a probability; deltas (n, 8) along and across the box (m), up (m),
        log length, width, height, of twice the turn the sine and the cosine less one; facing (n, 1), above 0
        where the box is turned round; log_sigma (n, 5) on the logs of the standard deviations."""
        check("rows", rows, np.float32, (None, 16))
        n = len(rows)
        check("fits", fits, np.float32, (None, 2))
        for name, array, width in (
            ("score", score, 1),
            ("deltas", deltas, 8),
            ("facing", facing, 1),
            ("log_sigma", log_sigma, 5),
        ):
            check(name, array, np.float32, (n, width))
        check("out", out, np.float32, (n, 16), written=True)
        _check_classes(rows, len(fits), "fits")
        self.library.frt_box_refine(
            self.threads, ptr(rows), n, ptr(fits), ptr(score), ptr(deltas), ptr(facing), ptr(log_sigma),
            ptr(out),
        )  # fmt: skip


def _check_classes(rows: Array, known: int, what: str) -> None:
    """Raises DeviceError unless each of rows (n, 16) is of a class that `what` knows."""
    kinds = rows[:, 10]
    if len(rows) and not ((kinds >= 0) & (kinds < known)).all():  # NaN is not
        raise DeviceError(f"rows has classes {kinds.min()} to {kinds.max()}, {what} knows {known}")
