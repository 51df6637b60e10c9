"""What a detector beside the network is worth: the same rows with what it says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fusion_rt.detectors.image_detector import ImageDetector
from fusion_rt.detectors.merging import merged
from fusion_rt.detectors.point_detector import PointDetector
from fusion_rt.models.package import ModelSpec
from fusion_rt.perception import LIDAR_ALONE
from fusion_rt.percepts import Sweep
from fusion_rt.rig import Camera
from fusion_rt.tracking.config import TrackerConfig
from fusion_rt.tracking.detections import Detections
from fusion_rt.tracking.image_boxes import compared
from fusion_rt.transforms import Array


class LateFusion:
    """base: the rows that it begins with; name: those that it makes. spec: the network's."""

    base = "lidar+camera"

    def __init__(self, detector: ImageDetector | PointDetector, spec: ModelSpec) -> None:
        self.name = f"{self.base}+{detector.recipe.name}"
        self._detector, self._config = detector, TrackerConfig()
        self._rounded = np.array([motion.rounded for motion in self._config.motions(spec.classes)])
        self._same_iou = [spec.nms_iou[label] for label in spec.classes]

    def judged(self, boxes: Detections, sweeps: Sequence[Sweep], pixels: Array, camera: Camera) -> Detections:
        """The boxes as the tracker takes them when the detector has looked at the sweeps or at the image,
        pixels (h, w, 3) BGR, of their moment. Raises EngineError where it gives numbers that are none."""
        if isinstance(self._detector, PointDetector):
            for sweep in sweeps:
                boxes = merged(boxes, self._detector.look(sweep), iou=self._same_iou, share=LIDAR_ALONE)
            return boxes
        seen = self._detector.look(pixels, camera, bgr=True)
        image = self._detector.placed(seen, camera, camera.T_camera_ego)
        return compared(boxes, image, self._rounded, self._config)[0]
