"""From a network's outputs to rows, on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fusion_rt.device.protocol import Answer

if TYPE_CHECKING:
    from fusion_rt.device.cpu import CpuDevice
    from fusion_rt.kernels.box_launchers import Grouped
    from fusion_rt.models.package import ModelPackage

Array = NDArray[Any]
SCORE, CLASS = 9, 10  # columns of a row


class CpuDecoder:
    """protocol.Decoder."""

    def __init__(self, device: CpuDevice, package: ModelPackage) -> None:
        self._package = package
        spec = self._spec = package.spec
        names = ("decode", "roi_sample", "roi_points", "box_context", "box_refine", "nms")
        self._kernels: dict[str, Any] = {name: device.kernel(name) for name in names}
        self._rows = device.empty((spec.max_objects, 16), np.float32)
        self._refined = device.empty((spec.max_objects, 16), np.float32)
        self._keep = device.empty((spec.max_objects,), np.int32)
        fits = [spec.scores[label] for label in spec.classes]
        self._fits = np.array([(fit.gain, fit.offset) for fit in fits], np.float32)
        self._nms_iou = [spec.nms_iou[label] for label in spec.classes]
        self._decoded = 0
        self._outputs: Mapping[str, Any] = {}

    @property
    def rows(self) -> Array:
        return self._rows[: self._decoded].copy()

    @property
    def counts(self) -> dict[str, int]:
        counts: dict[str, int] = self._kernels["decode"].counts
        return counts

    def first_look(
        self, outputs: Mapping[str, Any], camera_bev: Array, grouped: Grouped, inputs: Mapping[str, Any]
    ) -> bool:
        spec, kernels = self._spec, self._kernels
        self._outputs = outputs
        self._decoded = n = kernels["decode"](
            outputs["heatmap"][0],
            outputs["boxes"][0],
            spec.head,
            spec.decode_threshold,
            spec.max_objects,
            self._rows,
        )
        if n == 0:
            return False
        rows = self._rows[:n]
        boxes = np.ascontiguousarray(rows[:, :7])
        kernels["roi_sample"](outputs["features"][0], boxes, spec.head, inputs["roi"][:n])
        kernels["roi_sample"](camera_bev, boxes, spec.head, inputs["camera_roi"][:n])
        kernels["roi_points"](
            grouped,
            rows,
            spec.points_margin_m,
            spec.points_most,
            *self._package.points,
            inputs["points"][:n],
        )
        kernels["box_context"](rows, inputs["box"][:n])
        for given in inputs.values():
            given[n:] = 0
        return True

    def second_look(self, outputs: Mapping[str, Any] | None) -> Answer:
        rows = self._rows[: self._decoded]
        if outputs is not None:
            n = self._decoded
            answer = (output[:n] for output in outputs.values())
            self._kernels["box_refine"](rows, self._fits, *answer, self._refined[:n])
            rows = self._refined[:n]
        rows = self._suppress(rows)
        iy, ix = cells_under(rows, self._spec.head)
        return Answer(rows, self._outputs["heatmap"][0][:, iy, ix].T, self._shares(iy, ix))

    def _suppress(self, rows: Array) -> Array:
        """Of boxes of one class that overlap, the best stays; the rest is ordered best first."""
        rows = rows.take((-rows[:, SCORE]).argsort(kind="stable"), axis=0)
        n = self._kernels["nms"](
            np.ascontiguousarray(rows[:, :7]),
            np.ascontiguousarray(rows[:, SCORE]),
            rows[:, CLASS].astype(np.int32),
            self._nms_iou,
            self._keep,
        )
        return rows.take(self._keep[:n], axis=0)

    def _shares(self, iy: Array, ix: Array) -> Array:
        return shares_at(self._outputs["contribution"][0], iy, ix, self._spec.head.ny)


def cells_under(rows: Array, grid: Any) -> tuple[Array, Array]:
    """(n,), (n,) row and column of the canvas under each box; the nearest for one outside."""
    x, y = (rows[:, 0] - grid.x_min) / grid.cell_m, (rows[:, 1] - grid.y_min) / grid.cell_m
    ix = np.minimum(np.maximum(x, 0), grid.nx - 1).astype(np.intp)
    iy = np.minimum(np.maximum(y, 0), grid.ny - 1).astype(np.intp)
    return iy, ix


def shares_at(contribution: Array, iy: Array, ix: Array, ny: int) -> Array:
    """(n, 3) what lidar, camera and memory contribute at these cells of a canvas of ny rows; contribution (.,
    ., 3) may be coarser."""
    step = -(-ny // len(contribution))
    shares: Array = contribution[iy // step, ix // step]
    return shares
