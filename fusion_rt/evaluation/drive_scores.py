"""Answers against the truth of a drive, and what they come to for each class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from msgspec import Struct

from fusion_rt.logs.truth import TruthFrame, TruthObject
from fusion_rt.messages import Prediction, TrackedObject
from fusion_rt.metrics.amota import TrackedMoment, amota, matched
from fusion_rt.transforms import Array, inverse, wrap_angle

REACH_M, ASIDE_M, MIN_POINTS = 70.0, 35.0, 3
MATCH_M = 2.0
KNOWN_HITS = 5  # boxes after which a track's motion is judged
HORIZONS_S = (1.0, 2.0, 3.0)


class DriveRow(Struct, frozen=True, kw_only=True):
    """One class. mota, amota, precision, recall 0..1; None where there was nothing to divide by. position_m,
    velocity_mps, velocity_moving_mps: mean errors, as nuScenes' ATE and AVE; velocity_rms_mps: the root of
    the mean square."""

    label: str
    objects: int
    recall: float | None
    precision: float | None
    mota: float | None
    amota: float | None
    switches: int
    position_m: float | None
    velocity_mps: float | None
    velocity_rms_mps: float | None
    velocity_moving_mps: float | None
    yaw_deg: float | None
    nees: float | None
    forecast_m: tuple[float | None, ...]


class _Sums:
    """Of one class, over all drives."""

    def __init__(self) -> None:
        self.objects = self.found = self.wrong = self.switches = 0
        self.position: list[float] = []
        self.velocity: list[float] = []
        self.moving: list[float] = []
        self.yaw: list[float] = []
        self.nees: list[float] = []
        self.forecast: dict[float, list[float]] = {h: [] for h in HORIZONS_S}
        self.drives: list[list[TrackedMoment]] = []

    def join(self, other: _Sums) -> None:
        """Other drives behind these."""
        self.objects += other.objects
        self.found += other.found
        self.wrong += other.wrong
        self.switches += other.switches
        self.position += other.position
        self.velocity += other.velocity
        self.moving += other.moving
        self.yaw += other.yaw
        self.nees += other.nees
        for h, errors in other.forecast.items():
            self.forecast[h] += errors
        self.drives += other.drives


class Comparison:
    """Predictions against the truth, drive by drive."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._sums = {label: _Sums() for label in classes}
        self.speed_errors: list[float] = []
        self.drives = self.predictions = 0

    def add(
        self,
        answers: Iterable[Prediction],
        frames: Sequence[TruthFrame],
        *,
        due: Sequence[TruthFrame] = (),
    ) -> None:
        """One drive. Answers at stamps without a truth are counted and not compared; of the frames that are
        `due` and have no answer, all objects are missed."""
        at = {frame.stamp_ns: frame for frame in frames}
        numbers: dict[int, int] = {}  # true track -> ours
        answered: set[int] = set()
        self.drives += 1
        for sums in self._sums.values():
            sums.drives.append([])
        for answer in answers:
            self.predictions += 1
            frame = at.get(answer.header.stamp_ns)
            if frame is None:
                continue
            for label, sums in self._sums.items():
                _compare(answer, frame, at, label, sums, numbers)
            if answer.ego.source != "none":
                ours, true = np.linalg.norm(answer.ego.velocity), np.linalg.norm(frame.velocity)
                self.speed_errors.append(float(ours - true))
            answered.add(frame.stamp_ns)
        for frame in due:
            if frame.stamp_ns not in answered:
                for label, sums in self._sums.items():
                    moment = _moment([o for o in frame.objects if o.label == label], [])
                    sums.drives[-1].append(moment)
                    sums.objects += int(moment.counts.sum())

    def join(self, other: Comparison) -> None:
        """The drives of another comparison of the same classes behind these: the same as adding them here."""
        for label, sums in self._sums.items():
            sums.join(other._sums[label])
        self.speed_errors += other.speed_errors
        self.drives += other.drives
        self.predictions += other.predictions

    def rows(self) -> tuple[DriveRow, ...]:
        """One a class."""
        return tuple(_row(label, sums) for label, sums in self._sums.items())


def _compare(
    prediction: Prediction,
    frame: TruthFrame,
    frames: dict[int, TruthFrame],
    label: str,
    sums: _Sums,
    numbers: dict[int, int],
) -> None:
    true = [o for o in frame.objects if o.label == label]
    ours = [o for o in prediction.objects if o.label == label and _within(o.center)]
    moment = _moment(true, ours)
    sums.drives[-1].append(moment)
    pairs = matched(moment.true, moment.ours, MATCH_M)
    sums.objects += int(moment.counts.sum())
    sums.wrong += len(ours) - len(pairs)
    for i, j in pairs.items():
        if not moment.counts[i]:
            continue
        t, o = true[i], ours[j]
        sums.found += 1
        sums.switches += numbers.get(t.track_id, o.track_id) != o.track_id
        numbers[t.track_id] = o.track_id
        if o.hits >= KNOWN_HITS:
            _judge(t, o, frame, frames, sums)


def _moment(true: Sequence[TruthObject], ours: Sequence[TrackedObject]) -> TrackedMoment:
    return TrackedMoment(
        true=np.array([t.center[:2] for t in true]).reshape(-1, 2),
        true_ids=tuple(t.track_id for t in true),
        counts=np.array([_counts(t) for t in true], bool),
        ours=np.array([o.center[:2] for o in ours]).reshape(-1, 2),
        our_ids=tuple(o.track_id for o in ours),
        scores=np.array([o.existence for o in ours]),
    )


def _judge(
    t: TruthObject, o: TrackedObject, frame: TruthFrame, frames: dict[int, TruthFrame], sums: _Sums
) -> None:
    off = np.array(o.center[:2]) - t.center[:2]
    sums.position.append(float(np.hypot(*off)))
    spread = np.array(o.box_covariance).reshape(4, 4)[:2, :2]
    sums.nees.append(float(off @ np.linalg.solve(spread, off)))
    sums.yaw.append(float(np.degrees(abs(wrap_angle(o.yaw - t.yaw)))))
    speed_error = float(np.hypot(*(np.array(o.velocity) - t.velocity)))
    sums.velocity.append(speed_error)
    if np.hypot(*t.velocity) > 1.0:
        sums.moving.append(speed_error)
    T_ego_map = inverse(_pose(frame))
    for point in o.forecast:
        later = frames.get(frame.stamp_ns + round(point.t_s * 1e9))
        there = None if later is None else next((x for x in later.objects if x.track_id == t.track_id), None)
        if point.t_s in sums.forecast and later is not None and there is not None:
            x, y, *_ = T_ego_map @ _pose(later) @ np.array([*there.center, 1.0])
            sums.forecast[point.t_s].append(float(np.hypot(point.x - x, point.y - y)))


def _row(label: str, sums: _Sums) -> DriveRow:
    missed = sums.objects - sums.found
    return DriveRow(
        label=label,
        objects=sums.objects,
        recall=sums.found / sums.objects if sums.objects else None,
        precision=sums.found / (sums.found + sums.wrong) if sums.found + sums.wrong else None,
        mota=1 - (missed + sums.wrong + sums.switches) / sums.objects if sums.objects else None,
        amota=amota(sums.drives, MATCH_M),
        switches=sums.switches,
        position_m=_mean(sums.position),
        velocity_mps=_mean(sums.velocity),
        velocity_rms_mps=root_mean_square(sums.velocity),
        velocity_moving_mps=_mean(sums.moving),
        yaw_deg=float(np.median(sums.yaw)) if sums.yaw else None,
        nees=_mean(sums.nees),
        forecast_m=tuple(_mean(v) for v in sums.forecast.values()),
    )


def _counts(thing: TruthObject) -> bool:
    return thing.points >= MIN_POINTS and _within(thing.center)


def _within(center: Sequence[float]) -> bool:
    return 0 <= center[0] <= REACH_M and abs(center[1]) <= ASIDE_M


def _pose(frame: TruthFrame) -> Array:
    return np.array(frame.T_map_ego).reshape(4, 4)


def _mean(values: Sequence[float]) -> float | None:
    """None of none."""
    return float(np.mean(values)) if len(values) else None


def root_mean_square(values: Sequence[float]) -> float | None:
    """None of none."""
    return float(np.sqrt(np.mean(np.square(values)))) if len(values) else None
