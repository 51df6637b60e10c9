"""Tracks as messages: frames, covariances and places against other ways to get them."""

import msgspec
import numpy as np
import pytest
from pyproj import Geod

from fusion_rt.ego.geodesy import LocalMap
from fusion_rt.messages import EgoState, TrackedObject
from fusion_rt.rig import Vehicle
from fusion_rt.tracking.objects import tracked_objects
from fusion_rt.tracking.tracks import SPEED, TURN, YAW, track_dtype
from fusion_rt.transforms import from_translation_rpy, inverse, quaternion_from_matrix, transform_points

FORECAST_S = (0.5, 1.0, 1.5, 2.0, 3.0)
CLASSES, MODALITIES = ("car", "pedestrian", "cyclist"), ("lidar", "camera", "memory")
# An ego vehicle 120 m from the map's origin, turned by 2 rad, on a slight slope, at 10 m/s.
T_MAP_EGO = from_translation_rpy((100.0, 60.0, 3.0), (0.0, 0.02, 2.0))
VELOCITY = 10.0 * T_MAP_EGO[:3, 0]
ORIGIN = (49.0, 8.4, 115.0)


def track(**changes):
    rng = np.random.default_rng(0)
    A = rng.normal(size=(5, 5)) * (0.3, 0.3, 0.05, 0.5, 0.1)
    fields = {
        "track_id": 7,
        "state": np.array([110.0, 90.0, 2.3, 8.0, 0.2]),
        "covariance": A.T @ A + np.diag([0.05, 0.05, 0.002, 0.1, 0.01]),
        "z": 4.0,
        "z_variance": 0.04,
        "size": np.array([4.2, 1.8, 1.5]),
        "log_classes": np.array([0.0, -3.0, -2.0]),
        "existence": 0.9,
        "contributions": np.array([0.3, 0.12, 0.06]),
        "born_ns": 1_000_000_000,
        "seen_ns": 2_900_000_000,
        "hits": 12,
    }
    row = np.zeros(1, track_dtype(len(CLASSES), len(MODALITIES)))
    for name, value in (fields | changes).items():
        row[name] = value
    return row.view(np.recarray)[0]


def ego(velocity=VELOCITY):
    return EgoState(
        stamp_ns=3_000_000_000,
        position=tuple(T_MAP_EGO[:3, 3]),
        orientation=tuple(quaternion_from_matrix(T_MAP_EGO[:3, :3])),
        velocity=tuple(velocity),
        angular_rate=(0.0, 0.0, 0.0),
        covariance=(0.0,) * 36,
        velocity_covariance=(0.0,) * 9,
        extrapolated_s=0.0,
        source="imu+gnss",
    )


def messages(*tracks, local_map=None, velocity=VELOCITY):
    rows = np.empty(len(tracks), track_dtype(len(CLASSES), len(MODALITIES)))
    for i, it in enumerate(tracks):
        rows[i] = it
    return tracked_objects(
        rows,
        stamp_ns=3_000_000_000,
        T_map_ego=T_MAP_EGO,
        ego=ego(velocity),
        local_map=local_map,
        vehicle=Vehicle(),
        classes=CLASSES,
        modalities=MODALITIES,
    )


def in_ego(state):
    """x, y, yaw, vx, vy in the ego frame of a map state, for a level turn of the frames."""
    yaw = np.arctan2(T_MAP_EGO[1, 0], T_MAP_EGO[0, 0])
    center = transform_points(inverse(T_MAP_EGO), np.array([[state[0], state[1], 4.0]]))[0]
    heading = state[YAW] - yaw
    return np.array(
        [center[0], center[1], heading, state[SPEED] * np.cos(heading), state[SPEED] * np.sin(heading)]
    )


def test_it_is_seen_from_the_ego_vehicle():
    it = track()
    (message,) = messages(it)
    x, y, yaw, vx, vy = in_ego(it.state)
    assert message.center[:2] == pytest.approx((x, y))
    assert np.cos(message.yaw - yaw) == pytest.approx(1)
    assert message.velocity == pytest.approx((vx, vy))
    assert message.size == (4.2, 1.8, 1.5)
    assert (message.track_id, message.hits, message.label) == (7, 12, "car")
    assert (message.age_s, message.coasting_s) == pytest.approx((2.0, 0.1))
    assert message.yaw_rate == 0.2


def test_covariances_against_samples():
    it = track()
    (message,) = messages(it)
    rng = np.random.default_rng(1)
    states = rng.multivariate_normal(it.state, it.covariance * 1e-4, 40_000)  # small: linear
    samples = np.stack([in_ego(s) for s in states[:8000]])
    expected = np.cov(samples.T) / 1e-4
    box = np.array(message.box_covariance).reshape(4, 4)
    at = np.ix_([0, 1, 3], [0, 1, 3])
    scale = np.abs(expected[:3, :3]).max()
    np.testing.assert_allclose(box[at], expected[:3, :3], atol=0.05 * scale)
    assert box[2].tolist() == [0, 0, 0.04, 0]
    spread = np.array(message.velocity_covariance).reshape(2, 2)
    np.testing.assert_allclose(spread, expected[3:, 3:], atol=0.05 * np.abs(expected[3:, 3:]).max())


def test_place_on_earth_against_a_geodesic():
    it = track(state=np.array([300.0, 400.0, 0.0, 0.0, 0.0]), z=0.0)
    (message,) = messages(it, local_map=LocalMap(*ORIGIN))
    azimuth, _, distance = Geod(ellps="WGS84").inv(
        ORIGIN[1], ORIGIN[0], message.longitude_deg, message.latitude_deg
    )
    # Up to the origin's altitude over the earth's radius, and the difference of chord and arc.
    assert distance == pytest.approx(500.0, abs=0.02)
    assert azimuth == pytest.approx(np.degrees(np.arctan2(300, 400)), abs=0.01)
    (nowhere,) = messages(it)
    assert nowhere.latitude_deg is nowhere.longitude_deg is None


def test_shares_sum_to_one():
    (message,) = messages(track())
    assert sum(message.contributions.values()) == pytest.approx(1)
    assert message.contributions["lidar"] == pytest.approx(0.3 / 0.48)
    assert sum(message.class_probabilities.values()) == pytest.approx(1)
    assert message.class_probabilities["cyclist"] / message.class_probabilities["car"] == pytest.approx(
        np.exp(-2)
    )


def test_forecast_is_the_motion_with_a_fading_turn(reference):
    it = track()
    (message,) = messages(it)
    assert tuple(p.t_s for p in message.forecast) == FORECAST_S
    state, t = it.state[None].copy(), 0.0
    for point in message.forecast:
        while t < point.t_s - 1e-9:
            state = reference.advance(state, 0.1)
            state[:, TURN] *= 0.9
            t += 0.1
        x, y, yaw, *_ = in_ego(state[0])
        assert (point.x, point.y) == pytest.approx((x, y))
        assert np.cos(point.yaw - yaw) == pytest.approx(1, abs=1e-9)
    spread = [p.std_m for p in message.forecast]
    assert spread == sorted(spread)
    assert spread[0] > np.sqrt(np.trace(it.covariance[:2, :2]) / 2)


def test_forecast_goes_straight_without_a_turn():
    (message,) = messages(track(state=np.array([110.0, 90.0, 2.3, 8.0, 0.0])))
    way = [np.hypot(p.x - message.center[0], p.y - message.center[1]) for p in message.forecast]
    np.testing.assert_allclose(way, 8.0 * np.array(FORECAST_S), atol=0.1)


def test_time_to_collision_uses_both_motions():
    ahead = T_MAP_EGO @ np.array([30.0, 0.0, 0.0, 1.0])
    standing = track(state=np.array([ahead[0], ahead[1], 2.0, 0.0, 0.0]))
    flees = track(state=np.array([ahead[0], ahead[1], 2.0, 12.0, 0.0]))
    met, never = messages(standing, flees)
    assert met.time_to_collision_s == pytest.approx((30 - 2.1 - 2.7) / 10, abs=0.06)
    assert never.time_to_collision_s is None


def test_many_are_as_one_by_one():
    tracks = [track(), track(track_id=8, state=np.array([90.0, 70.0, -1.0, 3.0, -0.4]), z=5.0)]
    local_map = LocalMap(*ORIGIN)
    together = messages(*tracks, local_map=local_map)
    for got, alone in zip(together, (messages(t, local_map=local_map)[0] for t in tracks)):
        assert got.center == pytest.approx(alone.center)
        assert got.box_covariance == pytest.approx(alone.box_covariance)
        assert got.velocity_covariance == pytest.approx(alone.velocity_covariance)
    assert messages() == ()


def test_it_can_be_written_and_read():
    sent = messages(track(), local_map=LocalMap(*ORIGIN))
    assert msgspec.json.decode(msgspec.json.encode(sent), type=tuple[TrackedObject, ...]) == sent


def about(classes, modalities):
    return {
        "stamp_ns": 3_000_000_000,
        "T_map_ego": T_MAP_EGO,
        "ego": ego(),
        "local_map": LocalMap(*ORIGIN),
        "vehicle": Vehicle(),
        "classes": classes,
        "modalities": modalities,
    }


def test_many_classes_of_long_names():
    """More bytes than there is room for at first, more than a short map's entries, text beyond ASCII."""
    classes, modalities = tuple(f"Straßenbahn {k} " * 20 for k in range(20)), ("lidar",)
    tracks = np.zeros(3, track_dtype(20, 1))
    tracks["log_classes"][:, 7] = 2.0
    got = tracked_objects(tracks, **about(classes, modalities))
    assert [message.label for message in got] == [classes[7]] * 3
    assert tuple(got[0].class_probabilities) == classes
    assert sum(got[2].class_probabilities.values()) == pytest.approx(1)
    assert got[1].contributions == {"lidar": 0.0}


def test_tracks_of_other_classes_are_refused():
    with pytest.raises(ValueError, match="tracks are not of 2 classes and 3 modalities"):
        tracked_objects(np.zeros(1, track_dtype(3, 3)), **about(CLASSES[:2], MODALITIES))
