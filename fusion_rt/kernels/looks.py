"""Both looks at a network's outputs, each in one call: the kernels of box_launchers in turn, on memory that
was checked once and stays. On a CPU a call for each kernel, with its checks, would take as long as the
kernels do.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from ctypes import c_float, c_int, c_void_p

import numpy as np

from fusion_rt.errors import DeviceError
from fusion_rt.kernels import native
from fusion_rt.kernels.box_launchers import (
    ROI_HIDDEN,
    Grouped,
    check_iou,
    check_roi,
    check_slack,
    check_threshold,
    check_views,
)
from fusion_rt.kernels.native import Array, GridLike, Kernel, address, check, check_grid

ROW = 16  # numbers of a decoded row
_REFINED = (("score", 1), ("deltas", 8), ("facing", 1), ("log_sigma", 5))


class _FirstLook(ctypes.Structure):
    """`struct FirstLook` of cpu.cpp."""

    _fields_ = [
        *((name, c_void_p) for name in ("heatmap", "boxes", "features")),
        *((name, c_int) for name in ("classes", "feature_channels")),
        *((name, c_void_p) for name in ("views", "where")),
        *((name, c_int) for name in ("cameras", "view_rows", "view_columns", "camera_channels")),
        ("head", native.Grid),
        ("threshold_logit", c_float),
        ("slack", c_float),
        ("room", c_int),
        *((name, c_void_p) for name in ("candidate", "counters", "rows", "grouped", "start", "count")),
        ("layers", c_int),
        ("cells", native.Grid),
        ("margin", c_float),
        ("most", c_int),
        *((name, c_void_p) for name in ("at", "size", "kind", "second", "bias")),
        ("channels", c_int),
        *((name, c_void_p) for name in ("inside", "roi", "view", "points", "box")),
    ]


class _SecondLook(ctypes.Structure):
    """`struct SecondLook` of cpu.cpp."""

    _fields_ = [
        *((name, c_void_p) for name in ("rows", "fits", "score", "deltas", "facing", "log_sigma")),
        *((name, c_void_p) for name in ("refined", "ordered", "ordered_boxes", "kinds", "limits")),
        *((name, c_void_p) for name in ("overlap", "gone", "keep", "counters", "heatmap", "contribution")),
        *((name, c_int) for name in ("classes", "shares", "step")),
        ("head", native.Grid),
        ("told", c_void_p),
    ]


class FirstLookKernel(Kernel):
    """Peaks as rows, and what a second look at each is given: decode, roi_sample, view_sample, roi_points,
    box_context.

    rows    (room, 16): after a call those that it returned are the decode kernel's
    counts  of the last call, as the decode kernel counts"""

    def __init__(
        self,
        threads: int,
        instruction_set: str = "",
        *,
        head: GridLike,
        threshold: float,
        slack: float,
        room: int,
        margin_m: float,
        most: int,
        layers: Sequence[Array],
    ) -> None:
        """head: the canvas of the outputs; threshold, slack and room as the decode kernel's threshold, slack
        and k; margin_m, most and layers (at, size, kind, second, bias) as those of roi_points."""
        super().__init__(threads, instruction_set)
        at, size, kind, second, bias = layers
        check("at", at, np.float32, (3, ROI_HIDDEN))
        check("size", size, np.float32, (3, ROI_HIDDEN))
        check("kind", kind, np.float32, (None, ROI_HIDDEN))
        check("second", second, np.float32, (ROI_HIDDEN, None))
        self._channels: int = second.shape[1]
        check("bias", bias, np.float32, (self._channels,))
        check_roi(self._channels, margin_m, most)
        self.rows = np.zeros((room, ROW), np.float32)
        self._grid, self._classes, self._room = head, len(kind), room
        self._counters = (c_int * 2)()
        self._held: dict[str, Array] = {
            "at": at, "size": size, "kind": kind, "second": second, "bias": bias, "rows": self.rows,
            "inside": np.empty(room, np.int32),
        }  # fmt: skip
        self._look = _FirstLook(
            head=check_grid(head), threshold_logit=check_threshold(threshold), slack=check_slack(slack),
            room=room, margin=margin_m, most=most, channels=self._channels,
            counters=ctypes.addressof(self._counters),
        )  # fmt: skip
        self._look_at = ctypes.addressof(self._look)
        self._point(self._held)
        self._found = 0

    def bind(
        self,
        outputs: Mapping[str, Array],
        views: Array,
        where: Array,
        grouped: Grouped,
        inputs: Mapping[str, Array],
    ) -> None:
        """What the calls from now on read and write: outputs "heatmap", "boxes" and "features" of the fusing
        part, each with a first axis of 1, the features of views (cameras, h, w, C) and where (cameras, 3, 4)
        they look, as view_sample takes them -> inputs "roi", "view", "points" and "box" of the refining
        part, room rows. Raises DeviceError for arrays of another shape, dtype or layout."""
        ny, nx, room = self._grid.ny, self._grid.nx, self._room
        planes = {name: outputs[name][0] for name in ("heatmap", "boxes", "features")}
        check("heatmap", planes["heatmap"], np.float32, (self._classes, ny, nx))
        check("boxes", planes["boxes"], np.float32, (ny, nx, 15))
        check("features", planes["features"], np.float32, (ny, nx, None))
        cameras, rows, columns, channels = check_views(views, where)
        features = planes["features"].shape[2]
        widths = {"roi": 5 * features, "view": 9 * channels, "points": self._channels + 1, "box": ROW}
        for name, width in widths.items():
            check(name, inputs[name], np.float32, (room, width), written=True)
        workers, cells = len(grouped.count), grouped.grid.nx * grouped.grid.ny
        check("grouped.points", grouped.points, np.float32, (None, 4))
        check("grouped.start", grouped.start, np.int32, (workers, cells))
        check("grouped.count", grouped.count, np.int32, (workers, cells))
        points = {"grouped": grouped.points, "start": grouped.start, "count": grouped.count}
        seen = {"views": views, "where": where}
        candidate = np.empty(max(planes["heatmap"].size, 1), np.int32)
        given = {name: inputs[name] for name in widths}
        self._held |= {**planes, **points, **seen, **given, "candidate": candidate}
        look = self._look
        look.classes, look.feature_channels = self._classes, features
        look.cameras, look.view_rows, look.view_columns, look.camera_channels = (
            cameras, rows, columns, channels
        )  # fmt: skip
        look.layers, look.cells = workers, check_grid(grouped.grid)
        self._point(self._held)

    def __call__(self) -> int:
        """How many rows there are."""
        self._found = n = self.library.frt_first_look(self.threads, self._look_at)
        return int(n)

    @property
    def counts(self) -> dict[str, int]:
        peaks, broken = self._counters
        return {"peaks": peaks, "overflow": peaks - self._found, "broken": broken}

    def _point(self, arrays: Mapping[str, Array]) -> None:
        for name, array in arrays.items():
            setattr(self._look, name, address(array))


class SecondLookKernel(Kernel):
    """The rows corrected, best first, without doubles, and all that is told of them: box_refine, their order,
    nms."""

    def __init__(
        self,
        threads: int,
        instruction_set: str = "",
        *,
        head: GridLike,
        rows: Array,
        fits: Array,
        iou: Sequence[float],
        outputs: Mapping[str, Array],
        refined: Sequence[Array],
    ) -> None:
        """head: the canvas of outputs "heatmap" (1, classes, ny, nx) and "contribution" (1, ny / step, nx /
        step, M) of the fusing part; rows (room, 16) as FirstLookKernel leaves them; fits and iou as
        box_refine and nms take them; refined: score, deltas, facing and log_sigma of the refining part, room
        rows each.

        Raises DeviceError for arrays of another shape, dtype or layout."""
        super().__init__(threads, instruction_set)
        heatmap, contribution = outputs["heatmap"][0], outputs["contribution"][0]
        classes, shares, step = len(iou), contribution.shape[2], -(-head.ny // len(contribution))
        room = len(rows)
        check("heatmap", heatmap, np.float32, (classes, head.ny, head.nx))
        check("contribution", contribution, np.float32, (-(-head.ny // step), -(-head.nx // step), None))
        check("rows", rows, np.float32, (None, ROW))
        check("fits", fits, np.float32, (classes, 2))
        for array, (name, width) in zip(refined, _REFINED, strict=True):
            check(name, array, np.float32, (room, width))
        self._told = np.empty((room, ROW + classes + shares), np.float32)
        self._held: dict[str, Array] = {
            **{name: array for array, (name, _) in zip(refined, _REFINED)},
            "rows": rows, "fits": fits, "heatmap": heatmap, "contribution": contribution, "told": self._told,
            "refined": np.empty((room, ROW), np.float32), "ordered": np.empty((room, ROW), np.float32),
            "ordered_boxes": np.empty((room, 7), np.float32), "kinds": np.empty(room, np.int32),
            "limits": check_iou(iou), "overlap": np.empty(room * room, np.uint8),
            "gone": np.empty(room, np.uint8), "keep": np.empty(room, np.int32),
            "counters": np.empty(1, np.int32),
        }  # fmt: skip
        self._look = _SecondLook(
            classes=classes, shares=shares, step=step, head=check_grid(head),
            **{name: address(array) for name, array in self._held.items()},
        )  # fmt: skip
        self._look_at = ctypes.addressof(self._look)

    def __call__(self, n: int) -> Array:
        """Of the first n rows those that stay, best first: (m, 16 + classes + M), the row, the logits of all
        classes at the cell under it, and the contributions there; a copy. Raises DeviceError for more than
        there is room."""
        if not 0 <= n <= len(self._told):
            raise DeviceError(f"{n} rows, there is room for {len(self._told)}")
        told: Array = self._told[: self.library.frt_second_look(self.threads, self._look_at, n)]
        return told.copy()
