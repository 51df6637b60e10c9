"""The heart: packets in, predictions out. It opens no socket, reads no clock of its own, starts no thread.

    pipeline = FusionPipeline.from_config(config, rig)
    for packet in log:
        prediction = pipeline.push(packet)

The same object serves the live node, offline replay, evaluation and the golden tests.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta, Struct

from fusion_rt.align.aligner import AlignConfig, Aligner, Snapshot
from fusion_rt.detectors.lookout import DetectorUse, Lookout
from fusion_rt.detectors.merging import merged
from fusion_rt.device import CpuDevice
from fusion_rt.ego.config import EgoConfig
from fusion_rt.ego.filter import EgoFilter
from fusion_rt.ego.lidar_odometry import LidarOdometry
from fusion_rt.engine import CARD_RUNTIMES
from fusion_rt.engine_ladder import AUTO, CardDevice, EngineLadder, find_gpu, rungs
from fusion_rt.errors import ConfigError, DeviceError, EngineError, MessageError
from fusion_rt.images import camera_pixels
from fusion_rt.kernels.span import Span
from fusion_rt.messages import (
    SWEEP_S,
    Certificate,
    EgoState,
    GnssFix,
    Header,
    Image,
    ImuSample,
    Packet,
    PointCloud,
    Prediction,
    WheelSpeed,
)
from fusion_rt.models.package import ModelPackage
from fusion_rt.perception import LIDAR_ALONE, MODALITIES, Perception
from fusion_rt.percepts import Explanation, ImageFeatures, Motion, Perceived, Sweep, View
from fusion_rt.rig import Rig
from fusion_rt.stopwatch import Stopwatch
from fusion_rt.tracking.config import TrackerConfig
from fusion_rt.tracking.detections import Detections
from fusion_rt.tracking.objects import tracked_objects
from fusion_rt.tracking.tracker import Tracker
from fusion_rt.transforms import Array, from_rotation_translation, matrix_from_quaternion

SWEEP_KNOTS = 5  # over 0.1 s the ego motion is smooth: five poses leave less than a millimetre
MEMORY_S = 0.5  # an older canvas tells the network nothing that it was trained on


class PipelineConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The engine: `fusion:` in a scenario.

    model      a preset's name or a folder with a model package
    runtime    "auto": the fastest that works on this machine; or one by its name: "openvino", "onnxruntime",
               "torch", and on an NVIDIA card "tensorrt", "tensorrt-rtx", "torch-cuda", "onnxruntime-cuda";
               with the DLA core of a Jetson "tensorrt-dla0" or "tensorrt-dla1"
    precision  "int8", "f16", "f32"; null: the model package's own choice, on a GPU "f16"
    device     of the kernels: "cpu"; "cuda", an NVIDIA card; "auto": the card with a runtime that runs on it
    unified_memory  of a card that shares the CPU's memory (Jetson): its kernels read what sensors gave where
               the host has it, without an upload
    threads    of the kernels and of the network, on the CPU
    detectors  name -> a detector of your own beside it: docs/detectors.md
    """

    model: str = "driving-s"
    runtime: str = AUTO
    precision: str | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    unified_memory: bool = False
    threads: Annotated[int, Meta(ge=1, le=64)] = 2
    align: AlignConfig = AlignConfig()
    ego: EgoConfig = EgoConfig()
    tracker: TrackerConfig = TrackerConfig()
    detectors: dict[str, DetectorUse] = {}

    def __post_init__(self) -> None:
        if self.unified_memory and self.device == "cpu":
            raise ConfigError(
                "unified_memory is of a card, and `device: cpu` wants none; take one of them out"
            )


class FusionPipeline:
    """All state between packets. Not thread-safe; one owner pushes packets one after the other.

    clock, where given, returns monotonic ns; it is only used to report how long the stages took."""

    def __init__(
        self,
        config: PipelineConfig,
        rig: Rig,
        device: CpuDevice,
        package: ModelPackage,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self.config, self.rig = config, rig
        self._watch = Stopwatch(clock)
        card, why = _card(config)
        self._engines = EngineLadder(
            package,
            device,
            rungs(
                config.runtime,
                config.precision,
                package,
                card=card is not None,
                only_card=config.device == "cuda",
            ),
            card=card,
            why_no_card=why,
            wait=clock is None,  # the same answers each time
            strict=config.runtime != AUTO,
            lap=self._watch.lap,
        )
        self._modality = rig.modalities()
        if not rig.lidars and not rig.cameras:
            raise ConfigError("the rig has neither a lidar nor a camera: there is nothing to perceive with")
        self._T_ego_lidar = {name: lidar.T_ego_lidar for name, lidar in rig.lidars.items()}
        self._T_camera_ego = {name: camera.T_camera_ego for name, camera in rig.cameras.items()}
        self._aligner = Aligner(config.align, self._modality)
        self._ego = EgoFilter(rig, config.ego)
        enabled = config.ego.odometry.enabled
        self._odometry = LidarOdometry(config.ego.odometry, rig) if enabled else None
        self._deskew = device.kernel("deskew")
        self._span = Span(device.threads, device.instruction_set)
        self._tracker = Tracker(
            config.tracker, package.spec.classes, MODALITIES, package.spec.score_thresholds
        )
        self._classes = package.spec.classes
        self._same_iou = [package.spec.nms_iou[label] for label in self._classes]
        self._lookout = Lookout(config.detectors, rig, classes=self._classes, device=device)
        self._features: dict[str, tuple[Perception, ImageFeatures]] = {}  # and who encoded it
        self._seen_ms: dict[str, dict[str, float]] = {}  # camera -> stages of its last image
        self._inside_us = 0  # boxes found where our own vehicle is
        self._seq = 0
        self._remembered: EgoState | None = None  # where we were when the network last looked
        self._frame: int | None = None  # in which the tracks are; None: in the ego frame

    @classmethod
    def from_config(
        cls, config: PipelineConfig, rig: Rig, clock: Callable[[], int] | None = None
    ) -> FusionPipeline:
        """Raises ConfigError, EngineError or DeviceError when something does not fit."""
        return cls(config, rig, CpuDevice(config.threads), ModelPackage.load(config.model), clock)

    def push(self, packet: Packet) -> Prediction | None:
        """One packet in; a prediction when it asks for one. A packet that cannot be used is counted."""
        self._watch.start()
        verdict = self._aligner.push(packet)
        if not verdict.accepted:
            return None
        if verdict.restarted:
            self._restart()
        self._watch.lap("align")
        if isinstance(packet, (ImuSample, GnssFix, WheelSpeed)):
            self._ego.push(packet)
            self._watch.lap("ego")
        elif isinstance(packet, Image):
            self._see(packet)
        elif isinstance(packet, PointCloud) and self._odometry is not None:
            self._travel(packet, self._odometry)
        return self._answer(verdict.trigger_ns) if verdict.trigger_ns is not None else None

    def explain(self) -> Explanation:
        """Why the network said what it last said; takes as long as three more looks."""
        return self._engines.perception.explain()

    @property
    def counters(self) -> dict[str, dict[str, int]]:
        """Packets accepted and dropped, by sensor and cause; "ego", "odometry", "tracker",
        "detectors" and "engine" count what they refused."""
        refused = {**self._tracker.refused, "own_vehicle": self._inside_us}
        own = {
            "ego": dict(self._ego.counters),
            "odometry": {} if self._odometry is None else dict(self._odometry.counters),
            "tracker": {k: n for k, n in refused.items() if n},
            "detectors": dict(self._lookout.refused),
            "engine": {k: n for k, n in self._engines.counters.items() if n},
        }
        return {**self._aligner.counters, **{name: counts for name, counts in own.items() if counts}}

    def _restart(self) -> None:
        """Time began anew: nothing from before belongs to it."""
        self._ego = EgoFilter(self.rig, self.config.ego)
        if self._odometry is not None:
            self._odometry.restart()
        self._tracker.reset()
        self._features.clear()
        self._lookout.forget()
        self._remembered = None

    def _see(self, image: Image) -> None:
        """Encode on arrival: the features wait for the trigger."""
        sensor = image.header.sensor_id
        camera, bgr = self.rig.cameras[sensor], image.encoding != "rgb8"
        try:
            pixels = camera_pixels(image, camera)
        except MessageError:
            self._aligner.refuse(image, "malformed")
            return
        self._watch.lap("image_decode")
        features = self._engines.attempt(lambda engine: engine.encode(pixels, camera, bgr=bgr))
        if features is None:
            self._aligner.refuse(image, "engine")
            return
        self._features[sensor] = self._engines.perception, features
        if self._lookout.watches(sensor):
            self._lookout.see(sensor, pixels, bgr=bgr)
            self._watch.lap("detect")
        self._seen_ms[sensor] = self._watch.take_ms()

    def _travel(self, cloud: PointCloud, odometry: LidarOdometry) -> None:
        """What a sweep tells of our own motion: deskewed by the pose so far, which it then corrects."""
        if cloud.header.sensor_id != odometry.lidar:
            return
        stamp, xyz = cloud.header.stamp_ns, np.empty(cloud.xyz.shape, np.float32)
        sweep = self._sweep(cloud, stamp)
        given = (np.ascontiguousarray(cloud.xyz), np.ascontiguousarray(cloud.t))
        self._deskew(*given, sweep.knots_t, sweep.knots_T, xyz)
        travel = odometry.push(stamp, xyz)
        if travel is not None:
            self._ego.travel(travel)
        self._watch.lap("odometry")

    def _answer(self, stamp_ns: int) -> Prediction:
        """align -> preprocess -> encode -> fuse -> decode -> track -> forecast."""
        self._engines.climb()
        snapshot = self._aligner.snapshot(stamp_ns)
        if any(sensor in snapshot.packets for sensor in self.rig.lidars):
            self._engines.perception.clear()
        ego = self._ego.state_at(stamp_ns)
        self._watch.lap("ego")
        motion = self._motion(ego)
        with contextlib.suppress(DeviceError, EngineError):  # `detect` tries it again, and is told
            self._engines.perception.recall(motion)
        sweeps, views = self._sweeps(snapshot, stamp_ns), self._views(snapshot, stamp_ns)
        perceived = None
        if sweeps or views:
            perceived = self._engines.attempt(
                lambda engine: engine.detect(sweeps, self._shown(engine, snapshot, views), motion)
            )
            self._remembered = ego if perceived is not None else None
        looked = perceived is not None
        found, detectors = self._find(perceived, sweeps)
        frame = self._ego.frame_at(stamp_ns)
        if frame != self._frame:  # without a pose it is the ego frame: nothing stays where it was
            self._tracker.reset()
            self._frame = frame
        T_map_ego = pose_matrix(ego)
        images, seeing = self._lookout.seen({sensor: v.T_camera_ego for sensor, v in views.items()})
        tracks = self._tracker.update(
            found,
            stamp_ns=stamp_ns,
            T_map_ego=T_map_ego,
            images=images,
            lidar=looked and bool(sweeps),
        )
        self._watch.lap("track")
        objects = tracked_objects(
            tracks,
            stamp_ns=stamp_ns,
            T_map_ego=T_map_ego,
            ego=ego,
            local_map=self._ego.map if frame == 0 else None,
            vehicle=self.rig.vehicle,
            classes=self._classes,
            modalities=MODALITIES,
        )
        self._watch.lap("forecast")
        self._seq += 1
        return Prediction(
            header=Header(sensor_id="fusion", frame_id="ego", seq=self._seq - 1, stamp_ns=stamp_ns),
            objects=objects,
            ego=ego,
            certificate=self._certificate(
                snapshot, ego, perceived, detectors | seeing, looked and bool(sweeps), looked and bool(views)
            ),
        )

    def _shown(self, engine: Perception, snapshot: Snapshot, views: dict[str, View]) -> list[View]:
        """The views for an engine. Images that another one encoded are encoded anew: what it made of them may
        lie on a card that is lost."""
        shown = dict(views)
        for sensor, view in views.items():
            if self._features[sensor][0] is engine:
                continue
            image = snapshot.packets[sensor]
            assert isinstance(image, Image)
            features = engine.see(image, self.rig.cameras[sensor])
            self._features[sensor] = engine, features
            shown[sensor] = View(features, view.T_camera_ego)
        return list(shown.values())

    def _find(
        self, perceived: Perceived | None, sweeps: list[Sweep]
    ) -> tuple[Detections | None, dict[str, str]]:
        """What the network found, and what detectors of the lidars add, but not ourselves; whose that is:
        name -> identity."""
        if perceived is None:
            return None, {}
        boxes, (others, identities) = perceived.detections, self._lookout.find(sweeps)
        for more in others:
            boxes = merged(boxes, more, iou=self._same_iou, share=LIDAR_ALONE)
        if any(self._lookout.watches(sweep.cloud.header.sensor_id) for sweep in sweeps):
            self._watch.lap("detect")
        ourselves = self.rig.vehicle.covers(boxes.boxes)
        if ourselves.any():
            self._inside_us += int(ourselves.sum())
            boxes = boxes.where(~ourselves)
        return boxes, identities

    def _sweeps(self, snapshot: Snapshot, stamp_ns: int) -> list[Sweep]:
        """Usable point clouds with the lidar's pose through each sweep, in the ego frame at stamp_ns."""
        clouds = (snapshot.packets.get(sensor) for sensor in self.rig.lidars)
        return [self._sweep(cloud, stamp_ns) for cloud in clouds if isinstance(cloud, PointCloud)]

    def _sweep(self, cloud: PointCloud, stamp_ns: int) -> Sweep:
        knots_t = sweep_knots(*self._span(np.ascontiguousarray(cloud.t), SWEEP_S))
        at = [cloud.header.stamp_ns + round(t * 1e9) for t in knots_t.tolist()]
        T_ego_lidar = self._T_ego_lidar[cloud.header.sensor_id]
        knots_T = (self._ego.relative(at, stamp_ns) @ T_ego_lidar)[:, :3].astype(np.float32)
        return Sweep(cloud, knots_t, knots_T)

    def _views(self, snapshot: Snapshot, stamp_ns: int) -> dict[str, View]:
        """Waiting image features by camera, each with its camera where it was when the image was taken."""
        views = {}
        for sensor, T_camera_ego in self._T_camera_ego.items():
            image = snapshot.packets.get(sensor)
            if image is not None and sensor in self._features:
                (T_then_now,) = self._ego.relative([stamp_ns], image.header.stamp_ns)
                views[sensor] = View(self._features[sensor][1], T_camera_ego @ T_then_now)
        return views

    def _motion(self, ego: EgoState) -> Motion:
        """How we move, and where the network's memory lies: no memory where either pose is unknown."""
        if ego.source == "none":
            return Motion()
        before, speed = self._remembered, math.hypot(*ego.velocity[:2])
        since_s = (ego.stamp_ns - before.stamp_ns) / 1e9 if before is not None else 0.0
        if before is None or before.source == "none" or not 0 < since_s <= MEMORY_S:
            return Motion(known=True, speed=speed, yaw_rate=ego.angular_rate[2])
        (T_prev_now,) = self._ego.relative([ego.stamp_ns], before.stamp_ns)
        gained = speed - math.hypot(*before.velocity[:2])
        return Motion(
            known=True,
            speed=speed,
            yaw_rate=ego.angular_rate[2],
            # A correction of the filter is no jerk of the car: more than brakes can do is not believed.
            acceleration=min(max(gained / since_s, -10.0), 10.0),
            T_prev_now=T_prev_now[:2].take((0, 1, 3), axis=1).astype(np.float32),
            since_prev_s=since_s,
        )

    def _certificate(
        self,
        snapshot: Snapshot,
        ego: EgoState,
        perceived: Perceived | None,
        detectors: dict[str, str],
        lidar: bool,
        camera: bool,
    ) -> Certificate:
        rung, reason = ladder(snapshot, lidar, camera)
        if perceived is None and self._engines.failure:
            reason = ", ".join(filter(None, (reason, self._engines.failure)))
        engine = self._engines.perception
        elapsed_s = self._watch.elapsed_s
        deadline_s = self.config.align.deadline_s
        return Certificate(
            sensors=snapshot.sensors,
            motion_compensation=ego.source,
            points_in=perceived.points_in if perceived else 0,
            points_dropped=perceived.points_dropped if perceived else {},
            boxes_dropped=perceived.boxes_dropped if perceived else {},
            model=engine.package.identity,
            detectors=detectors,
            engine=engine.engine_identity,
            engine_reason=self._engines.reason,
            precision=engine.precision,
            device=engine.device_name,
            stage_ms=self._stages_ms(snapshot),
            deadline_s=deadline_s,
            deadline_met=None if elapsed_s is None else elapsed_s <= deadline_s,
            rung=rung,
            reason=reason,
        )

    def _stages_ms(self, snapshot: Snapshot) -> dict[str, float]:
        """What the packet that asked took, and before it the images that went into its answer."""
        total: dict[str, float] = {}
        images = [self._seen_ms[camera] for camera in self.rig.cameras if camera in snapshot.packets]
        for stages in (*images, self._watch.take_ms()):
            for stage, ms in stages.items():
                total[stage] = round(total[stage] + ms, 3) if stage in total else ms
        return total


def _card(config: PipelineConfig) -> tuple[CardDevice | None, str]:
    """The card, where one is asked for and there; else why not. Raises DeviceError where there must be
    one, or it is not of the kind that is asked for."""
    if config.device == "cpu" or (config.device == "auto" and config.runtime not in (AUTO, *CARD_RUNTIMES)):
        return None, ""
    card, why = find_gpu(config.threads)
    if card is None and config.device == "cuda":
        raise DeviceError(
            f"{why or 'there is no NVIDIA card here'}; see `fusion-rt doctor`, or use `device: cpu`"
        )
    if card is not None and config.unified_memory:
        card.share_memory()
    return card, why


def ladder(snapshot: Snapshot, lidar: bool, camera: bool) -> tuple[str, str]:
    """How complete an answer is, and what it lacks: (rung, reason)."""
    lacking = [f"{s.sensor_id} {s.status}" for s in snapshot.sensors if s.status != "used"]
    reason = ", ".join(lacking)
    if not lidar and not camera:
        return "coasting", reason
    if not lacking:
        return "all", ""
    modalities = {s.modality for s in snapshot.sensors}
    if lidar and camera:
        return "in_time", reason
    if lidar:
        return ("lidar_only" if "camera" in modalities else "in_time"), reason
    return ("camera_only" if "lidar" in modalities else "in_time"), reason


def sweep_knots(low: float, high: float) -> Array:
    """(K,) float32, increasing: the times at which the motion of a sweep from low to high (s) is sampled; one
    where its points share one time."""
    if high - low <= 1e-6:  # closer ones may be one float32
        return np.array([low], np.float32)
    step = (high - low) / (SWEEP_KNOTS - 1)
    return np.array([*(i * step + low for i in range(SWEEP_KNOTS - 1)), high], np.float32)


def pose_matrix(ego: EgoState) -> Array:
    """T_map_ego, (4, 4)."""
    return from_rotation_translation(matrix_from_quaternion(ego.orientation), np.array(ego.position))
