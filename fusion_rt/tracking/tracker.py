"""Many objects over time: constant turn rate and velocity, gates by distance, birth and death by probability.

Works in the map frame, so the ego vehicle's own motion is out of the picture; without a known pose the map is
the ego frame of the first answer, and everything seems to move with us.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import Struct, structs

from fusion_rt.tracking.assignment import assign
from fusion_rt.tracking.config import ClassMotion, TrackerConfig
from fusion_rt.tracking.detections import Detections
from fusion_rt.tracking.motion import SPEED, TURN, YAW, X, Y, correct, predict
from fusion_rt.transforms import Array, transform_points, wrap_angle, yaw_of

_REACH_M = 8.0  # however uncertain a track is, its box is not farther away
_HEIGHT_STD_M = 0.1  # floor of a box's height noise
_REVERSING_MPS = 1.0  # nobody drives backwards faster: the box's front is behind
_LEAST, _MOST = 0.02, 0.98  # no single box decides a class


class Track(Struct, kw_only=True):
    """One followed object, in the map frame.

    state (5,), covariance (5, 5) as in motion.py; z m of the centre with its variance; size (3,) l w h;
    log_classes (classes,) up to a constant; contributions (modalities,) shares of the evidence.
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


class Tracker:
    """Pure: equal detections give equal tracks; the order of the boxes does not matter but for ties.

    birth_scores: class -> score from which a box begins a track, where the configuration names none."""

    def __init__(
        self, config: TrackerConfig, classes: Sequence[str], birth_scores: Mapping[str, float]
    ) -> None:
        self.config = config
        own = config.birth_score
        self._birth = np.array([birth_scores[name] if own is None else own for name in classes])
        motion = [config.classes.get(name, ClassMotion()) for name in classes]
        self._accel = np.array([m.accel for m in motion])
        self._turn_accel = np.array([m.turn_accel for m in motion])
        self._yaw_std = np.array([m.yaw_std for m in motion])
        self._speed_std = np.array([m.speed_std for m in motion])
        self._max_turn = np.array([m.max_turn for m in motion])
        self._tracks: list[Track] = []
        self._stamp_ns: int | None = None
        self._next_id = 1
        self.refused: Counter[str] = Counter()

    def update(self, detections: Detections | None, *, stamp_ns: int, T_map_ego: Array) -> list[Track]:
        """Move all tracks to the stamp, take the boxes in; None: nothing was looked at, tracks coast.

        Returns the confirmed tracks, likeliest first."""
        dt = 0.0 if self._stamp_ns is None else (stamp_ns - self._stamp_ns) / 1e9
        self._stamp_ns = stamp_ns
        coast_ns = self.config.max_coast_s * 1e9
        self._tracks = [t for t in self._tracks if stamp_ns - t.seen_ns <= coast_ns]
        if dt > 0:
            self._predict(dt)
        if detections is not None:
            good = detections.finite
            if not good.all():
                self.refused["not_finite"] += int((~good).sum())
                detections = detections.where(good)
            self._take(_in_map(_one_in_a_place(detections), T_map_ego), stamp_ns)
            self._tracks = _without_ghosts(self._tracks, stamp_ns)
        self._tracks = [t for t in self._tracks if t.existence >= self.config.drop]
        shown = [
            t
            for t in self._tracks
            if t.hits >= self.config.confirm_hits and t.existence >= self.config.confirm
        ]
        # Arrays of a track are replaced, never written to, so that shallow copies stay as they are.
        return [structs.replace(t) for t in sorted(shown, key=lambda t: (-t.existence, t.track_id))]

    def reset(self) -> None:
        """Forget everything but which numbers were given."""
        self._tracks, self._stamp_ns = [], None

    def _predict(self, dt: float) -> None:
        if not self._tracks:
            return
        kinds = _kinds(self._tracks)
        states, covariances = predict(
            np.stack([t.state for t in self._tracks]),
            np.stack([t.covariance for t in self._tracks]),
            dt,
            self._accel[kinds],
            self._turn_accel[kinds],
        )
        survival = float(np.exp(-dt / self.config.survival_s))
        for track, state, covariance in zip(self._tracks, states, covariances):
            track.state, track.covariance = state, covariance
            track.z_variance += 0.01 * dt
            track.existence *= survival

    def _take(self, boxes: Detections, stamp_ns: int) -> None:
        best = boxes.scores[np.arange(len(boxes.boxes)), boxes.labels]
        strong = best >= self._birth[boxes.labels]
        taken: dict[int, int] = {}
        # First the strong boxes, then the weak ones for tracks still alone (ByteTrack, Zhang et al. 2022).
        for candidates in (np.flatnonzero(strong), np.flatnonzero(~strong)):
            alone = [i for i in range(len(self._tracks)) if i not in taken]
            if alone and len(candidates):
                cost = self._cost([self._tracks[i] for i in alone], boxes, candidates)
                taken.update({alone[i]: int(candidates[j]) for i, j in assign(cost)})
        for i, track in enumerate(self._tracks):
            if i not in taken:
                missed = track.existence * self.config.detection
                track.existence = (track.existence - missed) / (1 - missed)
        if taken:
            self._correct([self._tracks[i] for i in taken], boxes, np.array(list(taken.values())), stamp_ns)
        new = sorted(
            set(np.flatnonzero(strong).tolist()) - set(taken.values()),
            key=lambda j: (-best[j], *boxes.boxes[j].tolist()),
        )
        self._tracks += [self._born(boxes, j, stamp_ns) for j in new]

    def _cost(self, tracks: list[Track], boxes: Detections, candidates: Array) -> Array:
        """(tracks, candidates): minus twice the log-likelihood up to a constant; inf: out of reach."""
        states = np.stack([t.state for t in tracks])
        spread = np.stack([t.covariance for t in tracks])
        noise = np.maximum(boxes.std[candidates, :2], self.config.position_std_m) ** 2
        d = boxes.boxes[candidates, :2] - states[:, None, :2]
        sxx = spread[:, None, 0, 0] + noise[:, 0]
        syy = spread[:, None, 1, 1] + noise[:, 1]
        sxy = spread[:, None, 0, 1]
        det = sxx * syy - sxy**2
        squared = (syy * d[..., 0] ** 2 - 2 * sxy * d[..., 0] * d[..., 1] + sxx * d[..., 1] ** 2) / det
        differs = _kinds(tracks)[:, None] != boxes.labels[candidates]
        squared += differs * self.config.other_class
        near = (squared < self.config.gate) & (np.hypot(d[..., 0], d[..., 1]) < _REACH_M)
        smallest = self.config.position_std_m**4
        return np.where(near, squared + np.log(det / smallest), np.inf)

    def _correct(self, tracks: list[Track], boxes: Detections, index: Array, stamp_ns: int) -> None:
        """Each track takes the box that `index` (n,) names."""
        box, std, kinds = boxes.boxes[index], boxes.std[index], boxes.labels[index]
        scores = boxes.scores[index]
        states = np.stack([t.state for t in tracks])
        turn = wrap_angle(box[:, 6] - states[:, YAW])
        # Front and back are easily confused: the track knows better.
        turn = np.where(np.abs(turn) > np.pi / 2, wrap_angle(turn + np.pi), turn)
        measured = [X, Y, YAW]
        residuals = [*(box[:, :2] - states[:, :2]).T, turn]
        noise = [*np.maximum(std[:, :2], self.config.position_std_m).T]
        noise.append(np.maximum(std[:, 4], self._yaw_std[kinds]))
        if boxes.velocity_known:
            v, yaw = boxes.velocity[index], states[:, YAW]
            measured.append(SPEED)
            residuals.append(v[:, 0] * np.cos(yaw) + v[:, 1] * np.sin(yaw) - states[:, SPEED])
            noise.append(np.full(len(tracks), self.config.velocity_std))
        states, covariances = correct(
            states,
            np.stack([t.covariance for t in tracks]),
            measured,
            np.stack(residuals, axis=1),
            np.stack(noise, axis=1) ** 2,
        )
        limit = self._max_turn[kinds]
        states[:, TURN] = np.clip(states[:, TURN], -limit, limit)
        backwards = states[:, SPEED] < -_REVERSING_MPS
        states[backwards, SPEED] *= -1
        states[backwards, YAW] += np.pi
        covariances[backwards, SPEED, :] *= -1
        covariances[backwards, :, SPEED] *= -1
        states[:, YAW] = wrap_angle(states[:, YAW])
        best = scores[np.arange(len(index)), kinds].astype(np.float64)
        weights = np.maximum(0.1, 1 / (np.array([t.hits for t in tracks]) + 1)) * (0.5 + best / 2)
        sizes = np.stack([t.size for t in tracks])
        sizes += weights[:, None] * (box[:, 3:6] - sizes)
        log_classes = 0.9 * np.stack([t.log_classes for t in tracks])
        log_classes += np.log(np.clip(scores, _LEAST, _MOST))
        contributions = 0.5 * (np.stack([t.contributions for t in tracks]) + boxes.contributions[index])
        heights, height_stds = box[:, 2].tolist(), np.maximum(std[:, 2], _HEIGHT_STD_M).tolist()
        for i, (track, score) in enumerate(zip(tracks, best.tolist())):
            track.state, track.covariance, track.size = states[i], covariances[i], sizes[i]
            track.log_classes, track.contributions = log_classes[i], contributions[i]
            gain = track.z_variance / (track.z_variance + height_stds[i] ** 2)
            track.z += gain * (heights[i] - track.z)
            track.z_variance *= 1 - gain
            # Odds of being there, times how much likelier such a score is for an object than for clutter.
            odds = track.existence / (1 - track.existence) * (score + 0.15) / (1.15 - score) * 2.0
            track.existence = min(odds / (1 + odds), 0.999)
            track.hits += 1
            track.seen_ns = stamp_ns

    def _born(self, boxes: Detections, j: int, stamp_ns: int) -> Track:
        box, std, kind = boxes.boxes[j], boxes.std[j], int(boxes.labels[j])
        heading, speed, speed_std = float(box[6]), 0.0, float(self._speed_std[kind])
        if boxes.velocity_known:
            vx, vy = boxes.velocity[j]
            speed = float(np.cos(heading) * vx + np.sin(heading) * vy)
            speed_std = min(speed_std, 2.5)
            if speed < -1.5:
                speed, heading = -speed, heading + np.pi
        position_std = np.maximum(std[:2], self.config.position_std_m)
        yaw_std = max(float(std[4]), float(self._yaw_std[kind]))
        self._next_id += 1
        return Track(
            track_id=self._next_id - 1,
            state=np.array([box[0], box[1], wrap_angle(heading), speed, 0.0]),
            covariance=np.diag([*position_std, yaw_std, speed_std, 0.3]) ** 2,
            z=float(box[2]),
            z_variance=max(float(std[2]), _HEIGHT_STD_M) ** 2,
            size=box[3:6].copy(),
            log_classes=np.log(np.clip(boxes.scores[j], _LEAST, _MOST), dtype=np.float64),
            existence=min(max(float(boxes.scores[j, kind]), 0.05), 0.95),
            contributions=boxes.contributions[j].astype(np.float64),
            born_ns=stamp_ns,
            seen_ns=stamp_ns,
        )


def _one_in_a_place(boxes: Detections) -> Detections:
    """Without the boxes whose middle lies in a better and larger box of another class, seen from above: the
    network judges its classes apart, and a car's tail light may look like a pedestrian to it."""
    n = np.arange(len(boxes.boxes))
    scores = boxes.scores[n, boxes.labels]
    area = boxes.boxes[:, 3] * boxes.boxes[:, 4]
    hides = _middles_inside(boxes.boxes[:, :2], boxes.boxes[:, [0, 1, 6]], boxes.boxes[:, 3:5])
    hides &= boxes.labels[:, None] != boxes.labels
    hides &= (scores[:, None] < scores) & (area[:, None] < area)
    hidden: Array = np.any(hides, axis=1)
    return boxes.where(~hidden) if hidden.any() else boxes


def _without_ghosts(tracks: list[Track], stamp_ns: int) -> list[Track]:
    """Without the tracks that were not seen now and whose middle lies in the box of one that was: two things
    are never in one place, and the unseen one is a track that its object has outrun."""
    seen = [t for t in tracks if t.seen_ns == stamp_ns]
    if not seen or len(seen) == len(tracks):
        return tracks
    middles, poses = np.stack([t.state[:2] for t in tracks]), np.stack([t.state[:3] for t in seen])
    sizes = np.stack([t.size[:2] for t in seen])
    inside: Array = np.any(_middles_inside(middles, poses, sizes), axis=1)
    return [t for t, hidden in zip(tracks, inside) if t.seen_ns == stamp_ns or not hidden]


def _middles_inside(middles: Array, poses: Array, sizes: Array) -> Array:
    """(n, m) bool: middle (n, 2) lies in the rectangle of pose (m, 3) x y yaw and size (m, 2)."""
    d = middles[:, None] - poses[:, :2]
    cos, sin = np.cos(poses[:, 2]), np.sin(poses[:, 2])
    along, across = d[..., 0] * cos + d[..., 1] * sin, d[..., 1] * cos - d[..., 0] * sin
    inside: Array = (np.abs(along) < sizes[:, 0] / 2) & (np.abs(across) < sizes[:, 1] / 2)
    return inside


def _kinds(tracks: list[Track]) -> Array:
    """(n,) the likeliest class of each."""
    return np.stack([t.log_classes for t in tracks]).argmax(axis=1)


def _in_map(boxes: Detections, T_map_ego: Array) -> Detections:
    turn = yaw_of(T_map_ego)
    c, s = np.cos(turn), np.sin(turn)
    moved = boxes.boxes.astype(np.float64)
    moved[:, :3] = transform_points(T_map_ego, moved[:, :3])
    moved[:, 6] = wrap_angle(moved[:, 6] + turn)
    velocity = boxes.velocity.astype(np.float64) @ np.array([[c, s], [-s, c]])
    std = boxes.std.astype(np.float64)
    # The axes of the noise turn with the frame; their covariance is left out, the two differ little.
    std[:, :2] = np.sqrt(std[:, :2] ** 2 @ np.array([[c * c, s * s], [s * s, c * c]]))
    return structs.replace(boxes, boxes=moved, velocity=velocity, std=std)
