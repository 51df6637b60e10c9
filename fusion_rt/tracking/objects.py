"""Tracks as messages: in the ego frame, with forecast, time to collision and place on Earth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fusion_rt.ego.geodesy import LocalMap
from fusion_rt.messages import EgoState, ForecastPoint, TrackedObject
from fusion_rt.rig import Vehicle
from fusion_rt.tracking.collision import time_to_collision
from fusion_rt.tracking.motion import SPEED, TURN, YAW, advance
from fusion_rt.tracking.tracker import Track
from fusion_rt.transforms import Array, inverse, transform_points, wrap_angle, yaw_of

FORECAST_S = (0.5, 1.0, 1.5, 2.0, 3.0)


def tracked_objects(
    tracks: Sequence[Track],
    *,
    stamp_ns: int,
    T_map_ego: Array,
    ego: EgoState,
    local_map: LocalMap | None,
    vehicle: Vehicle,
    classes: Sequence[str],
    modalities: Sequence[str],
) -> tuple[TrackedObject, ...]:
    """One message an object, in the order given."""
    if not tracks:
        return ()
    T_ego_map = inverse(T_map_ego)
    turn = yaw_of(T_ego_map)
    c, s = np.cos(turn), np.sin(turn)
    R = np.array([[c, -s], [s, c]])
    states = np.stack([t.state for t in tracks])
    centers = transform_points(T_ego_map, np.column_stack([states[:, :2], [t.z for t in tracks]]))
    yaws = wrap_angle(states[:, YAW] + turn)
    velocity_map = states[:, SPEED, None] * np.column_stack([np.cos(states[:, YAW]), np.sin(states[:, YAW])])
    velocities = velocity_map @ R.T
    ego_velocity = R @ np.array(ego.velocity[:2])
    sizes = np.stack([t.size for t in tracks])
    meets = time_to_collision(centers[:, :2], yaws, sizes[:, :2], velocities, ego_velocity, vehicle)
    later = _forecast(states, T_ego_map, turn)
    return tuple(
        _message(
            track, stamp_ns, centers[i], float(yaws[i]), velocities[i], R, later[i], meets[i], local_map, classes, modalities
        )
        for i, track in enumerate(tracks)
    )


def _forecast(states: Array, T_ego_map: Array, turn: float) -> list[list[tuple[float, float, float]]]:
    """x, y, yaw in today's ego frame at each of FORECAST_S. A turn does not last: it fades within a second."""
    paths: list[list[tuple[float, float, float]]] = [[] for _ in states]
    state, t = states.copy(), 0.0
    for horizon in FORECAST_S:
        while t < horizon - 1e-9:
            state = advance(state, 0.1)
            state[:, TURN] *= 0.9
            t += 0.1
        xy = transform_points(T_ego_map, np.column_stack([state[:, :2], np.zeros(len(state))]))
        for i in range(len(state)):
            paths[i].append((float(xy[i, 0]), float(xy[i, 1]), float(wrap_angle(state[i, YAW] + turn))))
    return paths


def _message(
    track: Track,
    stamp_ns: int,
    center: Array,
    yaw: float,
    velocity: Array,
    R: Array,
    later: list[tuple[float, float, float]],
    meets: float | None,
    local_map: LocalMap | None,
    classes: Sequence[str],
    modalities: Sequence[str],
) -> TrackedObject:
    C = track.covariance
    box = np.zeros((4, 4))
    box[:2, :2] = R @ C[:2, :2] @ R.T
    box[2, 2] = track.z_variance
    box[:2, 3] = box[3, :2] = R @ C[:2, YAW]
    box[3, 3] = C[YAW, YAW]
    heading = np.array([np.cos(yaw), np.sin(yaw)])
    across = np.array([-heading[1], heading[0]]) * track.state[SPEED]
    spread = np.outer(heading, heading) * C[SPEED, SPEED] + np.outer(across, across) * C[YAW, YAW]
    probabilities = track.class_probabilities
    shares = track.contributions / max(float(track.contributions.sum()), 1e-9)
    start, growth = float(np.sqrt(max(np.trace(C[:2, :2]) / 2, 0.0))), float(np.sqrt(C[SPEED, SPEED]))
    place = (None, None)
    if local_map is not None:
        place = local_map.to_geodetic(np.array([track.state[0], track.state[1], track.z]))[:2]  # type: ignore[assignment]
    x, y, z = (float(v) for v in center)
    length, width, height = (float(v) for v in track.size)
    return TrackedObject(
        track_id=track.track_id,
        label=classes[int(np.argmax(probabilities))],
        class_probabilities={name: float(p) for name, p in zip(classes, probabilities)},
        existence=track.existence,
        center=(x, y, z),
        size=(length, width, height),
        yaw=yaw,
        box_covariance=tuple(box.reshape(-1).tolist()),
        velocity=(float(velocity[0]), float(velocity[1])),
        velocity_covariance=tuple(spread.reshape(-1).tolist()),  # type: ignore[arg-type]
        yaw_rate=float(track.state[TURN]),
        age_s=(stamp_ns - track.born_ns) / 1e9,
        hits=track.hits,
        coasting_s=(stamp_ns - track.seen_ns) / 1e9,
        contributions={name: float(p) for name, p in zip(modalities, shares)},
        latitude_deg=place[0],
        longitude_deg=place[1],
        forecast=tuple(
            ForecastPoint(t, x, y, yaw, float(np.hypot(start, growth * t + 0.25 * t * t)))
            for t, (x, y, yaw) in zip(FORECAST_S, later)
        ),
        time_to_collision_s=meets,
    )
