"""What objects.h means, in numpy and PROJ: tracks as messages."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any

import numpy as np

from fusion_rt.ego.geodesy import LocalMap
from fusion_rt.messages import EgoState, ForecastPoint, TrackedObject
from fusion_rt.rig import Vehicle
from fusion_rt.tracking.tracks import SPEED, TURN, YAW, Tracks, X, Y
from fusion_rt.transforms import Array, inverse, transform_points, wrap_angle, yaw_of

HORIZON_S, COLLISION_STEP_S = 6.0, 0.05


def time_to_collision(
    centers: Array, yaws: Array, sizes: Array, velocities: Array, ego_velocity: Array, vehicle: Vehicle
) -> list[float | None]:
    """Seconds until the oriented footprints touch, None if not within 6 s; 0.0 where they touch now.

    centers (n, 2) m, yaws (n,), sizes (n, 2) length and width, velocities (n, 2) over ground, all in the ego
    frame; ego_velocity (2,). Two rectangles are apart where one of their four axes separates them.
    """
    if len(centers) == 0:
        return []
    middle = np.array([(vehicle.front_m - vehicle.rear_m) / 2, 0.0])
    half_ego = (vehicle.front_m + vehicle.rear_m) / 2, vehicle.width_m / 2
    between, relative = centers - middle, velocities - ego_velocity
    times: list[float | None] = [None] * len(centers)
    near = _come_near(between, relative, math.hypot(*half_ego) + np.hypot(sizes[:, 0], sizes[:, 1]) / 2)
    if len(near) == 0:
        return times
    yaws, sizes = yaws[near], sizes[near]
    t = np.arange(0.0, HORIZON_S + COLLISION_STEP_S / 2, COLLISION_STEP_S)
    d = between[near, None] + relative[near, None] * t[None, :, None]  # (n, T, 2)
    c, s = np.cos(yaws)[:, None], np.sin(yaws)[:, None]
    half_l, half_w = sizes[:, 0, None] / 2, sizes[:, 1, None] / 2
    ac, as_ = np.abs(c), np.abs(s)
    touch = np.abs(d[..., 0]) <= half_ego[0] + half_l * ac + half_w * as_
    touch &= np.abs(d[..., 1]) <= half_ego[1] + half_l * as_ + half_w * ac
    touch &= np.abs(d[..., 0] * c + d[..., 1] * s) <= half_l + half_ego[0] * ac + half_ego[1] * as_
    touch &= np.abs(d[..., 1] * c - d[..., 0] * s) <= half_w + half_ego[0] * as_ + half_ego[1] * ac
    for i, k, hit in zip(near.tolist(), np.argmax(touch, axis=1).tolist(), touch.any(axis=1).tolist()):
        if hit:
            times[i] = float(t[k])
    return times


def _come_near(between: Array, relative: Array, radii: Array) -> Array:
    """Which of the offsets (n, 2) m that move at (n, 2) m/s come within `radii` (n,) m in time, as indices:
    the rectangles of all others stay apart."""
    x, y = between.T
    vx, vy = relative.T
    closest = -(x * vx + y * vy) / np.maximum(vx * vx + vy * vy, 1e-12)
    closest = np.minimum(np.maximum(closest, 0.0), HORIZON_S)
    distance = np.hypot(x + vx * closest, y + vy * closest)
    near: Array = (distance <= 1.001 * radii).nonzero()[0]  # rounding loses none
    return near


FORECAST_S = (0.5, 1.0, 1.5, 2.0, 3.0)
_STEP_S = 0.1
_FADING = 0.9  # what is left of a turn after each step

_T = np.array((0.0, *FORECAST_S))
_STEPS = np.arange(round(FORECAST_S[-1] / _STEP_S))
_UNTIL = (_STEPS[:, None] + 0.5 < _T / _STEP_S).astype(np.float64)  # (steps, times): which steps lead there
# Yaw of a turn of 1 rad/s: at the middle of each step, as `advance` takes it, and at the times.
_MIDDLE_S = (np.cumsum(_FADING**_STEPS) - 0.5 * _FADING**_STEPS) * _STEP_S
_TURNED_S = _FADING**_STEPS @ _UNTIL * _STEP_S


def tracked_objects(
    tracks: Tracks,
    *,
    stamp_ns: int,
    T_map_ego: Array,
    ego: EgoState,
    local_map: LocalMap | None,
    vehicle: Vehicle,
    classes: Sequence[str],
    modalities: Sequence[str],
) -> tuple[TrackedObject, ...]:
    """One message an object, in the order given. local_map: None where the place on Earth is unknown."""
    if len(tracks) == 0:
        return ()
    T_ego_map = inverse(T_map_ego)
    turn = -yaw_of(T_map_ego)
    c, s = math.cos(turn), math.sin(turn)
    R = np.array(((c, -s), (s, c)))
    states, covariances, sizes = tracks["state"], tracks["covariance"], tracks["size"]
    positions, yaws = _ways(states, tracks["z"])
    on_earth = None if local_map is None else local_map.to_geodetic(positions[:, 0])
    ways = transform_points(T_ego_map, positions.reshape(-1, 3)).reshape(positions.shape)
    yaws = wrap_angle(yaws + turn)
    centers, headings = ways[:, 0], np.empty((len(tracks), 2))
    np.cos(yaws[:, 0], out=headings[:, 0])
    np.sin(yaws[:, 0], out=headings[:, 1])
    velocities = states[:, SPEED, None] * headings
    ego_velocity = R @ np.array(ego.velocity[:2])
    probabilities = class_probabilities(tracks["log_classes"])
    shares = tracks["contributions"]
    shares = shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-9)
    columns = zip(
        tracks["track_id"].tolist(),
        probabilities.argmax(axis=1).tolist(),
        probabilities.tolist(),
        tracks["existence"].tolist(),
        _tuples(centers),
        _tuples(sizes),
        yaws[:, 0].tolist(),
        _tuples(_box_covariances(covariances, tracks["z_variance"], R)),
        _tuples(velocities),
        _tuples(_velocity_covariances(states[:, SPEED], covariances, headings)),
        states[:, TURN].tolist(),
        ((stamp_ns - tracks["born_ns"]) / 1e9).tolist(),
        tracks["hits"].tolist(),
        ((stamp_ns - tracks["seen_ns"]) / 1e9).tolist(),
        shares.tolist(),
        repeat((None, None)) if on_earth is None else on_earth[:, :2].tolist(),
        _forecasts(ways[:, 1:], yaws[:, 1:], covariances),
        time_to_collision(centers[:, :2], yaws[:, 0], sizes[:, :2], velocities, ego_velocity, vehicle),
    )
    return tuple(
        TrackedObject(
            track_id=track_id,
            label=classes[label],
            class_probabilities=dict(zip(classes, probability)),
            existence=existence,
            center=center,
            size=size,
            yaw=yaw,
            box_covariance=box_covariance,
            velocity=velocity,
            velocity_covariance=velocity_covariance,
            yaw_rate=yaw_rate,
            age_s=age_s,
            hits=hits,
            coasting_s=coasting_s,
            contributions=dict(zip(modalities, share)),
            latitude_deg=latitude,
            longitude_deg=longitude,
            forecast=forecast,
            time_to_collision_s=meets_s,
        )
        for (
            track_id, label, probability, existence, center, size, yaw, box_covariance, velocity,
            velocity_covariance, yaw_rate, age_s, hits, coasting_s, share, (latitude, longitude), forecast,
            meets_s,
        ) in columns
    )  # fmt: skip


def class_probabilities(log_classes: Array) -> Array:
    """(n, classes) summing to 1, of logarithms up to a constant."""
    p = np.exp(log_classes - log_classes.max(axis=1, keepdims=True))
    probabilities: Array = p / p.sum(axis=1, keepdims=True)
    return probabilities


def _ways(states: Array, heights: Array) -> tuple[Array, Array]:
    """Positions (n, 6, 3) and yaws (n, 6) now and at each of FORECAST_S. A turn does not last: it fades
    within a second."""
    turns = states[:, TURN, None]
    middles = states[:, YAW, None] + turns * _MIDDLE_S  # (n, steps)
    step = states[:, SPEED, None] * _STEP_S
    positions = np.empty((len(states), len(_T), 3))
    positions[..., 0] = states[:, X, None] + step * (np.cos(middles) @ _UNTIL)
    positions[..., 1] = states[:, Y, None] + step * (np.sin(middles) @ _UNTIL)
    positions[..., 2] = heights[:, None]
    return positions, states[:, YAW, None] + turns * _TURNED_S


def _forecasts(points: Array, yaws: Array, covariances: Array) -> Iterator[tuple[ForecastPoint, ...]]:
    """Of points (n, 5, 3) and yaws (n, 5) at FORECAST_S, in today's ego frame; covariances: today's."""
    t = _T[1:]
    start = np.sqrt(np.maximum((covariances[:, X, X] + covariances[:, Y, Y]) / 2, 0.0))
    growth = np.sqrt(np.maximum(covariances[:, SPEED, SPEED], 0.0))
    std = np.hypot(start[:, None], growth[:, None] * t + 0.25 * t * t)
    columns = (a.ravel().tolist() for a in (points[..., 0], points[..., 1], yaws, std))
    each = map(ForecastPoint, FORECAST_S * len(points), *columns)
    return zip(*[each] * len(t))  # so many in a row are one object's


def _box_covariances(covariances: Array, z_variances: Array, R: Array) -> Array:
    """(n, 4, 4) over x, y, z, yaw along ego axes."""
    out = np.zeros((len(covariances), 4, 4))
    out[:, :2, :2] = R @ covariances[:, :2, :2] @ R.T
    out[:, 2, 2] = z_variances
    out[:, :2, 3] = out[:, 3, :2] = covariances[:, :2, YAW] @ R.T
    out[:, 3, 3] = covariances[:, YAW, YAW]
    return out


def _velocity_covariances(speeds: Array, covariances: Array, headings: Array) -> Array:
    """(n, 2, 2) along ego axes: J P J' of v (cos yaw, sin yaw)."""
    J = np.empty((len(speeds), 2, 2))  # (n, 2, [yaw, speed])
    J[:, 0, 0], J[:, 1, 0], J[:, :, 1] = -headings[:, 1] * speeds, headings[:, 0] * speeds, headings
    P = covariances[:, YAW : SPEED + 1, YAW : SPEED + 1]
    out: Array = J @ P @ J.transpose(0, 2, 1)
    return out


def _tuples(rows: Array) -> Iterator[tuple[Any, ...]]:
    """Each of (n, ...) as one tuple of floats."""
    return zip(*rows.reshape(len(rows), -1).T.tolist())
