import math

import numpy as np
import pytest
import torch

from fusion_rt.errors import ConfigError
from fusion_rt.header import Header
from fusion_rt.heads import worn
from fusion_rt.heads.fall import BIN_NS, FallHead
from fusion_rt.messages import ImuSample
from fusion_rt.train.datasets.fall_head import as_sequences, bins_of
from fusion_rt.train.datasets.umafall import WornRecording

NAN = (math.nan,) * 3


def sample(place, stamp_ns, force=(0.0, 0.0, worn.G), rate=(0.0, 0.0, 0.0)):
    header = Header(sensor_id=place, frame_id=place, seq=0, stamp_ns=stamp_ns)
    return ImuSample(header=header, specific_force=force, angular_rate=rate)


def recording(seconds=8.0, seed=0):
    """A phone at 200 Hz without rates, a waist at 20 Hz with jitter and a gap."""
    rng = np.random.default_rng(seed)
    samples = []
    for place, rate_hz in (("rightpocket", 200.0), ("waist", 20.0)):
        for t in np.arange(0.1, seconds, 1 / rate_hz):
            if place == "waist" and 3.0 < t < 3.4:
                continue
            stamp = round((t + rng.uniform(0, 0.2 / rate_hz)) * 1e9)
            force = tuple((np.array([0, 0, worn.G]) + rng.normal(0, 3, 3)).tolist())
            samples.append(
                sample(
                    place,
                    stamp,
                    force,
                    NAN if place == "rightpocket" else tuple(rng.normal(0, 1, 3).tolist()),
                )
            )
    samples.sort(key=lambda s: s.header.stamp_ns)
    return WornRecording(
        name="made",
        subject="1",
        movement="none",
        samples=tuple(samples),
        fall_ns=None,
        duration_s=seconds,
        notes={},
    )


def answers(head, samples):
    return [answer for s in samples if (answer := head.push(s)) is not None]


def test_live_is_as_trained(fall):
    net, folder = fall
    made = recording()
    found = [a.p_fall for a in answers(FallHead(head=folder), made.samples)]
    sequence = as_sequences([bins_of(made)])[0]
    inputs = [torch.from_numpy(x)[None] for x in (sequence.values, sequence.present, sequence.age)]
    with torch.no_grad():
        expected = torch.stack([m(*inputs)[1].softmax(-1) for m in net.members]).mean(0)[0, :, 1].numpy()
    np.testing.assert_allclose(found, expected[: len(found)], atol=2e-4)
    assert len(found) >= len(expected) - 1  # the last bin is not over


def test_the_same_samples_give_the_same_answers(fall):
    _, folder = fall
    head, made = FallHead(head=folder), recording(4.0)
    first = answers(head, made.samples)
    head.reset()
    assert answers(head, made.samples) == first


def test_features_do_not_depend_on_how_it_is_worn():
    rng = np.random.default_rng(3)
    window = rng.normal(0, 5, (worn.BINS, worn.CHANNELS))
    window[:, worn.LARGEST], window[:, worn.SMALLEST] = 15.0, 5.0
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turned = window.copy()
    turned[:, worn.FORCE] = window[:, worn.FORCE] @ turn.T
    np.testing.assert_allclose(worn.force_features(turned), worn.force_features(window), atol=1e-4)


def test_a_body_that_tips_over_is_turned():
    window = np.zeros((worn.BINS, worn.CHANNELS))
    window[:30, 2] = window[30:, 0] = worn.G
    window[:, worn.LARGEST] = window[:, worn.SMALLEST] = worn.G
    features = dict(zip(worn.FORCE_FEATURES, worn.force_features(window)))
    assert features["tilt_3s"] == pytest.approx(math.pi / 2, abs=1e-5)
    assert features["norm"] == pytest.approx(0, abs=1e-5)


def test_what_cannot_be_used_is_counted(fall):
    _, folder = fall
    head = FallHead({"watch": "wrist"}, head=folder)
    assert head.push(sample("watch", 0)) is None
    assert head.push(sample("lamp", 0)) is None
    answer = head.push(sample("watch", 2 * BIN_NS, NAN, NAN))
    assert answer is not None
    assert "waist/force" in answer.missing
    assert head.push(sample("watch", 0)) is None
    assert head.push(sample("watch", 100 * BIN_NS)) is None
    assert head.dropped == {
        "sensor that is not worn": 1,
        "older than what was answered": 1,
        "silence of all sensors (started anew)": 1,
    }
    with pytest.raises(ConfigError, match="ankle: not a place"):
        FallHead({"watch": "ankle"}, head=folder)
