"""The fusion network at work: encode each modality, fuse on one canvas, decode objects.

`see` runs when an image arrives and leaves its features waiting; `detect` runs at the trigger, with only the
remaining work. All buffers are made once; the methods stand in the order of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fusion_rt import engine
from fusion_rt.device import Device
from fusion_rt.images import camera_pixels, network_intrinsics
from fusion_rt.messages import Image
from fusion_rt.models.package import ModelPackage
from fusion_rt.percepts import Explanation, FirstLook, ImageFeatures, Motion, Perceived, Sweep, View
from fusion_rt.rig import Camera
from fusion_rt.tracking.detections import Detections
from fusion_rt.transforms import Array

MODALITIES = ("lidar", "camera", "memory")
LIDAR_ALONE = np.array([name == "lidar" for name in MODALITIES], np.float32)  # shares of the evidence
_KERNELS = (
    *("image", "deskew", "pillars", "lift", "bev_warp", "decode", "nms"),
    *("roi_sample", "roi_points", "box_context", "box_refine"),
)
# What the network is given of each modality, and which slots of the context tell of it.
_CANVASES = {"lidar": ("pillars",), "camera": ("camera_bev", "camera_depth"), "memory": ("state",)}
_CONTEXT = {"lidar": (4,), "camera": (5,), "memory": (6, 7)}
SCORE, CLASS, SIGMA = 9, 10, slice(11, 16)  # columns of a decoded row

Lap = Callable[[str], None]


class Perception:
    """One model package on one device.

    lap is told the name of each stage as it ends, for those who keep time.
    Raises EngineError when a model file does not load."""

    def __init__(
        self,
        package: ModelPackage,
        device: Device,
        *,
        runtime: str = "openvino",
        precision: str | None = None,
        lap: Lap = lambda stage: None,
    ) -> None:
        self.package, self.spec, self._lap = package, package.spec, lap
        self.precision = precision or self.spec.precision
        self._camera, self._bev, self._refine = (
            self._load(part, runtime, device.threads) for part in ("camera", "bev", "refine")
        )
        self._kernels: dict[str, Any] = {name: device.kernel(name) for name in _KERNELS}
        self._device = device
        self._xyz = device.empty((1 << 17, 3), np.float32)
        self._rows = device.empty((self.spec.max_objects, 16), np.float32)
        self._refined = device.empty((self.spec.max_objects, 16), np.float32)
        self._keep = device.empty((self.spec.max_objects,), np.int32)
        fits = [self.spec.scores[label] for label in self.spec.classes]
        self._fits = np.array([(fit.gain, fit.offset) for fit in fits], np.float32)
        self._nms_iou = [self.spec.nms_iou[label] for label in self.spec.classes]
        self._points = self._xyz[:0], np.empty(0, np.float32)
        self._decoded = 0
        self._motion: Motion | None = None  # for which the memory is being warped
        self._recalled = False
        self._lifted: tuple[list[ImageFeatures], Array] | None = None  # what lies on the camera's canvas
        self._in_step = False  # whether the last answer was for the very time of its only image
        for part in (self._camera, self._bev, self._refine):
            part.run()  # the first run is slow: better now than under the first packet

    def _load(self, part: str, runtime: str, threads: int) -> engine.Engine:
        tensors = self.spec.tensors[part]
        return engine.load(
            self.package.path(part, self.precision),
            runtime=runtime,
            precision=self.package.held(part, self.precision),
            threads=threads,
            inputs=tensors.inputs,
            outputs=tensors.outputs,
        )

    @property
    def engine_identity(self) -> str:
        """Runtime, version, precision and digest, as the certificate names them."""
        return self._bev.identity

    def see(self, image: Image, camera: Camera) -> ImageFeatures:
        """Encode an image. Raises MessageError when it does not decode or is not of the rig's size."""
        pixels = camera_pixels(image, camera)
        self._lap("image_decode")
        return self.encode(pixels, camera, bgr=image.encoding != "rgb8")

    def encode(self, pixels: Array, camera: Camera, *, bgr: bool) -> ImageFeatures:
        """Encode the pixels (h, w, 3) uint8 of an image; bgr: the order of their channels."""
        spec = self.spec.image
        K = network_intrinsics(camera, spec.width, spec.height)
        self._kernels["image"](
            pixels,
            self._camera.inputs["image"][0],
            camera.intrinsics,
            camera.distortion,
            K,
            bgr=bgr,
            mean=spec.mean,
            std=spec.std,
        )
        self._lap("image")
        self._camera.run()
        self._lap("camera_encode")
        K = np.diag([1 / spec.stride, 1 / spec.stride, 1.0]) @ K
        P = (K @ camera.T_camera_ego[:3]).astype(np.float32)
        seen = ImageFeatures(self._camera.outputs["features"][0].copy(), K, P)
        if self._in_step:  # a camera that the lidar triggers: the next answer will be the same
            self._lift([seen], P[None])
        return seen

    def detect(self, sweeps: Sequence[Sweep], views: Sequence[View], motion: Motion) -> Perceived:
        """Objects in the ego frame at the answer's time, from whatever there is; both may be empty. Sooner
        where `recall` was given this motion."""
        if motion is not self._motion:
            self.recall(motion)
        points_in, dropped = self._encode_points(sweeps)
        self._encode_views(views)
        self._kernels["bev_warp"].wait()
        self._motion, self._recalled = None, motion.T_prev_now is not None
        self._lap("warp")
        self._bev.inputs["context"][0] = self._context(motion, bool(sweeps), bool(views))
        self._bev.run()
        self._lap("fuse")
        rows = self._decode()
        rows = self._look_again(rows)
        rows = self._suppress(rows)
        self._lap("decode")
        counts = self._kernels["decode"].counts
        boxes_dropped = {cause: counts[cause] for cause in ("overflow", "broken") if counts[cause]}
        return Perceived(self._as_detections(rows), points_in, dropped, boxes_dropped)

    @property
    def first_look(self) -> FirstLook:
        """Copies of what the last second look was given."""
        features, camera_bev = self._bev.outputs["features"], self._bev.inputs["camera_bev"]
        xyz, intensity = self._points
        return FirstLook(
            rows=self._rows[: self._decoded].copy(),
            features=features[0].copy(),
            camera_bev=camera_bev[0].copy(),
            xyz=xyz.copy(),
            intensity=intensity.copy(),
        )

    def explain(self) -> Explanation:
        """Of the last answer: looks three times more, each without a modality. What the next answer remembers
        is as it was."""
        given = {name: array.copy() for name, array in self._bev.inputs.items()}
        without = []
        for modality in MODALITIES:
            for name, array in self._bev.inputs.items():
                array[...] = 0 if name in _CANVASES[modality] else given[name]
            for slot in _CONTEXT[modality]:
                self._bev.inputs["context"][0, slot] = 0
            self._bev.run()
            without.append(self._bev.outputs["heatmap"][0].copy())
        for name, array in self._bev.inputs.items():
            array[...] = given[name]
        self._bev.run()
        rows, heatmap = self._rows[: self._decoded].copy(), self._bev.outputs["heatmap"][0]
        iy, ix = self._cells(rows)
        kind = rows[:, CLASS].astype(np.intp)
        drops = np.stack([heatmap[kind, iy, ix] - other[kind, iy, ix] for other in without], axis=1)
        return Explanation(rows, self._shares(iy, ix), drops, sigmoid(heatmap))

    def _cells(self, rows: Array) -> tuple[Array, Array]:
        """(n,), (n,) row and column of the head's canvas under each box; the nearest for one outside."""
        head = self.spec.head
        x, y = (rows[:, 0] - head.x_min) / head.cell_m, (rows[:, 1] - head.y_min) / head.cell_m
        ix = np.minimum(np.maximum(x, 0), head.nx - 1).astype(np.intp)
        iy = np.minimum(np.maximum(y, 0), head.ny - 1).astype(np.intp)
        return iy, ix

    def _shares(self, iy: Array, ix: Array) -> Array:
        """(n, 3) what lidar, camera and memory contribute at these cells of the head's canvas."""
        contribution = self._bev.outputs["contribution"][0]
        step = -(-self.spec.head.ny // len(contribution))  # it may be coarser than the canvas
        shares: Array = contribution[iy // step, ix // step]
        return shares

    def _encode_points(self, sweeps: Sequence[Sweep]) -> tuple[int, dict[str, int]]:
        total = sum(len(s.cloud.xyz) for s in sweeps)
        if total > len(self._xyz):  # rare: a denser lidar than before
            size = 1 << (total - 1).bit_length()
            self._xyz = self._device.empty((size, 3), np.float32)
        start = 0
        for sweep in sweeps:
            end = start + len(sweep.cloud.xyz)
            # Columns of a wider array are welcome: what is contiguous already is not copied.
            xyz, t = np.ascontiguousarray(sweep.cloud.xyz), np.ascontiguousarray(sweep.cloud.t)
            self._kernels["deskew"](xyz, t, sweep.knots_t, sweep.knots_T, self._xyz[start:end])
            start = end
        intensities = [np.ascontiguousarray(s.cloud.intensity) for s in sweeps]
        one = len(intensities) == 1  # the usual case, without a copy
        intensity = intensities[0] if one else np.concatenate([np.empty(0, np.float32), *intensities])
        self._lap("deskew")
        W, b = self.package.pillars
        counts = self._kernels["pillars"](
            self._xyz[:start],
            intensity,
            W,
            b,
            self.spec.grid,
            self.spec.z_min,
            self.spec.z_max,
            self._bev.inputs["pillars"][0],
        )
        self._points = self._xyz[:start], intensity
        self._lap("pillars")
        return total, {cause: counts[cause] for cause in ("not_finite", "outside") if counts[cause]}

    def _encode_views(self, views: Sequence[View]) -> None:
        if not views:
            self._bev.inputs["camera_bev"][...] = 0
            self._bev.inputs["camera_depth"][...] = 0
            self._lifted = None
            return
        images = [v.image for v in views]
        P = np.stack([v.image.K @ v.T_camera_ego[:3] for v in views]).astype(np.float32)
        self._in_step = len(images) == 1 and np.array_equal(P[0], images[0].P)
        if self._lifted is None or self._lifted[0] != images or not np.array_equal(self._lifted[1], P):
            self._lift(images, P)

    def _lift(self, images: list[ImageFeatures], P: Array) -> None:
        """Onto the camera's canvas; P (n, 3, 4) ego frame at the answer -> feature pixel."""
        canvas, depth = self._bev.inputs["camera_bev"][0], self._bev.inputs["camera_depth"][0, :, :, 0]
        features = images[0].features[None] if len(images) == 1 else np.stack([i.features for i in images])
        self._kernels["lift"](features, P, self.spec.head, self.spec.z_levels, canvas, depth)
        self._lifted = images, P
        self._lap("lift")

    def recall(self, motion: Motion) -> None:
        """Begin to look back, beside whatever is done before `detect` with the same motion."""
        state = self._bev.inputs["state"][0]
        self._motion = motion
        if motion.T_prev_now is None:
            self._kernels["bev_warp"].wait()
            state[...] = 0
        else:
            # The engine's output of the last run still stands.
            before = self._bev.outputs["next_state"][0]
            self._kernels["bev_warp"].begin(before, motion.T_prev_now, self.spec.head, state)

    def _context(self, motion: Motion, lidar: bool, camera: bool) -> Array:
        """(16,) as model.yaml's `context` lists it, scaled to about -1..1."""
        out = np.zeros(len(self.spec.context), np.float32)
        recalled = motion.T_prev_now is not None
        out[:8] = (
            motion.speed / 20,
            motion.yaw_rate,
            motion.acceleration / 5,
            motion.known,
            lidar,
            camera,
            recalled,
            motion.since_prev_s / 0.2 if recalled else 0.0,
        )
        return out

    def _decode(self) -> Array:
        n = self._kernels["decode"](
            self._bev.outputs["heatmap"][0],
            self._bev.outputs["boxes"][0],
            self.spec.head,
            self.spec.decode_threshold,
            self.spec.max_objects,
            self._rows,
        )
        self._decoded = n
        return self._rows[:n]

    def _look_again(self, rows: Array) -> Array:
        """h(E, D(E)): the features around each first answer, and the points in it, correct it."""
        if len(rows) == 0:
            return rows
        inputs, n = self._refine.inputs, len(rows)
        boxes = np.ascontiguousarray(rows[:, :7])
        for name, canvas in (
            ("roi", self._bev.outputs["features"]),
            ("camera_roi", self._bev.inputs["camera_bev"]),
        ):
            self._kernels["roi_sample"](canvas[0], boxes, self.spec.head, inputs[name][:n])
        self._kernels["roi_points"](
            self._kernels["pillars"].grouped,
            rows,
            self.spec.points_margin_m,
            self.spec.points_most,
            *self.package.points,
            inputs["points"][:n],
        )
        self._kernels["box_context"](rows, inputs["box"][:n])
        for given in inputs.values():
            given[n:] = 0
        self._lap("decode")
        self._refine.run()
        self._lap("refine")
        answer = (output[:n] for output in self._refine.outputs.values())
        self._kernels["box_refine"](rows, self._fits, *answer, self._refined[:n])
        return self._refined[:n]

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

    def _as_detections(self, rows: Array) -> Detections:
        iy, ix = self._cells(rows)
        kind = rows[:, CLASS].astype(np.intp)
        # Each class's first score at the same cell, the decoded class with its refined one.
        scores = sigmoid(self._bev.outputs["heatmap"][0][:, iy, ix].T)
        scores[np.arange(len(rows)), kind] = rows[:, SCORE]
        return Detections(
            boxes=rows[:, :7],
            velocity=rows[:, 7:9],
            scores=scores,
            labels=kind,
            std=rows[:, SIGMA],
            contributions=self._shares(iy, ix),
            velocity_known=np.full(len(rows), self._recalled and self.spec.measures_velocity),
        )


def sigmoid(logit: Array) -> Array:
    """1 / (1 + exp(-logit)) without overflow."""
    p: Array = 0.5 + 0.5 * np.tanh(0.5 * logit)
    return p
