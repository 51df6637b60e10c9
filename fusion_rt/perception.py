"""The fusion network at work: encode each modality, fuse on one canvas, decode objects.

`see` runs when an image arrives and leaves its features waiting; `detect` runs at the trigger, with only the
remaining work. All buffers are made once; the methods stand in the order of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace

from fusion_rt import engine
from fusion_rt.device import Device, load_engine
from fusion_rt.device.cpu_decoder import CLASS, SCORE, cells_under, shares_at
from fusion_rt.device.protocol import Answer
from fusion_rt.errors import EngineError
from fusion_rt.images import camera_pixels, feature_intrinsics, network_intrinsics
from fusion_rt.kernels.box_launchers import Grouped
from fusion_rt.messages import Image
from fusion_rt.models.package import ModelPackage
from fusion_rt.percepts import Explanation, FirstLook, ImageFeatures, Motion, Perceived, Sweep, View
from fusion_rt.rig import Camera
from fusion_rt.tracking.detections import Detections
from fusion_rt.transforms import Array

MODALITIES = ("lidar", "camera", "memory")
LIDAR_ALONE = np.array([name == "lidar" for name in MODALITIES], np.float32)  # shares of the evidence
_KERNELS = ("image", "deskew", "pillars", "lift", "bev_warp")
# What the network is given of each modality, and which slots of the context tell of it.
_CANVASES = {"lidar": ("pillars",), "camera": ("camera_bev", "camera_depth"), "memory": ("state",)}
_CONTEXT = {"lidar": (4,), "camera": (5,), "memory": (6, 7)}
_LOOK = ("roi", "view", "box", "points")  # what the second look is given
SIGMA = slice(11, 16)  # columns of a decoded row

Lap = Callable[[str], None]


class Perception:
    """One model package on one device.

    lap     is told the name of each stage as it ends, for those who keep time
    record  put what is the same for every answer on a card at one stroke, where the engines allow it; the
            stages from "fuse" on are then one
    Raises EngineError when a model file does not load, or is of a version with another second look."""

    def __init__(
        self,
        package: ModelPackage,
        device: Device,
        *,
        runtime: str = "openvino",
        precision: str | None = None,
        lap: Lap = lambda stage: None,
        record: bool = True,
    ) -> None:
        self.package, self.spec, self._lap = package, package.spec, lap
        if set(self.spec.tensors["refine"].inputs) != set(_LOOK):
            raise EngineError(
                f"{package.folder}: its second look is given {', '.join(self.spec.tensors['refine'].inputs)};"
                f" from here it is {', '.join(_LOOK)}. The package is of another version: go on with"
                " it by `fusion-rt train --start`, and export that"
            )
        self.precision, self._device = precision or self.spec.precision, device
        self._camera, self._bev, self._refine = (
            self._load(part, runtime, device) for part in ("camera", "bev", "refine")
        )
        self._encodes = device.repeated([self._camera], record=record)
        self._looks = device.repeated([self._bev, self._refine], record=record)
        self._kernels: dict[str, Any] = {name: device.kernel(name) for name in _KERNELS}
        self._xyz = device.empty((1 << 17, 3), np.float32)
        self._decoder = device.decoder(package)
        self._points = self._xyz[:0], np.empty(0, np.float32)
        self._depth = self._bev.inputs["camera_depth"].reshape(self.spec.head.ny, self.spec.head.nx)
        # Views that stay, so that the kernels need look at them only once.
        self._pillars, self._state = self._bev.inputs["pillars"][0], self._bev.inputs["state"][0]
        self._next_state = self._bev.outputs["next_state"][0]
        self._motion: Motion | None = None  # for which the memory is being warped
        self._recalled = False
        self._looked = False  # before the first answer there is nothing to remember
        # What the cameras see and where they look, one after the other; a P of zero looks nowhere.
        self._views = device.empty(self._camera.outputs["features"].shape, np.float32)
        self._where = device.empty((1, 3, 4), np.float32)
        # What lies on the camera's canvas, and by which P.
        self._lifted: tuple[list[ImageFeatures], bytes] | None = None
        self._in_step = False  # whether the last answer was for the very time of its only image

    def _load(self, part: str, runtime: str, device: Device) -> engine.Engine:
        tensors = self.spec.tensors[part]
        with device.on("camera" if part == "camera" else "main"):  # where it will run
            loaded = load_engine(
                self.package.path(part, self.precision),
                device=device,
                runtime=runtime,
                precision=self.package.held(part, self.precision),
                inputs=tensors.inputs,
                outputs=tensors.outputs,
            )
            loaded.run()  # the first run is slow: better now than under the first packet
        return loaded

    @property
    def device_name(self) -> str:
        """As the certificate names it."""
        return str(self._device)

    @property
    def engines(self) -> tuple[engine.Engine, ...]:
        """Of the parts, in the order of the data."""
        return self._camera, self._bev, self._refine

    @property
    def why_no_graph(self) -> str:
        """Why an answer is put on the device call by call; "" where it is, or may yet be, recorded."""
        return self._looks.why

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
        with self._device.on("camera"):
            return self._encode(pixels, camera, bgr=bgr)

    def _encode(self, pixels: Array, camera: Camera, *, bgr: bool) -> ImageFeatures:
        spec = self.spec.image
        K = network_intrinsics(camera.intrinsics, camera.size, spec.size)
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
        self._encodes(self._run, "camera", self._camera)
        self._lap("camera_encode")
        K = feature_intrinsics(K, spec.stride, spec.focal_px)
        P = (K @ camera.T_camera_ego[:3]).astype(np.float32)
        seen = ImageFeatures(self._device.clone(self._camera.outputs["features"][0]), K, P)
        if self._in_step:  # a camera that the lidar triggers: the next answer will be the same
            self._lift([seen], P[None])
        return seen

    def detect(self, sweeps: Sequence[Sweep], views: Sequence[View], motion: Motion) -> Perceived:
        """Objects in the ego frame at the answer's time, from whatever there is; both may be empty. Sooner
        where `recall` was given this motion."""
        with self._device.on("main"):
            return self._detect(sweeps, views, motion)

    def _detect(self, sweeps: Sequence[Sweep], views: Sequence[View], motion: Motion) -> Perceived:
        if motion is not self._motion:
            self._recall(motion)
        points_in = self._encode_points(sweeps)
        self._device.join("camera")
        self._encode_views(views)
        self._kernels["bev_warp"].wait()
        if not self._looked:
            motion = replace(motion, T_prev_now=None, since_prev_s=0.0)
        self._motion, self._recalled = None, motion.T_prev_now is not None
        self._lap("warp")
        context = self._context(motion, bool(sweeps), bool(views))
        self._device.upload(context, self._bev.inputs["context"][0])
        self._looks(self._look_twice, self._views, self._where, self._kernels["pillars"].grouped)
        found = self._decoder.answer()
        self._lap("decode")
        counts, dropped = self._decoder.counts, self._kernels["pillars"].counts
        self._looked = True
        return Perceived(
            self._as_detections(found),
            points_in,
            {cause: dropped[cause] for cause in ("not_finite", "outside") if dropped[cause]},
            {cause: counts[cause] for cause in ("overflow", "broken") if counts[cause]},
        )

    def _run(self, part: str, network: engine.Engine) -> None:
        network.run()
        self._device.expect_finite(part, network.outputs)

    @property
    def first_look(self) -> FirstLook:
        """Copies of what the last second look was given."""
        features = self._bev.outputs["features"]
        xyz, intensity = self._points
        with self._device.on("main"):
            return FirstLook(
                rows=self._decoder.rows,
                features=self._device.fetch(features[0]),
                views=self._device.fetch(self._views),
                P=self._device.fetch(self._where),
                xyz=self._device.fetch(xyz),
                intensity=intensity.copy(),
            )

    def explain(self) -> Explanation:
        """Of the last answer: looks three times more, each without a modality. What the next answer remembers
        is as it was."""
        with self._device.on("main"):
            return self._explain()

    def _explain(self) -> Explanation:
        device, inputs = self._device, self._bev.inputs
        given = {name: device.clone(buffer) for name, buffer in inputs.items()}
        context, without = device.fetch(inputs["context"]), []
        for modality in MODALITIES:
            for name, buffer in inputs.items():
                if name in _CANVASES[modality]:
                    device.zero(buffer)
                else:
                    device.copy(given[name], buffer)
            told = context.copy()
            told[0, list(_CONTEXT[modality])] = 0
            device.upload(told, inputs["context"])
            self._run("bev", self._bev)
            without.append(device.fetch(self._bev.outputs["heatmap"][0]))
        for name, buffer in inputs.items():
            device.copy(given[name], buffer)
        self._run("bev", self._bev)
        rows, heatmap = self._decoder.rows, device.fetch(self._bev.outputs["heatmap"][0])
        iy, ix = cells_under(rows, self.spec.head)
        kind = rows[:, CLASS].astype(np.intp)
        drops = np.stack([heatmap[kind, iy, ix] - other[kind, iy, ix] for other in without], axis=1)
        contribution = device.fetch(self._bev.outputs["contribution"][0])
        return Explanation(rows, shares_at(contribution, iy, ix, self.spec.head.ny), drops, sigmoid(heatmap))

    def _encode_points(self, sweeps: Sequence[Sweep]) -> int:
        """Onto the lidar's canvas; how many there are."""
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
        self._kernels["pillars"](
            self._xyz[:start],
            intensity,
            W,
            b,
            self.spec.grid,
            self.spec.z_min,
            self.spec.z_max,
            self._pillars,
        )
        self._points = self._xyz[:start], intensity
        self._lap("pillars")
        return total

    def _encode_views(self, views: Sequence[View]) -> None:
        if not views:
            self._device.zero(self._bev.inputs["camera_bev"])
            self._device.zero(self._bev.inputs["camera_depth"])
            self._device.zero(self._where)
            self._lifted = None
            return
        images, P = [v.image for v in views], np.empty((len(views), 3, 4), np.float32)
        for into, v in zip(P, views):
            into[:] = v.image.K @ v.T_camera_ego[:3]
        self._in_step = len(images) == 1 and P.tobytes() == images[0].P.tobytes()
        if self._lifted is None or self._lifted[0] != images or self._lifted[1] != P.tobytes():
            self._lift(images, P)

    def _lift(self, images: list[ImageFeatures], P: Array) -> None:
        """Onto the camera's canvas; P (n, 3, 4) ego frame at the answer -> feature pixel."""
        if len(images) > len(self._views):  # rare: more cameras than ever before
            self._views = self._device.empty((len(images), *self._views.shape[1:]), np.float32)
            self._where = self._device.empty(P.shape, np.float32)
        for k, image in enumerate(images):
            self._device.copy(image.features, self._views[k])
        where = np.zeros(self._where.shape, np.float32)
        where[: len(P)] = P
        self._device.upload(where, self._where)
        views, seen_by = self._views[: len(images)], self._where[: len(images)]
        canvas = self._bev.inputs["camera_bev"][0]
        self._kernels["lift"](views, seen_by, self.spec.head, self.spec.z_levels, canvas, self._depth)
        self._lifted = images, P.tobytes()
        self._lap("lift")

    def clear(self) -> None:
        """Begin to clear the lidar's canvas, beside whatever is done before `detect`: what is on it is not
        explained any more."""
        self._kernels["pillars"].clear()

    def recall(self, motion: Motion) -> None:
        """Begin to look back, beside whatever is done before `detect` with the same motion."""
        with self._device.on("main"):
            self._recall(motion)

    def _recall(self, motion: Motion) -> None:
        if motion.T_prev_now is None or not self._looked:
            self._kernels["bev_warp"].wait()
            self._device.zero(self._state)
        else:
            # The engine's output of the last run still stands.
            self._kernels["bev_warp"].begin(self._next_state, motion.T_prev_now, self.spec.head, self._state)
        self._motion = motion

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

    def _look_twice(self, views: Any, where: Any, grouped: Grouped) -> None:
        """h(E, D(E)): the features around each first answer, what cameras see of it, and the points in it,
        correct it."""
        self._run("bev", self._bev)
        self._lap("fuse")
        something = self._decoder.first_look(self._bev.outputs, views, where, grouped, self._refine.inputs)
        if something:
            self._lap("decode")
            self._run("refine", self._refine)
            self._lap("refine")
        self._decoder.second_look(self._refine.outputs if something else None)

    def _as_detections(self, found: Answer) -> Detections:
        rows = found.rows
        kind = rows[:, CLASS].astype(np.intp)
        # Each class's first score at the same cell, the decoded class with its refined one.
        scores = sigmoid(found.logits)
        scores[np.arange(len(rows)), kind] = rows[:, SCORE]
        known = np.empty(len(rows), bool)
        known[:] = self._recalled and self.spec.measures_velocity
        return Detections(
            boxes=rows[:, :7],
            velocity=rows[:, 7:9],
            scores=scores,
            labels=kind,
            std=rows[:, SIGMA],
            contributions=found.shares,
            velocity_known=known,
        )


def sigmoid(logit: Array) -> Array:
    """1 / (1 + exp(-logit)) without overflow."""
    p: Array = 0.5 + 0.5 * np.tanh(0.5 * logit)
    return p
