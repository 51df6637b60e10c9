"""The fusion network at work: encode each modality, fuse on one canvas, decode objects.

`see` runs when an image arrives and leaves its features waiting; `detect` runs at the trigger, with only the
remaining work. All buffers are made once; the methods stand in the order of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from msgspec import Struct

from fusion_rt import engine, refinement
from fusion_rt.device import Device
from fusion_rt.errors import MessageError
from fusion_rt.messages import Image, PointCloud
from fusion_rt.models.package import ModelPackage
from fusion_rt.rig import Camera
from fusion_rt.tracking.detections import Detections
from fusion_rt.transforms import Array

MODALITIES = ("lidar", "camera", "memory")
_KERNELS = ("image", "deskew", "pillars", "lift", "bev_warp", "decode", "nms", "roi_sample")

Lap = Callable[[str], None]


class ImageFeatures(Struct, frozen=True, eq=False):
    """An encoded image, waiting for the trigger.

    features  (h, w, C) float32
    K         (3, 3) float64: camera ray -> feature pixel
    P         (3, 4) float32: ego frame at the image -> feature pixel
    """

    features: Array
    K: Array
    P: Array


class View(Struct, frozen=True):
    """Image features and where their camera was: T_camera(at the image)_ego(at the answer), (4, 4)."""

    image: ImageFeatures
    T_camera_ego: Array


class Sweep(Struct, frozen=True):
    """A point cloud and the motion to undo.

    knots_t  (K,) float32, seconds after the cloud's stamp, increasing
    knots_T  (K, 3, 4) float32, T_ego(at the answer)_lidar(at the knot)
    """

    cloud: PointCloud
    knots_t: Array
    knots_T: Array


class Motion(Struct, frozen=True, kw_only=True):
    """The ego vehicle's motion, for the network's context and memory.

    known          whether it was measured; all else is zero if not
    T_prev_now     (2, 3): present ego x, y -> ego x, y at the previous answer; None: no memory
    since_prev_s   between the two answers
    """

    known: bool = False
    speed: float = 0.0
    yaw_rate: float = 0.0
    acceleration: float = 0.0
    T_prev_now: Array | None = None
    since_prev_s: float = 0.0


class Perceived(Struct, frozen=True):
    """What the network found, how many points it was given, and what was left out, by cause."""

    detections: Detections
    points_in: int
    points_dropped: dict[str, int]
    boxes_dropped: dict[str, int]


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
        self._keep = device.empty((self.spec.max_objects,), np.int32)
        self._nms_iou = [self.spec.nms_iou[label] for label in self.spec.classes]
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
        if (image.height, image.width) != (camera.height, camera.width):
            raise MessageError(
                f"{image.header.sensor_id}: image {image.width}x{image.height}, the rig says"
                f" {camera.width}x{camera.height}; correct the rig or the camera's mode"
            )
        pixels = decode_image(image)
        self._lap("image_decode")
        spec = self.spec.image
        K = network_intrinsics(camera, spec.width, spec.height)
        self._kernels["image"](
            pixels,
            self._camera.inputs["image"][0],
            camera.intrinsics,
            camera.distortion,
            K,
            bgr=image.encoding != "rgb8",
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
        """Objects in the ego frame at the answer's time, from whatever there is; both may be empty."""
        points_in, dropped = self._encode_points(sweeps)
        self._encode_views(views)
        self._recall(motion)
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

    def _recall(self, motion: Motion) -> None:
        state = self._bev.inputs["state"][0]
        self._recalled = motion.T_prev_now is not None
        if motion.T_prev_now is None:
            state[...] = 0
            return
        # The engine's output of the last run still stands.
        self._kernels["bev_warp"](
            self._bev.outputs["next_state"][0], motion.T_prev_now, self.spec.head, state
        )
        self._lap("warp")

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
        return self._rows[:n]

    def _look_again(self, rows: Array) -> Array:
        """h(E, D(E)): the features around each first answer correct its score and box."""
        if len(rows) == 0:
            return rows
        inputs, n = self._refine.inputs, len(rows)
        boxes = np.ascontiguousarray(rows[:, :7])
        for name, canvas in (
            ("roi", self._bev.outputs["features"]),
            ("camera_roi", self._bev.inputs["camera_bev"]),
        ):
            self._kernels["roi_sample"](canvas[0], boxes, self.spec.head, inputs[name][:n])
            inputs[name][n:] = 0
        inputs["box"][:n] = refinement.box_context(rows)
        inputs["box"][n:] = 0
        self._lap("decode")
        self._refine.run()
        self._lap("refine")
        outputs = self._refine.outputs
        return refinement.refine(rows, outputs["score"][: len(rows)], outputs["deltas"][: len(rows)])

    def _suppress(self, rows: Array) -> Array:
        """Of boxes of one class that overlap, the best stays; the rest is ordered best first."""
        rows = rows.take((-rows[:, refinement.SCORE]).argsort(kind="stable"), axis=0)
        n = self._kernels["nms"](
            np.ascontiguousarray(rows[:, :7]),
            np.ascontiguousarray(rows[:, refinement.SCORE]),
            rows[:, refinement.CLASS].astype(np.int32),
            self._nms_iou,
            self._keep,
        )
        return rows.take(self._keep[:n], axis=0)

    def _as_detections(self, rows: Array) -> Detections:
        head = self.spec.head
        x, y = (rows[:, 0] - head.x_min) / head.cell_m, (rows[:, 1] - head.y_min) / head.cell_m
        ix = np.minimum(np.maximum(x, 0), head.nx - 1).astype(np.intp)
        iy = np.minimum(np.maximum(y, 0), head.ny - 1).astype(np.intp)
        contribution = self._bev.outputs["contribution"][0]
        step = -(-head.ny // len(contribution))  # it may be coarser than the canvas
        kind = rows[:, refinement.CLASS].astype(np.intp)
        # Each class's first score at the same cell, the decoded class with its refined one.
        scores = refinement.sigmoid(self._bev.outputs["heatmap"][0][:, iy, ix].T)
        scores[np.arange(len(rows)), kind] = rows[:, refinement.SCORE]
        return Detections(
            boxes=rows[:, :7],
            velocity=rows[:, 7:9],
            scores=scores,
            labels=kind,
            std=rows[:, refinement.SIGMA],
            contributions=contribution[iy // step, ix // step],
            velocity_known=self._recalled and self.spec.measures_velocity,
        )


def decode_image(image: Image) -> Array:
    """Pixels (h, w, 3) uint8, BGR (RGB for rgb8). Raises MessageError when they do not decode."""
    if image.encoding in ("bgr8", "rgb8"):
        return np.ascontiguousarray(image.data)
    if image.encoding == "mono8":
        return cv2.cvtColor(image.data, cv2.COLOR_GRAY2BGR)
    # The rig describes the sensor's own rows and columns: a note on how to hold the picture is ignored.
    how = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(image.data, how) if image.data.size else None
    if pixels is None:
        raise MessageError(
            f"{image.header.sensor_id}: image {image.header.seq} does not decode as {image.encoding}"
            f" ({image.data.size} bytes); it was damaged or cut short"
        )
    if pixels.shape[:2] != (image.height, image.width):
        raise MessageError(
            f"{image.header.sensor_id}: image {image.header.seq} decodes to {pixels.shape[1]}x"
            f"{pixels.shape[0]}, its packet says {image.width}x{image.height}"
        )
    return pixels


def network_intrinsics(camera: Camera, width: int, height: int) -> Array:
    """K (3, 3) of the network's image: the camera's scaled to its width, the rows chosen so that the horizon
    of a level camera is not below the middle; wide images lose sky and bonnet, none is stretched."""
    scale = width / camera.width
    K = np.diag([scale, scale, 1.0]) @ camera.intrinsics
    spare = max(camera.height * scale - height, 0.0)
    K[1, 2] -= min(max(K[1, 2] - height / 2, 0.0), spare)
    return K
