"""One call of every kernel at the size of a driving frame, with what it must give: for checks against the CPU
and for the kernel's time beside the least that its bytes allow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from fusion_rt.device import CpuDevice, Device
from fusion_rt.device.cpu_decoder import cells_under, shares_at
from fusion_rt.images import decode_image, feature_intrinsics, network_intrinsics
from fusion_rt.models.package import ModelPackage
from fusion_rt.parity import Frame
from fusion_rt.rig import Rig
from fusion_rt.transforms import Array

POINTS = 120_000
# sin, exp and their like may differ in the last bits between a card and a CPU: of the larger of 1 and the
# value. All else must give the same bits.
CLOSE = 1e-5
BENT = (-0.37, 0.2, 3e-4, 3e-4, -0.06)  # a wide lens


class Large(NamedTuple):
    """An argument that lives on the device; written: an output, which begins as `array` says."""

    array: Array
    written: bool = False


class PointsByCell(NamedTuple):
    """What the kernel `pillars`, called so, leaves for others."""

    case: KernelCase


class KernelCase(NamedTuple):
    """label      "image, bent lens": the kernel, and which of its ways
    name       of the kernel; "" for those that only a card has as such, which are launched by `launch`
    tolerance  0: the CPU's bits
    launch     the .cu function and its items, where there is no kernel of that name
    expected   what those must write, by numpy; None: what the CPU's kernel writes
    bytes      of what lies on the device: to be read or written once"""

    label: str
    name: str
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any] = MappingProxyType({})
    tolerance: float = 0.0
    launch: tuple[str, int] = ("", 0)
    expected: tuple[Array, ...] | None = None

    @property
    def bytes(self) -> int:
        return sum(a.array.nbytes for a in self.arguments if isinstance(a, Large))


def kernel_cases(package: ModelPackage, rig: Rig, frame: Frame) -> Iterator[KernelCase]:
    """Every kernel, on a frame of `POINTS` points and as many boxes as the model may decode."""
    yield from _image_and_points(package, rig, frame)
    yield from _canvases(package, rig)
    yield from _boxes(package, rig, frame)


def answer_cases(package: ModelPackage) -> Iterator[KernelCase]:
    """The steps that on a CPU are part of the second look, and on a card kernels of their own."""
    spec, rng = package.spec, np.random.default_rng(1)
    grid, room, classes = spec.head, spec.max_objects, len(spec.classes)
    rows, values = _rows(package, rng), rng.standard_normal(1 << 20, dtype=np.float32)
    values[::1000] = np.nan
    count, broken = np.array([room], np.int32), np.array([0], np.int32)
    arguments = (Large(values), len(values), Large(broken, True))
    yield KernelCase(
        "count_broken", "", arguments, launch=("count_broken", len(values)),
        expected=(np.array([np.isnan(values).sum()], np.int32),),
    )  # fmt: skip

    order = np.argsort(-rows[:, 9], kind="stable")
    ordered, keep = rows[order], np.arange(0, room, 2, dtype=np.int32)
    expected = ordered, ordered[:, :7].copy(), ordered[:, 10].astype(np.int32)
    written = tuple(Large(np.zeros_like(e), True) for e in expected)
    yield KernelCase(
        "rows_order", "", (Large(rows), Large(count), room, *written), launch=("rows_order", room),
        expected=expected,
    )  # fmt: skip

    heatmap = rng.standard_normal((classes, grid.ny, grid.nx), dtype=np.float32)
    coarse = package.spec.tensors["bev"].outputs["contribution"][1:]
    contribution = rng.random(coarse, dtype=np.float32)
    kept = ordered[keep]
    iy, ix = cells_under(kept, grid)
    told = np.zeros((room, 16 + classes + coarse[-1]), np.float32)
    expected_told = told.copy()
    expected_told[: len(keep)] = np.hstack(
        [kept, heatmap[:, iy, ix].T, shares_at(contribution, iy, ix, grid.ny)]
    )
    canvas = (grid.x_min, grid.y_min, grid.cell_m, grid.nx, grid.ny)
    given = (
        *(Large(ordered), Large(keep), Large(np.array([len(keep)], np.int32)), room),
        *(Large(heatmap), classes, Large(contribution), coarse[-1], -(-grid.ny // coarse[0]), canvas),
        Large(told, True),
    )
    yield KernelCase("rows_tell", "", given, launch=("rows_tell", room), expected=(expected_told,))


def _image_and_points(package: ModelPackage, rig: Rig, frame: Frame) -> Iterator[KernelCase]:
    spec = package.spec
    camera, pixels = next(iter(rig.cameras.values())), decode_image(frame.image)
    K = network_intrinsics(camera.intrinsics, camera.size, spec.image.size)
    planes = np.zeros((3, spec.image.height, spec.image.width), np.float32)
    how = {"bgr": True, "mean": spec.image.mean, "std": spec.image.std}
    for label, lens in (("image", camera.distortion), ("image, bent lens", BENT)):
        yield KernelCase(
            label, "image", (Large(pixels), Large(planes, True), camera.intrinsics, lens, K), how
        )

    T = next(iter(rig.lidars.values())).T_ego_lidar
    xyz, intensity, t = dense(frame)
    knots_t, knots_T = np.array([-0.05, 0.05], np.float32), np.stack([T[:3], T[:3]]).astype(np.float32)
    knots_T[1, 0, 3] += 1.0  # a metre on the way
    moved = Large(np.zeros_like(xyz), True)
    yield KernelCase("deskew", "deskew", (Large(xyz), Large(t), knots_t, knots_T, moved))
    yield _pillars(package, (xyz @ T[:3, :3].T + T[:3, 3]).astype(np.float32), intensity)


def _pillars(package: ModelPackage, xyz: Array, intensity: Array) -> KernelCase:
    spec, (W, b) = package.spec, package.pillars
    canvas = Large(np.zeros((spec.grid.ny, spec.grid.nx, W.shape[1] + 1), np.float32), True)
    arguments = (Large(xyz), Large(intensity), W, b, spec.grid, spec.z_min, spec.z_max, canvas)
    return KernelCase("pillars", "pillars", arguments)


def _canvases(package: ModelPackage, rig: Rig) -> Iterator[KernelCase]:
    spec, rng = package.spec, np.random.default_rng(0)
    (shape,) = spec.tensors["camera"].outputs.values()
    features, P = rng.random(shape, dtype=np.float32), _projection(package, rig)
    lifted = Large(np.zeros((spec.head.ny, spec.head.nx, shape[-1]), np.float32), True)
    depth = Large(np.zeros((spec.head.ny, spec.head.nx), np.float32), True)
    yield KernelCase("lift", "lift", (Large(features), P, spec.head, spec.z_levels, lifted, depth))

    state = rng.random(spec.tensors["bev"].inputs["state"][1:], dtype=np.float32)
    turn = np.array([[0.999, -0.04, 1.0], [0.04, 0.999, 0.2]], np.float32)
    warped = Large(np.zeros_like(state), True)
    yield KernelCase("bev_warp", "bev_warp", (Large(state), turn, spec.head, warped))


def _projection(package: ModelPackage, rig: Rig) -> Array:
    """(1, 3, 4) float32: the ego frame (m) -> feature pixels of the rig's first camera."""
    image, camera = package.spec.image, next(iter(rig.cameras.values()))
    K = network_intrinsics(camera.intrinsics, camera.size, image.size)
    P = feature_intrinsics(K, image.stride, image.focal_px) @ camera.T_camera_ego[:3]
    return P.astype(np.float32)[None]


def _boxes(package: ModelPackage, rig: Rig, frame: Frame) -> Iterator[KernelCase]:
    spec, rng = package.spec, np.random.default_rng(2)
    grid, room, classes = spec.head, spec.max_objects, len(spec.classes)
    heatmap = rng.normal(-5.0, 1.5, (classes, grid.ny, grid.nx)).astype(np.float32)
    regression = rng.normal(0.0, 0.5, (grid.ny, grid.nx, 15)).astype(np.float32)
    rows = _rows(package, rng)
    out = Large(np.zeros_like(rows), True)
    arguments = (Large(heatmap), Large(regression), grid, spec.decode_threshold, room, out)
    yield KernelCase("decode", "decode", arguments, tolerance=CLOSE)

    order = np.argsort(-rows[:, 9], kind="stable")
    boxes, kinds = np.ascontiguousarray(rows[order, :7]), rows[order, 10].astype(np.int32)
    iou = [spec.nms_iou[label] for label in spec.classes]
    keep = Large(np.zeros(room, np.int32), True)
    scores = np.ascontiguousarray(rows[order, 9])
    yield KernelCase("nms", "nms", (Large(boxes), scores, Large(kinds), iou, keep))

    features = rng.standard_normal(spec.tensors["bev"].outputs["features"][1:], dtype=np.float32)
    sampled = Large(np.zeros((room, 5 * features.shape[2]), np.float32), True)
    yield KernelCase(
        "roi_sample", "roi_sample", (Large(features), Large(boxes), grid, sampled), tolerance=CLOSE
    )

    image = spec.tensors["camera"].outputs["features"]
    seen = rng.standard_normal(image, dtype=np.float32)
    looked = Large(np.zeros((room, 9 * image[3]), np.float32), True)
    where = _projection(package, rig)
    yield KernelCase(
        "view_sample", "view_sample", (Large(seen), where, Large(boxes), looked), tolerance=CLOSE
    )

    T = next(iter(rig.lidars.values())).T_ego_lidar
    xyz, intensity, _ = dense(frame)
    points = PointsByCell(_pillars(package, (xyz @ T[:3, :3].T + T[:3, 3]).astype(np.float32), intensity))
    layers = package.points
    pooled = Large(np.zeros((room, layers[-1].shape[0] + 1), np.float32), True)
    pooling = (points, Large(rows), spec.points_margin_m, spec.points_most, *layers, pooled)
    yield KernelCase("roi_points", "roi_points", pooling, tolerance=CLOSE)

    told = Large(np.zeros_like(rows), True)
    yield KernelCase("box_context", "box_context", (Large(rows), told), tolerance=CLOSE)

    fits = np.array([(f.gain, f.offset) for f in (spec.scores[label] for label in spec.classes)], np.float32)
    answer = [Large(0.1 * rng.standard_normal((room, n), dtype=np.float32)) for n in (1, 8, 1, 5)]
    better = Large(np.zeros_like(rows), True)
    yield KernelCase("box_refine", "box_refine", (Large(rows), fits, *answer, better), tolerance=CLOSE)


def _rows(package: ModelPackage, rng: np.random.Generator) -> Array:
    """(n, 16) as `decode` gives, as many as the model may decode, over its ground."""
    spec = package.spec
    n, grid = spec.max_objects, spec.head
    rows = rng.random((n, 16), dtype=np.float32)
    rows[:, 0] = grid.x_min + rows[:, 0] * grid.nx * grid.cell_m
    rows[:, 1] = grid.y_min + rows[:, 1] * grid.ny * grid.cell_m
    rows[:, 3:6] = (4.2, 1.8, 1.6) * (0.8 + 0.4 * rows[:, 3:6])
    rows[:, 6] = np.pi * (2 * rows[:, 6] - 1)
    rows[:, 10] = rng.integers(len(spec.classes), size=n)
    return rows


def dense(frame: Frame) -> tuple[Array, Array, Array]:
    """A sweep of `POINTS` points: those of the frame, again and again, each a little aside."""
    rng, cloud = np.random.default_rng(0), frame.cloud
    rows = np.arange(POINTS) % len(cloud.xyz)
    xyz = (cloud.xyz[rows] + rng.normal(0, 0.02, (POINTS, 3))).astype(np.float32)
    return xyz, np.ascontiguousarray(cloud.intensity[rows]), np.ascontiguousarray(cloud.t[rows])


class BoundKernel:
    """A case on a device: its arrays are there."""

    def __init__(self, device: Device, case: KernelCase) -> None:
        self._device, self._case = device, case
        self._kernel: Any = device.kernel(case.name) if case.name else None
        self._outputs: list[tuple[Any, Array]] = []
        self._arguments = [self._placed(argument) for argument in case.arguments]

    def _placed(self, argument: Any) -> Any:
        if isinstance(argument, PointsByCell):
            pillars = BoundKernel(self._device, argument.case)
            pillars()
            self._held = pillars  # the points are in its memory
            return pillars._kernel.grouped
        if not isinstance(argument, Large):
            return argument
        buffer = self._device.empty(argument.array.shape, argument.array.dtype)
        if argument.written:
            self._outputs.append((buffer, argument.array))
        else:
            self._device.upload(argument.array, buffer)
        return buffer

    def __call__(self) -> None:
        if self._kernel is not None:
            self._kernel(*self._arguments, **self._case.keywords)
        else:
            function, items = self._case.launch
            card: Any = self._device
            card.launch(function, *self._arguments, items=items)

    def outputs(self) -> list[Array]:
        """Of one call, on the host; what the call before left is gone."""
        if self._kernel is None:  # some of these add to what is there
            for buffer, before in self._outputs:
                self._device.upload(before, buffer)
        self()
        return [self._device.fetch(buffer) for buffer, _ in self._outputs]

    @property
    def bytes(self) -> int:
        """To be read or written at least, by the last call."""
        return int(getattr(self._kernel, "moved_bytes", 0) or self._case.bytes)


def expected(case: KernelCase) -> Sequence[Array]:
    """What numpy, or one thread of the CPU's kernel, gives."""
    return case.expected if case.expected is not None else BoundKernel(CpuDevice(1), case).outputs()


@contextmanager
def launches(device: Device) -> Iterator[set[str]]:
    """The names of the .cu functions that are launched meanwhile; none on a CPU, which has other names."""
    names: set[str] = set()
    card: Any = device
    if isinstance(device, CpuDevice):
        yield names
        return
    launch = card.launch

    def noted(kernel: str, *arguments: Any, **how: Any) -> None:
        names.add(kernel)
        launch(kernel, *arguments, **how)

    card.launch = noted
    try:
        yield names
    finally:
        del card.launch
