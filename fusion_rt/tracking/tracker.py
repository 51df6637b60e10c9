"""Many objects over time: constant turn rate and velocity, gates by distance, birth and death by probability.

Works in the map frame, so the ego vehicle's own motion is out of the picture; without a known pose the map is
the ego frame of the first answer, and everything seems to move with us.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import structs

from fusion_rt.tracking.assignment import assign
from fusion_rt.tracking.config import ClassMotion, TrackerConfig
from fusion_rt.tracking.detections import Detections
from fusion_rt.tracking.motion import SPEED, TURN, YAW, X, Y, correct, predict
from fusion_rt.tracking.tracks import Tracks, joined, track_dtype
from fusion_rt.transforms import Array, transform_points, wrap_angle, yaw_of

_REACH_M = 8.0  # however uncertain a track is, its box is not farther away
_HEIGHT_STD_M = 0.1  # floor of a box's height noise
_REVERSING_MPS = 1.0  # nobody drives backwards faster: the box's front is behind
_LEAST, _MOST = 0.02, 0.98  # no single box decides a class


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
        own = config.birth_score
        self._birth = np.array([birth_scores[name] if own is None else own for name in classes])
        motion = [config.classes.get(name, ClassMotion()) for name in classes]
        self._accel = np.array([m.accel for m in motion])
        self._turn_accel = np.array([m.turn_accel for m in motion])
        self._yaw_std = np.array([m.yaw_std for m in motion])
        self._speed_std = np.array([m.speed_std for m in motion])
        self._max_turn = np.array([m.max_turn for m in motion])
        self._tracks: Tracks = np.empty(0, track_dtype(len(classes), len(modalities)))
        self._stamp_ns: int | None = None
        self._next_id = 1
        self.refused: Counter[str] = Counter()

    def update(self, detections: Detections | None, *, stamp_ns: int, T_map_ego: Array) -> Tracks:
        """Move all tracks to the stamp, take the boxes in; None: nothing was looked at, tracks coast.

        Returns a copy of the confirmed tracks, likeliest first."""
        dt = 0.0 if self._stamp_ns is None else (stamp_ns - self._stamp_ns) / 1e9
        self._stamp_ns = stamp_ns
        self._keep(stamp_ns - self._tracks["seen_ns"] <= self.config.max_coast_s * 1e9)
        if dt > 0:
            self._predict(dt)
        if detections is not None:
            good = detections.finite
            if not good.all():
                self.refused["not_finite"] += int((~good).sum())
                detections = detections.where(good)
            self._take(_in_map(_one_in_a_place(detections), T_map_ego), stamp_ns)
            self._keep(~_ghosts(self._tracks, stamp_ns))
        self._keep(self._tracks["existence"] >= self.config.drop)
        hits, existence = self._tracks["hits"], self._tracks["existence"]
        shown = np.flatnonzero((hits >= self.config.confirm_hits) & (existence >= self.config.confirm))
        order = np.lexsort((self._tracks["track_id"][shown], -existence[shown]))
        return self._tracks.take(shown[order])

    def reset(self) -> None:
        """Forget everything but which numbers were given."""
        self._tracks, self._stamp_ns = self._tracks[:0], None

    def _keep(self, those: Array) -> None:
        if not those.all():
            self._tracks = self._tracks[those]

    def _predict(self, dt: float) -> None:
        tracks, kinds = self._tracks, _kinds(self._tracks)
        tracks["state"], tracks["covariance"] = predict(
            tracks["state"], tracks["covariance"], dt, self._accel[kinds], self._turn_accel[kinds]
        )
        tracks["z_variance"] += 0.01 * dt
        tracks["existence"] *= float(np.exp(-dt / self.config.survival_s))

    def _take(self, boxes: Detections, stamp_ns: int) -> None:
        best = boxes.scores[np.arange(len(boxes.boxes)), boxes.labels]
        strong = best >= self._birth[boxes.labels]
        cost = self._cost(boxes)
        taken = np.full(len(self._tracks), -1)
        # First the strong boxes, then the weak ones for tracks still alone (ByteTrack, Zhang et al. 2022).
        for candidates in (np.flatnonzero(strong), np.flatnonzero(~strong)):
            alone = np.flatnonzero(taken < 0)
            for i, j in assign(cost[alone[:, None], candidates]):
                taken[alone[i]] = candidates[j]
        seen = taken >= 0
        existence = self._tracks["existence"]
        missed = existence * self.config.detection
        np.copyto(existence, (existence - missed) / (1 - missed), where=~seen)
        if seen.any():
            self._correct(np.flatnonzero(seen), boxes, taken[seen], stamp_ns)
        strong[taken[seen]] = False
        if strong.any():
            new = np.flatnonzero(strong)
            order = np.lexsort((*boxes.boxes[new, ::-1].T, -best[new]))
            self._tracks = joined(self._tracks, self._born(boxes, new[order], stamp_ns))

    def _cost(self, boxes: Detections) -> Array:
        """(tracks, boxes): minus twice the log-likelihood up to a constant; inf: out of reach."""
        state, spread = self._tracks["state"], self._tracks["covariance"]
        cost = np.full((len(state), len(boxes.boxes)), np.inf)
        i, j = _close(state[:, :2], boxes.boxes[:, :2], _REACH_M)
        dx, dy = (boxes.boxes[j, :2] - state[i, :2]).T
        noise = np.maximum(boxes.std[:, :2], self.config.position_std_m) ** 2
        sxx = spread[i, X, X] + noise[j, 0]
        syy = spread[i, Y, Y] + noise[j, 1]
        sxy = spread[i, X, Y]
        det = sxx * syy - sxy**2
        squared = (syy * dx**2 - 2 * sxy * dx * dy + sxx * dy**2) / det
        squared += (_kinds(self._tracks)[i] != boxes.labels[j]) * self.config.other_class
        near = (squared < self.config.gate) & (np.hypot(dx, dy) < _REACH_M)
        smallest = self.config.position_std_m**4
        cost[i[near], j[near]] = squared[near] + np.log(det[near] / smallest)
        return cost

    def _correct(self, which: Array, boxes: Detections, index: Array, stamp_ns: int) -> None:
        """The tracks `which` (n,) take the boxes that `index` (n,) names."""
        tracks = self._tracks.take(which)
        box, std, kinds = boxes.boxes[index], boxes.std[index], boxes.labels[index]
        scores, state = boxes.scores[index], tracks["state"]
        measured = (X, Y, YAW, SPEED) if boxes.velocity_known else (X, Y, YAW)
        residuals, noise = np.empty((2, len(which), len(measured)))
        residuals[:, :2] = box[:, :2] - state[:, :2]
        noise[:, :2] = np.maximum(std[:, :2], self.config.position_std_m)
        # Front and back are easily confused: the track knows better.
        residuals[:, 2] = (box[:, 6] - state[:, YAW] + np.pi / 2) % np.pi - np.pi / 2
        noise[:, 2] = np.maximum(std[:, 4], self._yaw_std[kinds])
        if boxes.velocity_known:
            v, yaw = boxes.velocity[index], state[:, YAW]
            residuals[:, 3] = v[:, 0] * np.cos(yaw) + v[:, 1] * np.sin(yaw) - state[:, SPEED]
            noise[:, 3] = self.config.velocity_std
        state, covariance = correct(state, tracks["covariance"], measured, residuals, noise * noise)
        limit = self._max_turn[kinds]
        state[:, TURN] = np.maximum(np.minimum(state[:, TURN], limit), -limit)
        backwards = state[:, SPEED] < -_REVERSING_MPS
        if backwards.any():
            state[backwards, SPEED] *= -1
            state[backwards, YAW] += np.pi
            covariance[backwards, SPEED, :] *= -1
            covariance[backwards, :, SPEED] *= -1
        state[:, YAW] = wrap_angle(state[:, YAW])
        tracks["state"], tracks["covariance"] = state, covariance
        best = scores[np.arange(len(index)), kinds].astype(np.float64)
        weights = np.maximum(0.1, 1 / (tracks["hits"] + 1)) * (0.5 + best / 2)
        tracks["size"] += weights[:, None] * (box[:, 3:6] - tracks["size"])
        tracks["log_classes"] *= 0.9
        tracks["log_classes"] += np.log(np.clip(scores, _LEAST, _MOST))
        tracks["contributions"] += boxes.contributions[index]
        tracks["contributions"] *= 0.5
        z_variance = tracks["z_variance"]
        gain = z_variance / (z_variance + np.maximum(std[:, 2], _HEIGHT_STD_M) ** 2)
        tracks["z"] += gain * (box[:, 2] - tracks["z"])
        tracks["z_variance"] *= 1 - gain
        # Odds of being there, times how much likelier such a score is for an object than for clutter.
        existence = tracks["existence"]
        odds = existence / (1 - existence) * (best + 0.15) / (1.15 - best) * 2.0
        tracks["existence"] = np.minimum(odds / (1 + odds), 0.999)
        tracks["hits"] += 1
        tracks["seen_ns"] = stamp_ns
        self._tracks[which] = tracks

    def _born(self, boxes: Detections, index: Array, stamp_ns: int) -> Tracks:
        """New tracks of the boxes that `index` (n,) names, in this order."""
        box, std, kinds = boxes.boxes[index], boxes.std[index], boxes.labels[index]
        heading, speed, speed_std = box[:, 6], np.zeros(len(index)), self._speed_std[kinds]
        if boxes.velocity_known:
            v = boxes.velocity[index]
            speed = np.cos(heading) * v[:, 0] + np.sin(heading) * v[:, 1]
            speed_std = np.minimum(speed_std, 2.5)
            backwards = speed < -1.5
            speed, heading = np.where(backwards, -speed, speed), np.where(backwards, heading + np.pi, heading)
        tracks = np.zeros(len(index), self._tracks.dtype)
        tracks["track_id"] = np.arange(self._next_id, self._next_id + len(index))
        self._next_id += len(index)
        state, covariance = tracks["state"], tracks["covariance"]
        state[:, :2], state[:, YAW], state[:, SPEED] = box[:, :2], wrap_angle(heading), speed
        position_std = np.maximum(std[:, :2], self.config.position_std_m)
        covariance[:, X, X], covariance[:, Y, Y] = position_std.T**2
        covariance[:, YAW, YAW] = np.maximum(std[:, 4], self._yaw_std[kinds]) ** 2
        covariance[:, SPEED, SPEED], covariance[:, TURN, TURN] = speed_std**2, 0.3**2
        tracks["z"], tracks["z_variance"] = box[:, 2], np.maximum(std[:, 2], _HEIGHT_STD_M) ** 2
        tracks["size"] = box[:, 3:6]
        scores = boxes.scores[index]
        tracks["log_classes"] = np.log(np.clip(scores, _LEAST, _MOST), dtype=np.float64)
        tracks["existence"] = np.clip(scores[np.arange(len(index)), kinds].astype(np.float64), 0.05, 0.95)
        tracks["contributions"] = boxes.contributions[index]
        tracks["born_ns"] = tracks["seen_ns"] = stamp_ns
        tracks["hits"] = 1
        return tracks


def _one_in_a_place(boxes: Detections) -> Detections:
    """Without the boxes whose middle lies in a better and larger box of another class, seen from above: the
    network judges its classes apart, and a car's tail light may look like a pedestrian to it."""
    scores = boxes.scores[np.arange(len(boxes.boxes)), boxes.labels]
    area = boxes.boxes[:, 3] * boxes.boxes[:, 4]
    i, j = _middles_inside(boxes.boxes[:, :2], boxes.boxes[:, [0, 1, 6]], boxes.boxes[:, 3:5])
    hides = (boxes.labels[i] != boxes.labels[j]) & (scores[i] < scores[j]) & (area[i] < area[j])
    if not hides.any():
        return boxes
    shown = np.ones(len(scores), bool)
    shown[i[hides]] = False
    return boxes.where(shown)


def _ghosts(tracks: Tracks, stamp_ns: int) -> Array:
    """(n,) bool: tracks that were not seen now and whose middle lies in the box of one that was: two things
    are never in one place, and the unseen one is a track that its object has outrun."""
    seen = tracks["seen_ns"] == stamp_ns
    hidden = np.zeros(len(tracks), bool)
    unseen = np.flatnonzero(~seen)
    state, size = tracks["state"], tracks["size"]
    inside, _ = _middles_inside(state[unseen, :2], state[seen, :3], size[seen, :2])
    hidden[unseen[inside]] = True
    return hidden


def _middles_inside(middles: Array, poses: Array, sizes: Array) -> tuple[Array, Array]:
    """Pairs i, j: middle i of (n, 2) lies in rectangle j of pose (m, 3) x y yaw and size (m, 2)."""
    i, j = _close(middles, poses[:, :2], (sizes[:, 0] + sizes[:, 1]) / 2)
    dx, dy = (middles[i] - poses[j, :2]).T
    cos, sin = np.cos(poses[j, 2]), np.sin(poses[j, 2])
    along, across = dx * cos + dy * sin, dy * cos - dx * sin
    inside = (np.abs(along) < sizes[j, 0] / 2) & (np.abs(across) < sizes[j, 1] / 2)
    return i[inside], j[inside]


def _close(points: Array, others: Array, reach: Array | float) -> tuple[Array, Array]:
    """Pairs i, j: point i of (n, 2) is less than `reach`, one or (m,), from j of (m, 2) along x and along y.
    Few of all pairs are: what is asked of them next costs little."""
    close = np.abs(points[:, 0, None] - others[:, 0]) < reach
    close &= np.abs(points[:, 1, None] - others[:, 1]) < reach
    i, j = np.divmod(np.flatnonzero(close), max(len(others), 1))  # np.nonzero is ten times slower
    return i, j


def _kinds(tracks: Tracks) -> Array:
    """(n,) the likeliest class of each."""
    kinds: Array = tracks["log_classes"].argmax(axis=1)
    return kinds


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
