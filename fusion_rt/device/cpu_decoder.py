"""From a network's outputs to rows, on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from operator import is_
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fusion_rt.device.protocol import Answer
from fusion_rt.kernels.looks import ROW, FirstLookKernel, SecondLookKernel

if TYPE_CHECKING:
    from fusion_rt.device.cpu import CpuDevice
    from fusion_rt.kernels.box_launchers import Grouped
    from fusion_rt.models.package import ModelPackage

Array = NDArray[Any]
SCORE, CLASS = 9, 10  # columns of a row


class CpuDecoder:
    """protocol.Decoder."""

    def __init__(self, device: CpuDevice, package: ModelPackage) -> None:
        self._device = device
        spec = self._spec = package.spec
        self._first = FirstLookKernel(
            device.threads,
            device.instruction_set,
            head=spec.head,
            threshold=spec.decode_threshold,
            slack=spec.peak_slack,
            room=spec.max_objects,
            margin_m=spec.points_margin_m,
            most=spec.points_most,
            layers=package.points,
        )
        fits = [spec.scores[label] for label in spec.classes]
        self._fits = np.array([(fit.gain, fit.offset) for fit in fits], np.float32)
        self._nms_iou = [spec.nms_iou[label] for label in spec.classes]
        self._second: SecondLookKernel | None = None  # once it is known what there is to look at
        self._looked_at: tuple[Any, ...] = (None,) * 5
        self._outputs: Mapping[str, Any] = {}
        self._refined: Mapping[str, Any] = {}
        self._decoded = 0

    @property
    def rows(self) -> Array:
        return self._first.rows[: self._decoded].copy()

    @property
    def counts(self) -> dict[str, int]:
        return self._first.counts

    def first_look(
        self,
        outputs: Mapping[str, Any],
        views: Array,
        where: Array,
        grouped: Grouped,
        inputs: Mapping[str, Any],
    ) -> bool:
        given = outputs, views, where, grouped, inputs
        if not all(map(is_, given, self._looked_at)):  # rare: a denser cloud, another camera
            self._first.bind(*given)
            if outputs is not self._outputs:
                self._outputs, self._second = outputs, None
            self._looked_at = given
        self._decoded = self._first()
        return self._decoded > 0

    def second_look(self, outputs: Mapping[str, Any] | None) -> None:
        classes = len(self._spec.classes)
        if outputs is None:
            shares = self._outputs["contribution"].shape[-1]
            told = np.empty((0, ROW + classes + shares), np.float32)
        else:
            if outputs is not self._refined or self._second is None:
                self._refined, self._second = outputs, self._second_look(outputs)
            told = self._second(self._decoded)
        self._told = Answer(told[:, :ROW], told[:, ROW : ROW + classes], told[:, ROW + classes :])

    def answer(self) -> Answer:
        return self._told

    def _second_look(self, outputs: Mapping[str, Any]) -> SecondLookKernel:
        return SecondLookKernel(
            self._device.threads,
            self._device.instruction_set,
            head=self._spec.head,
            rows=self._first.rows,
            fits=self._fits,
            iou=self._nms_iou,
            outputs=self._outputs,
            refined=list(outputs.values()),
        )


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
