"""The kernels of boxes on a card, with the signatures of kernels/box_launchers.py; cuda_kernels.py says what
all have in common.

How many rows there are, the card alone knows: `held` is where that number lies, of which at most as many are
looked at as the arrays have room for. Without it, all of the rows are meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fusion_rt.device.buffers import DeviceBuffer, expect
from fusion_rt.device.cuda_kernels import Given, Scratch, grid_of, lanes
from fusion_rt.errors import DeviceError
from fusion_rt.kernels import native
from fusion_rt.kernels.box_launchers import (
    ROI_HIDDEN,
    Grouped,
    check_iou,
    check_roi,
    check_slack,
    check_threshold,
)
from fusion_rt.kernels.native import GridLike

if TYPE_CHECKING:
    from fusion_rt.device.cuda import CudaDevice

Array = NDArray[Any]


class BoxKernel:
    """What they share: the number of rows, where it is not the device's own."""

    def __init__(self, device: CudaDevice) -> None:
        self._device = device
        self._all = Given(device, keep=True)
        self.moved_bytes = 0

    def rows(self, n: int, held: DeviceBuffer | None) -> DeviceBuffer:
        """Where the number of rows lies."""
        return held if held is not None else self._all("rows", np.array([n], np.int32), np.int32, (1,))


class DecodeKernel(BoxKernel):
    """box_launchers.DecodeKernel, but that `counts` waits for the numbers.

    held  where the number of peaks lies; of rows there are at most k"""

    def __init__(self, device: CudaDevice) -> None:
        super().__init__(device)
        self._candidate = Scratch(device, np.int32)
        self._counters = device.empty((2,), np.int32)
        self._told = device.launcher.pinned(8).view(np.int32)
        self._told[:] = 0
        self._ticket = device.ticket()
        self._k = 0
        self.held = self._counters[:1]

    def __call__(
        self,
        heatmap: DeviceBuffer,
        regression: DeviceBuffer,
        grid: GridLike,
        threshold: float,
        k: int,
        out: DeviceBuffer,
        *,
        slack: float = 0.0,
    ) -> None:
        device, canvas = self._device, grid_of(grid)
        expect("heatmap", heatmap, np.float32, (None, grid.ny, grid.nx))
        expect("regression", regression, np.float32, (grid.ny, grid.nx, 15))
        expect("out", out, np.float32, (k, 16))
        logit = check_threshold(threshold)
        candidate = self._candidate(heatmap.size)
        device.zero(self._counters)
        device.launch(
            "decode_peaks", heatmap, regression, len(heatmap), canvas, logit, check_slack(slack), candidate,
            self._counters, items=heatmap.size,
        )  # fmt: skip
        device.launch(
            "decode_boxes", heatmap, regression, canvas, candidate, self.held, k, out,
            items=max(k, heatmap.size // 16), threads=64,
        )  # fmt: skip
        device.launcher.copy_out(self._told.view(np.uint8), self._counters.pointer, device.stream)
        self._ticket = device.ticket()
        self._k = k
        self.moved_bytes = heatmap.nbytes + k * (15 + 16) * 4

    @property
    def counts(self) -> dict[str, int]:
        """As box_launchers.DecodeKernel counts, of the last call."""
        self._device.settle(self._ticket)
        peaks, broken = (int(n) for n in self._told)
        return {"peaks": peaks, "overflow": max(peaks - self._k, 0), "broken": broken}


class NmsKernel(BoxKernel):
    """box_launchers.NmsKernel for at most as many boxes as there is room for, but that `kept` waits for the
    number. That the scores fall is for the caller to see to.

    counted  where the number of those that stay lies"""

    def __init__(self, device: CudaDevice) -> None:
        super().__init__(device)
        self._iou = Given(device, keep=True)
        self._overlap, self._gone = Scratch(device, np.uint8), Scratch(device, np.uint8)
        self.counted = device.empty((1,), np.int32)

    def __call__(
        self,
        boxes: DeviceBuffer,
        scores: Any,
        classes: DeviceBuffer,
        iou: Sequence[float],
        keep: DeviceBuffer,
        *,
        held: DeviceBuffer | None = None,
    ) -> None:
        device = self._device
        expect("boxes", boxes, np.float32, (None, 7))
        n = len(boxes)
        expect("classes", classes, np.int32, (n,))
        expect("keep", keep, np.int32, (None,))
        if len(keep) < n:
            raise DeviceError(f"keep holds {len(keep)} indices, {n} boxes may stay")
        if n > native.MAX_EXTENT:
            raise DeviceError(f"boxes has {n} rows; every pair is compared, so at most {native.MAX_EXTENT}")
        limits = self._iou("iou", check_iou(iou), np.float32, (None,))
        rows, overlap, gone = self.rows(n, held), self._overlap(n * n), self._gone(n)
        device.launch("nms_overlap", boxes, classes, rows, n, limits, overlap, items=n * n)
        device.launch("nms_keep", overlap, rows, n, gone, keep, self.counted, items=1, team=True)
        self.moved_bytes = boxes.nbytes + classes.nbytes + 2 * n * n + keep.nbytes

    @property
    def kept(self) -> int:
        """Of the last call."""
        return int(self._device.fetch(self.counted)[0])


class RoiSampleKernel(BoxKernel):
    """box_launchers.RoiSampleKernel; the boxes may be rows (n, 16) as well."""

    def __call__(
        self,
        features: DeviceBuffer,
        boxes: DeviceBuffer,
        grid: GridLike,
        out: DeviceBuffer,
        *,
        held: DeviceBuffer | None = None,
    ) -> None:
        canvas = grid_of(grid)
        expect("features", features, np.float32, (grid.ny, grid.nx, None))
        channels = features.shape[2]
        expect("boxes", boxes, np.float32, (None, None))
        n, stride = boxes.shape
        if stride < 7:
            raise DeviceError(f"boxes has {stride} columns, expected 7 or more")
        expect("out", out, np.float32, (n, 5 * channels))
        self._device.launch(
            "roi_sample", features, channels, boxes, stride, self.rows(n, held), n, canvas, out,
            items=5 * n, team=True, threads=lanes(channels),
        )  # fmt: skip
        self.moved_bytes = 28 * n + 5 * out.nbytes


class ViewSampleKernel(BoxKernel):
    """box_launchers.ViewSampleKernel; the boxes may be rows (n, 16) as well."""

    def __init__(self, device: CudaDevice) -> None:
        super().__init__(device)
        self._P = Given(device, keep=True)

    def __call__(
        self,
        features: DeviceBuffer,
        P: Any,
        boxes: DeviceBuffer,
        out: DeviceBuffer,
        *,
        held: DeviceBuffer | None = None,
    ) -> None:
        expect("features", features, np.float32, (None, None, None, None))
        cameras, h, w, channels = features.shape
        native.check_features(features.shape)
        where = self._P("P", P, np.float32, (cameras, 3, 4))
        expect("boxes", boxes, np.float32, (None, None))
        n, stride = boxes.shape
        if stride < 7:
            raise DeviceError(f"boxes has {stride} columns, expected 7 or more")
        expect("out", out, np.float32, (n, 9 * channels))
        self._device.launch(
            "view_sample", features, cameras, channels, h, w, where, boxes, stride, self.rows(n, held), n,
            out, items=n, team=True, threads=lanes(channels),
        )  # fmt: skip
        self.moved_bytes = 28 * n + 5 * out.nbytes


class RoiPointsKernel(BoxKernel):
    """box_launchers.RoiPointsKernel."""

    def __init__(self, device: CudaDevice) -> None:
        super().__init__(device)
        self._layers = [Given(device, keep=True) for _ in range(5)]
        self._inside = Scratch(device, np.int32)

    def __call__(
        self,
        grouped: Grouped,
        rows: DeviceBuffer,
        margin_m: float,
        most: int,
        at: Array,
        size: Array,
        kind: Array,
        second: Array,
        bias: Array,
        out: DeviceBuffer,
        *,
        held: DeviceBuffer | None = None,
    ) -> None:
        canvas, cells = grid_of(grouped.grid), grouped.grid.nx * grouped.grid.ny
        expect("grouped.points", grouped.points, np.float32, (None, 4))
        expect("grouped.start", grouped.start, np.int32, (1, cells))
        expect("grouped.count", grouped.count, np.int32, (1, cells))
        expect("rows", rows, np.float32, (None, 16))
        native.check("second", second, np.float32, (ROI_HIDDEN, None))
        n, channels = len(rows), second.shape[1]
        check_roi(channels, margin_m, most)
        expect("out", out, np.float32, (n, channels + 1))
        given = (
            ("at", at, (3, ROI_HIDDEN)),
            ("size", size, (3, ROI_HIDDEN)),
            ("kind", kind, (None, ROI_HIDDEN)),
            ("second", second, (ROI_HIDDEN, channels)),
            ("bias", bias, (channels,)),
        )
        layers = [
            place(name, array, np.float32, shape) for place, (name, array, shape) in zip(self._layers, given)
        ]
        self._device.launch(
            "roi_points", grouped.points, grouped.start, grouped.count, 1, canvas, rows, self.rows(n, held),
            n, margin_m, most, *layers, channels, self._inside(n), out,
            items=n, team=True, threads=128,
        )  # fmt: skip
        self.moved_bytes = rows.nbytes + out.nbytes + n * most * 16


class BoxContextKernel(BoxKernel):
    """box_launchers.BoxContextKernel."""

    def __call__(self, rows: DeviceBuffer, out: DeviceBuffer, *, held: DeviceBuffer | None = None) -> None:
        expect("rows", rows, np.float32, (None, 16))
        expect("out", out, np.float32, rows.shape)
        n = len(rows)
        self._device.launch("box_context", rows, self.rows(n, held), n, out, items=n, threads=32)
        self.moved_bytes = rows.nbytes + out.nbytes


class BoxRefineKernel(BoxKernel):
    """box_launchers.BoxRefineKernel. That each row's class is known to `fits` is for the caller to see to."""

    def __init__(self, device: CudaDevice) -> None:
        super().__init__(device)
        self._fits = Given(device, keep=True)

    def __call__(
        self,
        rows: DeviceBuffer,
        fits: Array,
        score: DeviceBuffer,
        deltas: DeviceBuffer,
        facing: DeviceBuffer,
        log_sigma: DeviceBuffer,
        out: DeviceBuffer,
        *,
        held: DeviceBuffer | None = None,
    ) -> None:
        expect("rows", rows, np.float32, (None, 16))
        n = len(rows)
        answer = (
            ("score", score, 1),
            ("deltas", deltas, 8),
            ("facing", facing, 1),
            ("log_sigma", log_sigma, 5),
        )
        for name, buffer, width in answer:
            expect(name, buffer, np.float32, (n, width))
        expect("out", out, np.float32, (n, 16))
        gains = self._fits("fits", fits, np.float32, (None, 2))
        self._device.launch(
            "box_refine", rows, self.rows(n, held), n, gains, score, deltas, facing, log_sigma, out,
            items=n, threads=32,
        )  # fmt: skip
        self.moved_bytes = 2 * rows.nbytes + 15 * 4 * n


BOX_KERNELS: dict[str, type[Any]] = {
    "decode": DecodeKernel,
    "nms": NmsKernel,
    "roi_sample": RoiSampleKernel,
    "view_sample": ViewSampleKernel,
    "roi_points": RoiPointsKernel,
    "box_context": BoxContextKernel,
    "box_refine": BoxRefineKernel,
}
