"""What the tracker's C++ means, in numpy: the same steps by the same names."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import structs

from fusion_rt.outlines import outlines
from fusion_rt.tracking.assignment import Costs, assign
from fusion_rt.tracking.config import TrackerConfig
from fusion_rt.tracking.detections import Detections, no_certainty
from fusion_rt.tracking.image_boxes import ImageBoxes, compared, paired
from fusion_rt.tracking.tracks import SPEED, TURN, YAW, Tracks, X, Y, boxes_in_ego, track_dtype
from fusion_rt.transforms import Array, transform_points, wrap_angle, yaw_of

# motion.h

_I5 = np.eye(5)
_LEFT = np.array([-1.0, 1.0])  # (cos, sin) in reverse times this is a quarter turn further


def advance(states: Array, dt: float) -> Array:
    """The states (n, 5) dt s later, without noise."""
    return _advance(states, dt, _heading(states, dt))


def jacobian(states: Array, dt: float) -> Array:
    """F (n, 5, 5): how `advance` changes with the states."""
    F = np.empty((len(states), 5, 5))
    _jacobian(states, dt, _heading(states, dt), F)
    return F


def predict(
    states: Array, covariances: Array, dt: float, accel: Array, turn_accel: Array
) -> tuple[Array, Array]:
    """states (n, 5), covariances (n, 5, 5) after dt s; accel (n,) m/s^2 and turn_accel (n,) rad/s^2 are what
    an object may do unannounced, one standard deviation."""
    along = _heading(states, dt)
    FG = np.zeros((len(states), 5, 7))  # F P F' + G G' in one product
    F, G = FG[:, :, :5], FG[:, :, 5:]
    _jacobian(states, dt, along, F)
    G[:, :2, 0], G[:, SPEED, 0] = along * (0.5 * dt**2 * accel[:, None]), dt * accel
    G[:, YAW, 1], G[:, TURN, 1] = 0.5 * dt**2 * turn_accel, dt * turn_accel
    FPG = FG.copy()
    np.matmul(F, covariances, out=FPG[:, :, :5])
    P = FPG @ FG.transpose(0, 2, 1)
    # Drift that the model does not know (pedestrians, boxes that settle): a quarter of the acceleration.
    drift = (0.25 * dt * accel) ** 2 * dt + 1e-6
    P[:, X, X] += drift
    P[:, Y, Y] += drift
    P[:, YAW, YAW] += (0.1 * dt) ** 2
    return _advance(states, dt, along), P


def correct(
    states: Array, covariances: Array, measured: Sequence[int], residuals: Array, variances: Array
) -> tuple[Array, Array]:
    """states (n, 5), covariances (n, 5, 5) after measuring the m entries `measured` of each state.

    residuals (n, m): measurement minus state; variances (n, m) of its noise, positive. One number after the
    other, which is the same where their noise is independent, and needs no inverse."""
    moved, P = np.zeros(states.shape), covariances
    for k, row in enumerate(measured):
        column = P[:, row]
        K = column / (column[:, row] + variances[:, k])[:, None]
        moved += K * (residuals[:, k] - moved[:, row])[:, None]
        P = P - K[:, :, None] * column[:, None]
    # Rounding must not make it lopsided.
    return states + moved, 0.5 * (P + P.transpose(0, 2, 1))


def _heading(states: Array, dt: float) -> Array:
    """(n, 2) cos and sin of the yaw in the middle of the step."""
    middle = states[:, YAW] + 0.5 * dt * states[:, TURN]
    along = np.empty((len(states), 2))
    np.cos(middle, out=along[:, 0])
    np.sin(middle, out=along[:, 1])
    return along


def _advance(states: Array, dt: float, along: Array) -> Array:
    out = states.copy()
    out[:, :2] += along * (states[:, SPEED, None] * dt)
    out[:, YAW] = wrap_angle(states[:, YAW] + dt * states[:, TURN])
    return out


def _jacobian(states: Array, dt: float, along: Array, F: Array) -> None:
    """Into F (n, 5, 5)."""
    F[:] = _I5
    F[:, :2, SPEED] = dt * along
    turned = along[:, ::-1] * (_LEFT * states[:, SPEED, None] * dt)
    F[:, :2, YAW], F[:, :2, TURN] = turned, 0.5 * dt * turned
    F[:, YAW, TURN] = dt


# tracker.h

_REACH_M = 8.0  # however uncertain a track is, its box is not farther away
_HEIGHT_STD_M = 0.1  # floor of a box's height noise
_REVERSING_MPS = 1.0  # nobody drives backwards faster, and what is slower is told from its boxes
_FACING_KEPT = 0.9  # of what older boxes said of a front, after each box


class Tracker:
    """As that of fusion_rt.tracking.tracker. It assigns by the same function, whose oracle is scipy."""

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
        motion = config.motions(classes)
        self._accel = np.array([m.accel for m in motion])
        self._turn_accel = np.array([m.turn_accel for m in motion])
        self._yaw_std = np.array([m.yaw_std for m in motion])
        self._speed_std = np.array([m.speed_std for m in motion])
        self._max_turn = np.array([m.max_turn for m in motion])
        self.rounded = np.array([m.rounded for m in motion])
        self._tracks: Tracks = np.empty(0, track_dtype(len(classes), len(modalities)))
        self._stamp_ns: int | None = None
        self._next_id = 1
        self.refused: Counter[str] = Counter()

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

        Returns a copy of the confirmed tracks, likeliest first."""
        dt = 0.0 if self._stamp_ns is None else (stamp_ns - self._stamp_ns) / 1e9
        self._stamp_ns = stamp_ns
        self._keep(stamp_ns - self._tracks["witnessed_ns"] <= self.config.max_coast_s * 1e9)
        if dt > 0:
            self._predict(dt)
        if detections is not None:
            good = finite(detections)
            if not good.all():
                self.refused["not_finite"] += int((~good).sum())
                detections = detections.where(good)
            unused = []
            for image in images:
                detections, free = compared(detections, image, self.rounded, self.config)
                unused.append(free)
            likely = self.config.detection if lidar else self.config.detection_camera
            self._take(_in_map(detections, T_map_ego), stamp_ns, likely)
            for image, free in zip(images, unused):
                self._witness(image, free, stamp_ns, T_map_ego)
            self._keep(~_ghosts(self._tracks, stamp_ns))
        self._keep(self._tracks["existence"] >= self.config.drop)
        hits, existence = self._tracks["hits"], self._tracks["existence"]
        (shown,) = ((hits >= self.config.confirm_hits) & (existence >= self.config.confirm)).nonzero()
        order = np.lexsort((self._tracks["track_id"][shown], -existence[shown]))
        return self._given_out(self._tracks.take(shown[order]))

    def _given_out(self, tracks: Tracks) -> Tracks:
        """With what their boxes have in common in their covariances: a car of which only the back is seen is
        boxed too long by every one of them, and no filter averages that away."""
        common = self.config.common_error * tracks["noise"]
        covariance = tracks["covariance"]
        for k, row in enumerate((X, Y, YAW)):
            covariance[:, row, row] += common[:, k]
        tracks["z_variance"] += common[:, 3]
        return tracks

    def reset(self) -> None:
        """Forget everything but which numbers were given."""
        self._tracks, self._stamp_ns = self._tracks[:0], None

    def _keep(self, those: Array) -> None:
        if not those.all():
            self._tracks = self._tracks.compress(those)

    def _predict(self, dt: float) -> None:
        tracks, kinds = self._tracks, _kinds(self._tracks)
        tracks["state"], tracks["covariance"] = predict(
            tracks["state"], tracks["covariance"], dt, self._accel[kinds], self._turn_accel[kinds]
        )
        tracks["z_variance"] += 0.01 * dt
        tracks["existence"] *= math.exp(-dt / self.config.survival_s)

    def _witness(self, image: ImageBoxes, free: Array, stamp_ns: int, T_map_ego: Array) -> None:
        """Tracks that no box continued, but that the image shows about where they should be."""
        (unseen,) = (self._tracks["seen_ns"] != stamp_ns).nonzero()
        tracks = self._tracks[unseen]
        boxes, kinds = boxes_in_ego(tracks, T_map_ego), _kinds(tracks)
        seen = outlines(boxes, self.rounded[kinds], image.camera, image.T_camera_ego)
        pair = paired(seen, kinds, image, self.config.image_follow, free)
        shown = unseen[pair >= 0]
        existence = self._tracks["existence"]
        existence[shown] = _believed(existence[shown], image.scores[pair[pair >= 0]])
        self._tracks["witnessed_ns"][shown] = stamp_ns

    def _take(self, boxes: Detections, stamp_ns: int, detection: float) -> None:
        best = boxes.scores[np.arange(len(boxes.boxes)), boxes.labels].astype(np.float64)
        i, j, cost = self._costs(boxes)
        strong = best >= self._birth[boxes.labels]
        asked = strong.copy()  # no other box is of use
        asked[j] = True
        hidden = _hidden(boxes, best, asked)
        strong &= ~hidden
        taken: dict[int, int] = {}
        # First the strong boxes, then the weak ones for tracks still alone (ByteTrack, Zhang et al. 2022).
        for candidates in (strong[j], ~(strong | hidden)[j]):
            costs: Costs = {}
            pairs = zip(i[candidates].tolist(), j[candidates].tolist(), cost[candidates].tolist())
            for track, box, c in pairs:
                if track not in taken:
                    costs.setdefault(track, {})[box] = c
            taken.update(assign(costs))
        alone = np.ones(len(self._tracks), bool)
        alone[list(taken)] = False
        existence = self._tracks["existence"]
        missed = existence * (alone * detection)
        existence[:] = (existence - missed) / (1 - missed)
        if taken:
            which, index = np.array(list(taken)), np.array(list(taken.values()))
            known = boxes.velocity_known[index]
            for alike in (known, ~known):
                if alike.any():
                    self._correct(which[alike], boxes, index[alike], best[index[alike]], stamp_ns)
            strong[index] = False
        if strong.any():
            (new,) = strong.nonzero()
            order = np.lexsort((*boxes.boxes[new, ::-1].T, -best[new]))
            self._tracks = np.concatenate(
                [self._tracks, self._born(boxes, new[order], best[new[order]], stamp_ns)]
            )

    def _costs(self, boxes: Detections) -> tuple[Array, Array, Array]:
        """Pairs i, j of tracks and boxes in reach, and minus twice their log-likelihoods up to a constant."""
        state, spread = self._tracks["state"], self._tracks["covariance"]
        i, j, dx, dy = _close(state[:, :2], boxes.boxes[:, :2], _REACH_M)
        noise = np.maximum(boxes.std[:, :2], self.config.position_std_m) ** 2
        sxx = spread[:, X, X][i] + noise[:, 0][j]
        syy = spread[:, Y, Y][i] + noise[:, 1][j]
        sxy = spread[:, X, Y][i]
        det = sxx * syy - sxy * sxy
        squared = (syy * dx * dx - 2 * sxy * dx * dy + sxx * dy * dy) / det
        squared += (_kinds(self._tracks)[i] != boxes.labels[j]) * self.config.other_class
        near = (squared < self.config.gate) & (dx * dx + dy * dy < _REACH_M**2)
        smallest = self.config.position_std_m**4
        return i[near], j[near], squared[near] + np.log(det[near] / smallest)

    def _correct(self, which: Array, boxes: Detections, index: Array, best: Array, stamp_ns: int) -> None:
        """The tracks `which` (n,) take the boxes that `index` (n,) names, which all have velocities or all
        have none; best: their scores."""
        tracks = self._tracks.take(which)
        box, std, kinds = boxes.boxes[index], boxes.std[index], boxes.labels[index]
        state = tracks["state"]
        moving_too = bool(boxes.velocity_known[index[0]])
        measured = (X, Y, YAW, SPEED) if moving_too else (X, Y, YAW)
        residuals, noise = np.empty((2, len(which), len(measured)))
        residuals[:, :2] = box[:, :2] - state[:, :2]
        noise[:, :2] = np.maximum(std[:, :2], self.config.position_std_m)
        # Front and back are easily confused: the track knows better.
        residuals[:, 2] = (box[:, 6] - state[:, YAW] + np.pi / 2) % np.pi - np.pi / 2
        noise[:, 2] = np.maximum(std[:, 4], self._yaw_std[kinds])
        if moving_too:
            v, yaw = boxes.velocity[index], state[:, YAW]
            residuals[:, 3] = v[:, 0] * np.cos(yaw) + v[:, 1] * np.sin(yaw) - state[:, SPEED]
            noise[:, 3] = self.config.velocity_std
        variances = noise * noise
        state, covariance = correct(state, tracks["covariance"], measured, residuals, variances)
        limit = self._max_turn[kinds]
        state[:, TURN] = np.maximum(np.minimum(state[:, TURN], limit), -limit)
        # What moves shows its front; of what stands, most boxes know it.
        speed = state[:, SPEED]
        moving = np.maximum(_REVERSING_MPS, 2 * np.sqrt(covariance[:, SPEED, SPEED])) < np.abs(speed)
        facing = _FACING_KEPT * tracks["facing"] + np.sign(np.cos(box[:, 6] - state[:, YAW]))
        facing[moving & (speed > 0)] = 1 / (1 - _FACING_KEPT)
        backwards = np.where(moving, speed, facing) < 0
        if backwards.any():
            state[backwards, SPEED] *= -1
            state[backwards, YAW] += np.pi
            covariance[backwards, SPEED, :] *= -1
            covariance[backwards, :, SPEED] *= -1
            facing[backwards] *= -1
        tracks["facing"] = facing
        state[:, YAW] = wrap_angle(state[:, YAW])
        tracks["state"], tracks["covariance"] = state, covariance
        weights = np.maximum(0.1, 1 / (tracks["hits"] + 1)) * (0.5 + best / 2)
        tracks["size"] += weights[:, None] * (box[:, 3:6] - tracks["size"])
        tracks["log_classes"] *= 0.9
        tracks["log_classes"] += np.log(no_certainty(boxes.scores[index]))
        tracks["contributions"] += boxes.contributions[index]
        tracks["contributions"] *= 0.5
        z_variance = tracks["z_variance"]
        heights = np.maximum(std[:, 2], _HEIGHT_STD_M) ** 2
        tracks["noise"][:, :3], tracks["noise"][:, 3] = variances[:, :3], heights
        gain = z_variance / (z_variance + heights)
        tracks["z"] += gain * (box[:, 2] - tracks["z"])
        tracks["z_variance"] *= 1 - gain
        tracks["existence"] = _believed(tracks["existence"], best)
        tracks["hits"] += 1
        tracks["score"] = best
        tracks["seen_ns"] = tracks["witnessed_ns"] = stamp_ns
        self._tracks[which] = tracks

    def _born(self, boxes: Detections, index: Array, best: Array, stamp_ns: int) -> Tracks:
        """New tracks of the boxes that `index` (n,) names, in this order; best: their scores."""
        box, std, kinds = boxes.boxes[index], boxes.std[index], boxes.labels[index]
        heading, speed_std, known = box[:, 6], self._speed_std[kinds], boxes.velocity_known[index]
        v = boxes.velocity[index]
        speed = np.where(known, np.cos(heading) * v[:, 0] + np.sin(heading) * v[:, 1], 0.0)
        speed_std = np.where(known, np.minimum(speed_std, 2.5), speed_std)
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
        tracks["noise"][:, :2], tracks["noise"][:, 2] = position_std**2, covariance[:, YAW, YAW]
        tracks["noise"][:, 3] = tracks["z_variance"]
        tracks["size"] = box[:, 3:6]
        tracks["log_classes"] = np.log(no_certainty(boxes.scores[index]), dtype=np.float64)
        tracks["existence"] = np.minimum(np.maximum(best, 0.05), 0.95)
        tracks["contributions"] = boxes.contributions[index]
        tracks["born_ns"] = tracks["seen_ns"] = tracks["witnessed_ns"] = stamp_ns
        tracks["hits"], tracks["score"], tracks["facing"] = 1, best, 1
        return tracks


def finite(boxes: Detections) -> Array:
    """(n,) bool: all numbers finite, sizes positive."""
    numbers = (boxes.boxes, boxes.velocity, boxes.scores, boxes.std, boxes.contributions)
    columns = np.concatenate([a.T for a in numbers])
    good: Array = np.isfinite(columns).all(axis=0) & (columns[3:6] > 0).all(axis=0)
    return good


def _hidden(boxes: Detections, best: Array, asked: Array) -> Array:
    """(n,) bool: of the boxes `asked` for, those whose middle lies in a better and larger box of another
    class, seen from above: the network judges its classes apart, and a car's tail light may look like a
    pedestrian to it. best (n,): the boxes' scores."""
    hidden = np.zeros(len(asked), bool)
    (these,) = asked.nonzero()
    box = boxes.boxes
    area = box[:, 3] * box[:, 4]
    k, j = _middles_inside(box[these, :2], box[:, [0, 1, 6]], box[:, 3:5])
    i = these[k]
    hidden[i[(boxes.labels[i] != boxes.labels[j]) & (best[i] < best[j]) & (area[i] < area[j])]] = True
    return hidden


def _ghosts(tracks: Tracks, stamp_ns: int) -> Array:
    """(n,) bool: tracks that were not seen now and whose middle lies in the box of one that was: two things
    are never in one place, and the unseen one is a track that its object has outrun."""
    seen = tracks["seen_ns"] == stamp_ns
    hidden = np.zeros(len(tracks), bool)
    (unseen,) = (~seen).nonzero()
    if 0 < len(unseen) < len(tracks):
        state, size = tracks["state"], tracks["size"]
        inside, _ = _middles_inside(state[unseen, :2], state[seen, :3], size[seen, :2])
        hidden[unseen[inside]] = True
    return hidden


def _middles_inside(middles: Array, poses: Array, sizes: Array) -> tuple[Array, Array]:
    """Pairs i, j: middle i of (n, 2) lies in rectangle j of pose (m, 3) x y yaw and size (m, 2)."""
    half = sizes.T / 2
    i, j, dx, dy = _close(middles, poses[:, :2], half[0] + half[1])
    yaw = poses[:, 2][j]
    cos, sin = np.cos(yaw), np.sin(yaw)
    inside = (np.abs(dx * cos + dy * sin) < half[0, j]) & (np.abs(dy * cos - dx * sin) < half[1, j])
    return i[inside], j[inside]


def _close(points: Array, others: Array, reach: Array | float) -> tuple[Array, Array, Array, Array]:
    """Pairs i, j and the way (dx, dy) between them: point i of (n, 2) is less than `reach`, one or (m,), from
    point j of (m, 2) along x and along y. Few of all pairs are: what is asked of them next costs little."""
    dx = np.subtract.outer(points[:, 0], others[:, 0])
    dy = np.subtract.outer(points[:, 1], others[:, 1])
    close = np.abs(dx) < reach
    close &= np.abs(dy) < reach
    (pairs,) = close.ravel().nonzero()  # np.nonzero of two axes is ten times slower
    i, j = np.divmod(pairs, max(len(others), 1))
    return i, j, dx.ravel()[pairs], dy.ravel()[pairs]


def _believed(existence: Array, scores: Array) -> Array:
    """(n,) probabilities after a box of that score: the odds of being there, times how much likelier such a
    score is for an object than for clutter."""
    odds = existence / (1 - existence) * (scores + 0.15) / (1.15 - scores) * 2.0
    believed: Array = np.minimum(odds / (1 + odds), 0.999)
    return believed


def _kinds(tracks: Tracks) -> Array:
    """(n,) the likeliest class of each."""
    kinds: Array = tracks["log_classes"].argmax(axis=1)
    return kinds


def _in_map(boxes: Detections, T_map_ego: Array) -> Detections:
    turn = yaw_of(T_map_ego)
    c, s = math.cos(turn), math.sin(turn)
    moved = boxes.boxes.astype(np.float64)
    moved[:, :3] = transform_points(T_map_ego, moved[:, :3])
    moved[:, 6] = wrap_angle(moved[:, 6] + turn)
    velocity = boxes.velocity.astype(np.float64) @ np.array([[c, s], [-s, c]])
    std = boxes.std.astype(np.float64)
    # The axes of the noise turn with the frame; their covariance is left out, the two differ little.
    std[:, :2] = np.sqrt(std[:, :2] ** 2 @ np.array([[c * c, s * s], [s * s, c * c]]))
    scores = boxes.scores.astype(np.float64)
    return structs.replace(boxes, boxes=moved, velocity=velocity, std=std, scores=scores)
