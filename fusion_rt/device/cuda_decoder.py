"""From a network's outputs to rows, on a card: everything is put on the stream at once, and only the rows of
the answer, and the counts, come back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fusion_rt.device.protocol import Answer
from fusion_rt.errors import DeviceError

if TYPE_CHECKING:
    from fusion_rt.device.cuda import CudaDevice
    from fusion_rt.kernels.box_launchers import Grouped
    from fusion_rt.models.package import ModelPackage

Array = NDArray[Any]
ROW, SHARES = 16, 3


class CudaDecoder:
    """protocol.Decoder."""

    def __init__(self, device: CudaDevice, package: ModelPackage) -> None:
        self._device, self._package = device, package
        spec = self._spec = package.spec
        names = ("decode", "roi_sample", "view_sample", "roi_points", "box_context", "box_refine", "nms")
        self._kernels: dict[str, Any] = {name: device.kernel(name) for name in names}
        room, classes = spec.max_objects, len(spec.classes)
        self._rows, self._refined, self._ordered = (device.empty((room, ROW), np.float32) for _ in range(3))
        self._boxes = device.empty((room, 7), np.float32)
        self._classes, self._keep = (device.empty((room,), np.int32) for _ in range(2))
        self._told = device.empty((room, ROW + classes + SHARES), np.float32)
        self._answer = device.launcher.pinned(self._told.nbytes).view(np.float32).reshape(self._told.shape)
        self._kept = device.launcher.pinned(4).view(np.int32)
        self._kept[:] = 0
        fits = [spec.scores[label] for label in spec.classes]
        self._fits = np.array([(fit.gain, fit.offset) for fit in fits], np.float32)
        self._nms_iou = [spec.nms_iou[label] for label in spec.classes]
        self._outputs: Mapping[str, Any] = {}

    @property
    def rows(self) -> Array:
        counts = self.counts
        return self._device.fetch(self._rows[: counts["peaks"] - counts["overflow"]])

    @property
    def counts(self) -> dict[str, int]:
        counts: dict[str, int] = self._kernels["decode"].counts
        return counts

    def first_look(
        self,
        outputs: Mapping[str, Any],
        views: Any,
        where: Any,
        grouped: Grouped,
        inputs: Mapping[str, Any],
    ) -> bool:
        spec, kernels, rows = self._spec, self._kernels, self._rows
        self._outputs = outputs
        if len(outputs["heatmap"][0]) != len(spec.classes):
            raise DeviceError(
                f"heatmap has {len(outputs['heatmap'][0])} planes, the model {len(spec.classes)} classes"
            )
        kernels["decode"](
            outputs["heatmap"][0],
            outputs["boxes"][0],
            spec.head,
            spec.decode_threshold,
            spec.max_objects,
            rows,
            slack=spec.peak_slack,
        )
        held = kernels["decode"].held
        for given in inputs.values():  # of those that are no rows nothing must be left
            self._device.zero(given)
        kernels["roi_sample"](outputs["features"][0], rows, spec.head, inputs["roi"], held=held)
        kernels["view_sample"](views, where, rows, inputs["view"], held=held)
        kernels["roi_points"](
            grouped,
            rows,
            spec.points_margin_m,
            spec.points_most,
            *self._package.points,
            inputs["points"],
            held=held,
        )
        kernels["box_context"](rows, inputs["box"], held=held)
        return True  # who knows

    def second_look(self, outputs: Mapping[str, Any] | None) -> None:
        assert outputs is not None, "the first look never says that there is nothing"
        device, kernels, spec = self._device, self._kernels, self._spec
        held, room = kernels["decode"].held, spec.max_objects
        kernels["box_refine"](self._rows, self._fits, *outputs.values(), self._refined, held=held)
        device.launch(
            "rows_order", self._refined, held, room, self._ordered, self._boxes, self._classes,
            items=room, threads=32,
        )  # fmt: skip
        kernels["nms"](self._boxes, None, self._classes, self._nms_iou, self._keep, held=held)
        heatmap, contribution = self._outputs["heatmap"][0], self._outputs["contribution"][0]
        step = -(-spec.head.ny // len(contribution))
        counted, grid = kernels["nms"].counted, spec.head
        canvas = (grid.x_min, grid.y_min, grid.cell_m, grid.nx, grid.ny)
        device.launch(
            "rows_tell", self._ordered, self._keep, counted, room, heatmap, len(heatmap), contribution,
            contribution.shape[2], step, canvas, self._told, items=room, threads=32,
        )  # fmt: skip
        device.launcher.copy_out(self._kept.view(np.uint8), counted.pointer, device.stream)
        whole = self._answer.reshape(-1).view(np.uint8)
        device.launcher.copy_out(whole, self._told.pointer, device.stream)

    def answer(self) -> Answer:
        self._device.answered()
        told = self._answer[: int(self._kept[0])].copy()
        n = ROW + len(self._spec.classes)
        return Answer(told[:, :ROW], told[:, ROW:n], told[:, n:])
