"""The detectors of a pipeline: `detectors:` in its configuration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec import Struct

from fusion_rt.detectors import folder
from fusion_rt.detectors.image_detector import ImageDetector, Seen
from fusion_rt.detectors.point_detector import PointDetector
from fusion_rt.detectors.recipe import nearest
from fusion_rt.device import Device
from fusion_rt.errors import ConfigError, EngineError
from fusion_rt.percepts import Sweep
from fusion_rt.rig import Rig
from fusion_rt.tracking.detections import Detections
from fusion_rt.tracking.image_boxes import ImageBoxes
from fusion_rt.transforms import Array


class DetectorUse(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One detector at work.

    model   a folder that `fusion-rt model add` made
    sensor  the camera or lidar that it looks through
    """

    model: str
    sensor: str


class Lookout:
    """Detectors that look at images as they come, and what each saw last; and those that look at sweeps.

    refused  "NAME.failed" -> looks that gave no numbers, or not as many as they should
    Raises ConfigError, EngineError where a detector does not load or the rig has no such sensor."""

    def __init__(
        self, uses: Mapping[str, DetectorUse], rig: Rig, *, classes: tuple[str, ...], device: Device
    ) -> None:
        self._cameras = rig.cameras
        self._image: dict[str, dict[str, ImageDetector]] = {}  # camera -> name -> detector
        self._point: dict[str, dict[str, PointDetector]] = {}  # lidar -> name -> detector
        self._seen: dict[str, dict[str, Seen]] = {}  # camera -> name -> its last image
        self.refused: Counter[str] = Counter()
        for name, use in uses.items():
            detector = folder.load(use.model, classes=classes, device=device)
            kind = detector.recipe.sensor
            fitting = tuple(sensor for sensor, found in rig.modalities().items() if found == kind)
            if use.sensor not in fitting:
                hint = nearest(use.sensor, fitting) if fitting else "; there is none"
                raise ConfigError(f"detectors.{name}.sensor: {use.sensor!r} is no {kind} of the rig{hint}")
            if isinstance(detector, ImageDetector):
                self._image.setdefault(use.sensor, {})[name] = detector
            else:
                self._point.setdefault(use.sensor, {})[name] = detector

    def watches(self, sensor: str) -> bool:
        """Whether a detector looks through that sensor."""
        return sensor in self._image or sensor in self._point

    def see(self, camera: str, pixels: Array, *, bgr: bool) -> None:
        """The camera's detectors look at an image, (h, w, 3) uint8; what they see waits."""
        seen = self._seen[camera] = {}
        for name, detector in self._image[camera].items():
            try:
                seen[name] = detector.look(pixels, self._cameras[camera], bgr=bgr)
            except EngineError:
                self.refused[f"{name}.failed"] += 1

    def seen(self, T_camera_ego: Mapping[str, Array]) -> tuple[list[ImageBoxes], dict[str, str]]:
        """What waits from these cameras, each where it was, (4, 4), seen from the ego frame at the answer;
        and whose it is: name -> identity."""
        boxes, identities = [], {}
        for camera, T in T_camera_ego.items():
            for name, seen in self._seen.get(camera, {}).items():
                detector = self._image[camera][name]
                boxes.append(detector.placed(seen, self._cameras[camera], T))
                identities[name] = detector.identity
        return boxes, identities

    def find(self, sweeps: Sequence[Sweep]) -> tuple[list[Detections], dict[str, str]]:
        """What the lidars' detectors find in these sweeps, in the ego frame at the answer; and whose it
        is."""
        boxes, identities = [], {}
        for sweep in sweeps:
            for name, detector in self._point.get(sweep.cloud.header.sensor_id, {}).items():
                try:
                    boxes.append(detector.look(sweep))
                except EngineError:
                    self.refused[f"{name}.failed"] += 1
                else:
                    identities[name] = detector.identity
        return boxes, identities

    def forget(self) -> None:
        """What was seen."""
        self._seen.clear()
