"""The C++ of the tracker against the same in numpy, on ordinary and hostile streams of boxes."""

import ctypes

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion_rt.errors import MessageError
from fusion_rt.tracking import core
from fusion_rt.tracking.config import TrackerConfig
from fusion_rt.tracking.objects import tracked_objects
from fusion_rt.tracking.tracker import Tracker
from fusion_rt.tracking.tracks import YAW, track_dtype
from fusion_rt.transforms import wrap_angle

SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="session")
def both(reference, streams):
    """A new tracker in C++ and one in numpy."""

    def make(**changes):
        births = dict.fromkeys(streams.CLASSES, 0.3)
        arguments = TrackerConfig(**changes), streams.CLASSES, streams.MODALITIES, births
        return [kind(*arguments) for kind in (Tracker, reference.Tracker)]

    return make


def assert_same_tracks(ours, theirs):
    assert ours.dtype == theirs.dtype
    assert ours["track_id"].tolist() == theirs["track_id"].tolist()
    for field in ours.dtype.names:
        got, expected = ours[field].copy(), theirs[field].copy()
        if field == "state":
            turned = wrap_angle(got[:, YAW] - expected[:, YAW])
            np.testing.assert_allclose(turned, 0, atol=1e-9)
            got[:, YAW] = expected[:, YAW] = 0
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9, err_msg=field)


def assert_same_messages(ours, theirs):
    assert len(ours) == len(theirs)
    for got, expected in zip(ours, theirs):
        one, other = (msgspec.to_builtins(message) for message in (got, expected))
        assert list(one) == list(other)
        for name in one:
            if name in ("label", "time_to_collision_s") or one[name] is None:  # the times are steps' numbers
                assert one[name] == other[name]
            elif name in ("latitude_deg", "longitude_deg"):
                assert one[name] == pytest.approx(other[name], rel=0, abs=1e-11)  # a micrometre
            elif name == "yaw":
                assert np.cos(one[name] - other[name]) == pytest.approx(1)
            elif name == "forecast":
                a, b = np.array(one[name]), np.array(other[name])
                np.testing.assert_allclose(a[:, [0, 1, 2, 4]], b[:, [0, 1, 2, 4]], rtol=1e-9, atol=1e-9)
                np.testing.assert_allclose(np.cos(a[:, 3] - b[:, 3]), 1)
            else:
                assert one[name] == pytest.approx(other[name], rel=1e-9, abs=1e-9), name


def follow(trackers, frames):
    """What each shows, frame by frame."""
    for frame in frames:
        with np.errstate(all="ignore"):  # numpy would warn of what was not finite
            yield frame, *(tracker.update(**frame) for tracker in trackers)


@settings(max_examples=150)
@given(SEEDS, st.booleans())
def test_streams(both, streams, reference_objects, seed, placed):
    trackers = both()
    for frame, ours, theirs in follow(trackers, streams.stream(seed)):
        assert_same_tracks(ours, theirs)
        about = streams.seen_from(frame["T_map_ego"], stamp_ns=frame["stamp_ns"], placed=placed)
        expected = reference_objects.tracked_objects(theirs, **about)
        assert_same_messages(tracked_objects(ours, **about), expected)
    assert trackers[0].refused == trackers[1].refused


@pytest.mark.parametrize(
    "changes",
    [
        {"confirm_hits": 1, "confirm": 0.01, "drop": 0.005},
        {"gate": 40.0, "other_class": 0.5, "position_std_m": 1.0},
        {"birth_score": 0.6, "detection": 0.99, "max_coast_s": 0.15},
        {"survival_s": 0.3, "velocity_std": 0.1, "common_error": 0.9, "classes": {}},
    ],
)
def test_other_settings(both, streams, changes):
    shown = 0
    for seed in range(6):
        for _, ours, theirs in follow(both(**changes), streams.stream(seed)):
            assert_same_tracks(ours, theirs)
            shown += len(ours)
    assert shown > 50


def test_boxes_that_are_the_same(both, detections):
    """Of equal ones the first is taken; those left begin tracks."""
    for count in ((1, 2, 1, 2), (2, 2, 1, 2), (3, 1, 3, 0)):
        frames = [
            {"detections": detections([(10.0, 0.0, 0.0)] * n), "stamp_ns": k * 10**8, "T_map_ego": np.eye(4)}
            for k, n in enumerate(count)
        ]
        for _, ours, theirs in follow(both(confirm_hits=1, confirm=0.1), frames):
            assert_same_tracks(ours, theirs)


def test_a_crowd_that_outgrows_its_room(both, streams):
    most = 0
    for _, ours, theirs in follow(both(), streams.stream(4, most=400, hostile=False)):
        assert_same_tracks(ours, theirs)
        most = max(most, len(ours))
    assert most > 64


def test_streams_show_much(streams, both):
    """What the tests above compare is not nothing."""
    shown = [len(ours) for seed in range(20) for _, ours, _ in follow(both(), streams.stream(seed))]
    assert 0 in shown
    assert np.mean(shown) > 3
    assert max(shown) > 10


@given(SEEDS, st.sampled_from([0.0, 0.05, 0.1, 0.5, 3.0]))
def test_predict(reference, seed, dt):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(0, 6))
    tracks = np.zeros(n, track_dtype(3, 3))
    A = rng.normal(size=(n, 5, 5))
    tracks["state"] = rng.normal(0, (50, 50, 2, 8, 0.5), (n, 5))
    tracks["covariance"] = A @ A.transpose(0, 2, 1)
    tracks["log_classes"], tracks["existence"] = rng.normal(size=(n, 3)), 0.8
    motions = np.array([[3.0, 0.8, 0.1, 8, 1, 0.3], [1.5, 2.0, 0.6, 2, 2, 0.3], [2.0, 1.2, 0.2, 4, 1, 0.3]])
    settings = core.settings(TrackerConfig(), motions, 3)
    kinds = tracks["log_classes"].argmax(axis=1)
    states, covariances = tracks["state"].copy(), tracks["covariance"].copy()
    if dt > 0:
        states, covariances = reference.predict(states, covariances, dt, *motions[kinds, :2].T)
    left = core.library().frt_tracks_predict(ctypes.addressof(settings), core.address(tracks), n, 0, dt)
    assert left == n
    np.testing.assert_allclose(np.cos(tracks["state"][:, YAW] - states[:, YAW]), 1)
    np.testing.assert_allclose(np.delete(tracks["state"], YAW, 1), np.delete(states, YAW, 1), rtol=1e-12)
    np.testing.assert_allclose(tracks["covariance"], covariances, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(tracks["covariance"], tracks["covariance"].transpose(0, 2, 1))
    np.testing.assert_allclose(tracks["existence"], 0.8 * np.exp(-dt / 3.0))


def test_the_same_bits_again(both, streams):
    def once():
        return [ours.tobytes() for _, ours, _ in follow(both(), streams.stream(3))]

    assert once() == once()


@pytest.mark.parametrize("field", ["scores", "contributions"])
def test_boxes_of_other_classes_or_modalities_are_refused(tracker, detections, field):
    found = detections([(10, 0, 0)])
    wrong = msgspec.structs.replace(found, **{field: np.full((1, 2), 0.5)})
    with pytest.raises(MessageError, match="for a tracker of 3 and 3"):
        tracker.update(wrong, stamp_ns=0, T_map_ego=np.eye(4))


@pytest.mark.parametrize("label", [-1, 3, 10**12])
def test_a_label_that_is_no_class_is_refused(tracker, detections, label):
    found = detections([(10, 0, 0), (20, 0, 0)])
    found.labels[1] = label
    with pytest.raises(MessageError, match="one is not of the 3 classes"):
        tracker.update(found, stamp_ns=0, T_map_ego=np.eye(4))
    assert len(tracker.update(None, stamp_ns=10**8, T_map_ego=np.eye(4))) == 0
