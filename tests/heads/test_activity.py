import numpy as np
import pytest
import torch

from fusion_rt.header import Header
from fusion_rt.heads.activity import ActivityHead
from fusion_rt.heads.radar import FEATURES, window_features
from fusion_rt.home_packets import RadarPoints

PERIOD_NS = round(1e9 / 30)


def frames(count=70, seed=0):
    rng = np.random.default_rng(seed)
    made = []
    for i in range(count):
        n = int(rng.integers(0, 25))
        made.append(
            RadarPoints(
                header=Header(sensor_id="radar", frame_id="radar", seq=i, stamp_ns=i * PERIOD_NS),
                xyz=rng.normal((1.5, 0, 0), 0.4, (n, 3)).astype(np.float32),
                velocity=(rng.integers(-2, 3, n) * 0.6147).astype(np.float32),
                snr_db=np.zeros(n, np.float32),
            )
        )
    return made


def features(made):
    return window_features(
        np.concatenate([f.xyz for f in made]),
        np.concatenate([f.velocity for f in made]),
        np.repeat(np.arange(len(made)), [len(f.xyz) for f in made]),
        len(made),
    )


def test_live_is_as_trained(activity):
    net, folder = activity
    made, head = frames(), ActivityHead(folder, every=1)
    answers = [head.push(frame) for frame in made]
    assert [a is not None for a in answers[:16]] == [False] * 14 + [True] * 2
    assert not answers[58].whole
    assert answers[59].whole
    windows = np.stack([features(made[end - 60 : end]) for end in range(60, 71)])
    with torch.no_grad():
        expected = net(torch.from_numpy(windows))
    found = [list(a.probabilities.values()) for a in answers[59:]]
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_what_stands_still_is_not_a_person():
    wall = np.tile([[2.0, 0.5, 0.3]], (60, 1))
    frame = np.arange(60)
    assert not window_features(wall, np.zeros(60), frame, 60).any()
    walking = np.stack([np.linspace(1, 2.8, 60), np.zeros(60), np.zeros(60)], 1)
    both = window_features(np.concatenate([wall, walking]), np.zeros(120), np.tile(frame, 2), 60)
    np.testing.assert_array_equal(both, window_features(walking, np.zeros(60), frame, 60))
    assert both.any()


def test_where_the_person_stands_does_not_matter():
    rng = np.random.default_rng(1)
    xyz, frame = rng.uniform((1.0, -0.3, -1), (1.6, 0.3, 1), (600, 3)), np.repeat(np.arange(60), 10)
    speed = rng.integers(-2, 3, 600) * 0.6147
    moved = window_features(xyz + (0.8, 0.4, 0), speed, frame, 60)
    np.testing.assert_allclose(moved, window_features(xyz, speed, frame, 60), atol=0.35)
    assert np.abs(moved - window_features(xyz, speed, frame, 60)).mean() < 0.01


def test_frames_that_are_lost_late_or_empty(activity):
    _, folder = activity
    made, head = frames(40), ActivityHead(folder, every=1)
    for frame in made[:20]:
        head.push(frame)
    assert head.push(made[19]) is None
    assert head.push(made[10]) is None
    assert head.push(made[22]) is not None  # two were lost
    assert head.dropped == {
        "late, repeated or too soon after the frame before": 2,
        "frames lost on the way (filled)": 2,
    }
    later = RadarPoints(
        header=Header(sensor_id="radar", frame_id="radar", seq=99, stamp_ns=made[-1].header.stamp_ns + 10**9),
        xyz=np.full((1, 3), np.nan, np.float32),
        velocity=np.zeros(1, np.float32),
        snr_db=np.zeros(1, np.float32),
    )
    assert head.push(later) is None
    assert head.dropped["gap (started anew)"] == 1


def test_a_frame_without_points_has_no_features():
    empty = window_features(np.zeros((0, 3)), np.zeros(0), np.zeros(0, int), 60)
    assert empty.shape == (60, len(FEATURES))
    assert not empty.any()
    assert pytest.approx(0) == np.abs(empty).max()
