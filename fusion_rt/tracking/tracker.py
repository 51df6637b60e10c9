"""Many objects over time: constant turn rate and velocity, Mahalanobis gating, birth and death by probability.

Works in the map frame, so the ego vehicle's own motion is out of the picture; without a known pose the map is the
ego frame of the first answer, and everything seems to move with us.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct, field, structs

from fusion_rt.tracking.assignment import assign
from fusion_rt.tracking.detections import Detections
from fusion_rt.tracking.motion import SPEED, TURN, YAW, X, Y, predict
from fusion_rt.transforms import Array, transform_points, wrap_angle, yaw_of

Positive = Annotated[float, Meta(gt=0)]
Probability = Annotated[float, Meta(gt=0, lt=1)]


class ClassMotion(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What objects of a class do unannounced: m/s^2, rad/s^2; and how well a box tells the yaw, rad."""

    accel: Positive
    turn_accel: Positive
    yaw_std: Positive
    max_turn: Positive = 1.5


class TrackerConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One set for all classes: `tracker:` in a scenario.

    gate            squared Mahalanobis distance (x, y) beyond which a box is no candidate
    other_class     added to it where the class differs
    birth_score     a box must score this to begin a track; weaker ones only continue tracks
    confirm_hits    boxes before a track is shown
    confirm         existence probability from which it is shown
    drop            below which it is forgotten
    detection       probability that an object that is there gives a box
    survival_s      mean time for which an unseen object stays believable
    max_coast_s     longest time without a box
    position_std_m  floor of a box's position noise
    velocity_std    noise of the network's velocity, m/s
    horizon_s       length of the forecast
    """

    gate: Positive = 14.0
    other_class: Positive = 6.0
    birth_score: Probability = 0.3
    confirm_hits: Annotated[int, Meta(ge=1)] = 2
    confirm: Probability = 0.5
    drop: Probability = 0.08
    detection: Probability = 0.75
    survival_s: Positive = 3.0
    max_coast_s: Positive = 1.0
    position_std_m: Positive = 0.15
    velocity_std: Positive = 1.5
    horizon_s: Positive = 3.0
    classes: dict[str, ClassMotion] = field(
        default_factory=lambda: {
            "car": ClassMotion(accel=3.0, turn_accel=0.8, yaw_std=0.15, max_turn=1.0),
            "pedestrian": ClassMotion(accel=1.5, turn_accel=2.0, yaw_std=0.6, max_turn=2.0),
            "cyclist": ClassMotion(accel=2.0, turn_accel=1.2, yaw_std=0.25, max_turn=1.5),
        }
    )


class Track(Struct, kw_only=True):
    """One followed object, in the map frame.

    state (5,), covariance (5, 5) as in motion.py; z m of the centre with its variance; size (3,) l w h.
    """

    track_id: int
    state: Array
    covariance: Array
    z: float
    z_variance: float
    size: Array
    log_classes: Array
    existence: float
    contributions: Array
    born_ns: int
    seen_ns: int
    hits: int = 1

    @property
    def class_probabilities(self) -> Array:
        """(classes,) summing to 1."""
        p = np.exp(self.log_classes - self.log_classes.max())
        probabilities: Array = p / p.sum()
        return probabilities


class Tracker:
    """Pure: equal detections give equal tracks; the order of the boxes does not matter but for ties."""

    def __init__(self, config: TrackerConfig, classes: tuple[str, ...]) -> None:
        self.config, self.classes = config, classes
        fallback = ClassMotion(accel=3.0, turn_accel=1.0, yaw_std=0.3)
        self._motion = [config.classes.get(name, fallback) for name in classes]
        self._tracks: list[Track] = []
        self._stamp_ns: int | None = None
        self._next_id = 1
        self.refused: Counter[str] = Counter()

    def update(self, detections: Detections | None, *, stamp_ns: int, T_map_ego: Array) -> list[Track]:
        """Move all tracks to the stamp, take the boxes in; None: nothing was looked at, tracks coast.

        Returns the confirmed tracks, likeliest first."""
        dt = 0.0 if self._stamp_ns is None else (stamp_ns - self._stamp_ns) / 1e9
        self._stamp_ns = stamp_ns
        if dt > 0:
            self._predict(dt)
        if detections is not None:
            good = detections.finite
            self.refused["not_finite"] += int((~good).sum())
            self._take(_in_map(detections.where(good), T_map_ego), stamp_ns)
        self._forget(stamp_ns)
        shown = [t for t in self._tracks if t.hits >= self.config.confirm_hits and t.existence >= self.config.confirm]
        return [structs.replace(t) for t in sorted(shown, key=lambda t: (-t.existence, t.track_id))]

    def reset(self) -> None:
        """Forget everything but which numbers were given."""
        self._tracks, self._stamp_ns = [], None

    def _predict(self, dt: float) -> None:
        if not self._tracks:
            return
        kinds = [int(np.argmax(t.log_classes)) for t in self._tracks]
        states, covariances = predict(
            np.stack([t.state for t in self._tracks]),
            np.stack([t.covariance for t in self._tracks]),
            dt,
            np.array([self._motion[k].accel for k in kinds]),
            np.array([self._motion[k].turn_accel for k in kinds]),
        )
        survival = float(np.exp(-dt / self.config.survival_s))
        for track, state, covariance in zip(self._tracks, states, covariances):
            track.state, track.covariance = state, covariance
            track.z_variance += 0.01 * dt
            track.existence *= survival

    def _take(self, boxes: Detections, stamp_ns: int) -> None:
        strong = boxes.scores.max(1, initial=0.0) >= self.config.birth_score
        best = boxes.scores[np.arange(len(boxes.boxes)), boxes.labels]
        taken: dict[int, int] = {}
        # First the strong boxes, then the weak ones for tracks that are still alone (Zhang et al., ByteTrack, 2022).
        for candidates in (np.flatnonzero(strong), np.flatnonzero(~strong)):
            alone = [i for i in range(len(self._tracks)) if i not in taken]
            for i, j in assign(self._cost(alone, boxes, candidates)):
                taken[alone[i]] = int(candidates[j])
        for i, track in enumerate(self._tracks):
            if i in taken:
                self._correct(track, boxes, taken[i], float(best[taken[i]]), stamp_ns)
            else:
                miss = 1 - self.config.detection
                track.existence = track.existence * miss / (1 - track.existence * self.config.detection)
        used = set(taken.values())
        order = [int(j) for j in np.flatnonzero(strong) if int(j) not in used]
        for j in sorted(order, key=lambda j: (-best[j], *boxes.boxes[j].tolist())):
            self._tracks.append(self._born(boxes, j, float(best[j]), stamp_ns))

    def _cost(self, tracks: list[int], boxes: Detections, candidates: Array) -> Array:
        cost = np.full((len(tracks), len(candidates)), np.inf)
        if not tracks or len(candidates) == 0:
            return cost
        states = np.stack([self._tracks[i].state[:2] for i in tracks])
        spread = np.stack([self._tracks[i].covariance[:2, :2] for i in tracks])
        noise = np.maximum(boxes.std[candidates, :2], self.config.position_std_m) ** 2
        d = boxes.boxes[candidates][None, :, :2] - states[:, None]
        sxx = spread[:, None, 0, 0] + noise[None, :, 0]
        syy = spread[:, None, 1, 1] + noise[None, :, 1]
        sxy = np.broadcast_to(spread[:, None, 0, 1], sxx.shape)
        det = sxx * syy - sxy**2
        squared = (syy * d[..., 0] ** 2 - 2 * sxy * d[..., 0] * d[..., 1] + sxx * d[..., 1] ** 2) / det
        kinds = np.array([int(np.argmax(self._tracks[i].log_classes)) for i in tracks])
        differs = kinds[:, None] != boxes.labels[candidates][None]
        total = squared + differs * self.config.other_class + np.log(det)
        near = (squared + differs * self.config.other_class < self.config.gate) & (np.hypot(d[..., 0], d[..., 1]) < 8)
        return np.where(near, total - np.log(1e-6), np.inf)

    def _correct(self, track: Track, boxes: Detections, j: int, score: float, stamp_ns: int) -> None:
        box, std = boxes.boxes[j], boxes.std[j]
        kind = self._motion[int(boxes.labels[j])]
        turn = float(wrap_angle(box[6] - track.state[YAW]))
        if abs(turn) > np.pi / 2:  # front and back are easily confused: the track knows better
            turn = float(wrap_angle(turn + np.pi))
        residual = [box[0] - track.state[X], box[1] - track.state[Y], turn]
        noise = [*(max(float(s), self.config.position_std_m) ** 2 for s in std[:2]), max(float(std[4]), kind.yaw_std) ** 2]
        rows = [X, Y, YAW]
        if boxes.velocity_known:
            heading = track.state[YAW]
            measured = boxes.velocity[j] @ (np.cos(heading), np.sin(heading))
            residual.append(measured - track.state[SPEED])
            noise.append(self.config.velocity_std**2)
            rows.append(SPEED)
        C = track.covariance
        S = C[np.ix_(rows, rows)] + np.diag(noise)
        K = C[:, rows] @ np.linalg.inv(S)
        track.state = track.state + K @ np.array(residual)
        C = C - K @ S @ K.T
        track.covariance = 0.5 * (C + C.T)
        track.state[TURN] = float(np.clip(track.state[TURN], -kind.max_turn, kind.max_turn))
        if track.state[SPEED] < -1.0:  # it drives backwards for long: its front is behind
            track.state[SPEED] *= -1
            track.state[YAW] += np.pi
            track.covariance[SPEED, :] *= -1
            track.covariance[:, SPEED] *= -1
        track.state[YAW] = wrap_angle(track.state[YAW])
        gain = track.z_variance / (track.z_variance + max(float(std[2]), 0.1) ** 2)
        track.z += gain * (float(box[2]) - track.z)
        track.z_variance *= 1 - gain
        weight = max(0.1, 1 / (track.hits + 1)) * (0.5 + score / 2)
        track.size = track.size + weight * (box[3:6] - track.size)
        track.log_classes = 0.9 * track.log_classes + np.log(np.clip(boxes.scores[j], 0.02, 0.98))
        track.contributions = 0.5 * track.contributions + 0.5 * boxes.contributions[j]
        # Odds of being there, times how much likelier such a score is for an object than for clutter.
        odds = track.existence / (1 - track.existence) * (score + 0.15) / (1 - score + 0.15) * 2.0
        track.existence = min(odds / (1 + odds), 0.999)
        track.hits += 1
        track.seen_ns = stamp_ns

    def _born(self, boxes: Detections, j: int, score: float, stamp_ns: int) -> Track:
        box, std = boxes.boxes[j], boxes.std[j]
        heading, speed, speed_std = float(box[6]), 0.0, 8.0
        if boxes.velocity_known:
            vx, vy = boxes.velocity[j]
            speed, speed_std = float(np.cos(heading) * vx + np.sin(heading) * vy), 2.5
            if speed < -1.5:
                speed, heading = -speed, heading + np.pi
        kind = self._motion[int(boxes.labels[j])]
        limits = {0: 8.0, 1: 1.5, 2: 4.0}.get(int(boxes.labels[j]), 8.0)
        variances = [
            *(max(float(s), self.config.position_std_m) ** 2 for s in std[:2]),
            max(float(std[4]), kind.yaw_std) ** 2,
            min(speed_std, limits) ** 2,
            0.3**2,
        ]
        self._next_id += 1
        return Track(
            track_id=self._next_id - 1,
            state=np.array([box[0], box[1], wrap_angle(heading), speed, 0.0]),
            covariance=np.diag(variances),
            z=float(box[2]),
            z_variance=max(float(std[2]), 0.1) ** 2,
            size=box[3:6].astype(np.float64),
            log_classes=np.log(np.clip(boxes.scores[j], 0.02, 0.98)),
            existence=min(max(score, 0.05), 0.95),
            contributions=boxes.contributions[j].astype(np.float64),
            born_ns=stamp_ns,
            seen_ns=stamp_ns,
        )

    def _forget(self, stamp_ns: int) -> None:
        self._tracks = [
            t
            for t in self._tracks
            if t.existence >= self.config.drop and stamp_ns - t.seen_ns <= self.config.max_coast_s * 1e9
        ]


def _in_map(boxes: Detections, T_map_ego: Array) -> Detections:
    moved = boxes.boxes.astype(np.float64)
    moved[:, :3] = transform_points(T_map_ego, moved[:, :3])
    moved[:, 6] = wrap_angle(moved[:, 6] + yaw_of(T_map_ego))
    c, s = np.cos(yaw_of(T_map_ego)), np.sin(yaw_of(T_map_ego))
    velocity = boxes.velocity.astype(np.float64) @ np.array([[c, s], [-s, c]])
    std = boxes.std.astype(np.float64)
    # The axes of the noise turn with the frame; their covariance is left out, the two differ little.
    std[:, :2] = np.sqrt(std[:, :2] ** 2 @ np.array([[c * c, s * s], [s * s, c * c]]))
    return structs.replace(boxes, boxes=moved, velocity=velocity, std=std)
