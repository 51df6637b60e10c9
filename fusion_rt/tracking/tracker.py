"""Many objects over time: constant turn rate and velocity, gates by distance, birth and death by probability.

Works in the map frame, so the ego vehicle's own motion is out of the picture; without a known pose the map is
the ego frame of the first answer, and everything seems to move with us. The arithmetic is C++, in tracker.h:
a few numbers of a few dozen objects are not worth numpy's hundred calls.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from fusion_rt.errors import MessageError
from fusion_rt.outlines import outlines
from fusion_rt.tracking import core
from fusion_rt.tracking.config import TrackerConfig
from fusion_rt.tracking.detections import Detections
from fusion_rt.tracking.image_boxes import ImageBoxes, compared, paired
from fusion_rt.tracking.tracks import Tracks, boxes_in_ego, track_dtype
from fusion_rt.transforms import Array


class Tracker:
    """Pure: equal detections give equal tracks; the order of the boxes does not matter but for ties.

    birth_scores: class -> score from which a box begins a track, where the configuration names none."""

    def __init__(
        self,
        config: TrackerConfig,
        classes: Sequence[str],
        modalities: Sequence[str],
        birth_scores: Mapping[str, float],
    ) -> None:
        self.config = config
        motions = config.motions(classes)
        self.rounded = np.array([m.rounded for m in motions])
        births = [birth_scores[c] if config.birth_score is None else config.birth_score for c in classes]
        self._motions = np.array(
            [
                (m.accel, m.turn_accel, m.yaw_std, m.speed_std, m.max_turn, birth)
                for m, birth in zip(motions, births)
            ]
        )
        self._settings = core.settings(config, self._motions, len(modalities))
        self._settings_at = ctypes.addressof(self._settings)
        self._core = core.library()
        self._dtype = track_dtype(len(classes), len(modalities))
        self._count = 0  # of the rows, those that are tracks
        self._make_room(64)
        self._pose = np.eye(4)
        self._pose_at = core.address(self._pose)
        self._refused = ctypes.c_int64()
        self._stamp_ns: int | None = None
        self._next_id = 1

    def update(
        self,
        detections: Detections | None,
        *,
        stamp_ns: int,
        T_map_ego: Array,
        images: Sequence[ImageBoxes] = (),
        lidar: bool = True,
    ) -> Tracks:
        """Move all tracks to the stamp, take the boxes in; None: nothing was looked at, tracks coast.
        images: what detectors saw in images makes boxes surer or less sure, and keeps tracks alive.
        lidar: whether one looked, or cameras alone, which miss more.

        Returns a copy of the confirmed tracks, likeliest first. Raises MessageError for boxes of other
        classes or modalities than the tracker's."""
        dt = 0.0 if self._stamp_ns is None else (stamp_ns - self._stamp_ns) / 1e9
        self._stamp_ns = stamp_ns
        self._count = self._core.frt_tracks_predict(*self._those, stamp_ns, dt)
        if detections is not None:
            self._look(detections, stamp_ns, T_map_ego, images, lidar)
        self._count = self._core.frt_tracks_drop(*self._those, stamp_ns, detections is not None)
        shown, shown_at = core.new_rows(self._count, self._dtype)
        return shown[: self._core.frt_tracks_show(*self._those, shown_at)]

    @property
    def refused(self) -> Counter[str]:
        """Boxes that were of no use, by cause."""
        return Counter({"not_finite": self._refused.value} if self._refused.value else {})

    def reset(self) -> None:
        """Forget everything but which numbers were given."""
        self._count, self._stamp_ns = 0, None

    @property
    def _those(self) -> tuple[int, int, int]:
        """The tracks, as the functions of core.cpp are told of them."""
        return self._settings_at, self._rows_at, self._count

    def _look(
        self,
        detections: Detections,
        stamp_ns: int,
        T_map_ego: Array,
        images: Sequence[ImageBoxes],
        lidar: bool,
    ) -> None:
        shape = detections.scores.shape[1:], detections.contributions.shape[1:]
        if shape != ((self._settings.classes,), (self._settings.modalities,)):
            raise MessageError(
                f"detections of {shape[0]} classes and {shape[1]} modalities for a tracker of"
                f" {self._settings.classes} and {self._settings.modalities}"
            )
        if images:
            good = detections.finite
            self._refused.value += int((~good).sum())
            detections = detections.where(good)
        unused = []
        for image in images:
            detections, free = compared(detections, image, self.rounded, self.config)
            unused.append(free)
        self._take(detections, stamp_ns, T_map_ego, lidar)
        for image, free in zip(images, unused):
            self._witness(image, free, stamp_ns, T_map_ego)

    def _take(self, detections: Detections, stamp_ns: int, T_map_ego: Array, lidar: bool) -> None:
        """The likeliest pairs of tracks and boxes; strong boxes that are left begin tracks."""
        m = len(detections.boxes)
        if self._count + m > len(self._rows):
            self._make_room(2 * (self._count + m))
        detections.pack(self._boxes[:m])
        self._pose[:] = T_map_ego
        count = self._core.frt_tracks_take(
            *self._those,
            *(self._boxes_at, m, self._pose_at, stamp_ns),
            self.config.detection if lidar else self.config.detection_camera,
            *(self._next_id, ctypes.addressof(self._refused)),
        )
        if count < 0:
            raise MessageError(f"detections.labels: one is not of the {self._settings.classes} classes")
        self._next_id += count - self._count
        self._count = count

    def _make_room(self, n: int) -> None:
        """For n tracks and n boxes; the tracks so far stay."""
        rows, self._rows_at = core.new_rows(n, self._dtype)
        if self._count:
            rows[: self._count] = self._rows[: self._count]
        self._rows: Tracks = rows
        width = core.BOX_NUMBERS + self._settings.classes + self._settings.modalities
        self._boxes = np.empty((n, width))
        self._boxes_at = core.address(self._boxes)

    def _witness(self, image: ImageBoxes, free: Array, stamp_ns: int, T_map_ego: Array) -> None:
        """Tracks that no box continued, but that the image shows about where they should be."""
        tracks = self._rows[: self._count]
        (unseen,) = (tracks["seen_ns"] != stamp_ns).nonzero()
        tracks = tracks[unseen]
        boxes, kinds = boxes_in_ego(tracks, T_map_ego), tracks["log_classes"].argmax(axis=1)
        seen = outlines(boxes, self.rounded[kinds], image.camera, image.T_camera_ego)
        shows = np.full(self._count, -1, np.int32)
        shows[unseen] = paired(seen, kinds, image, self.config.image_follow, free)
        scores = np.ascontiguousarray(image.scores, np.float64)
        self._core.frt_tracks_witness(*self._those, core.address(shows), core.address(scores), stamp_ns)
