"""Sounds that stand out of the background."""

import numpy as np

from fusion_rt.sound.framing import FRAME
from fusion_rt.sound.segments import Segments


def steps(pcm):
    segments = Segments()
    frames = pcm[: len(pcm) // FRAME * FRAME].reshape(-1, FRAME)
    return [(round(i * 0.02, 2), s) for i, frame in enumerate(frames) if (s := segments.push(frame))]


def burst(seconds, level, seed=1):
    return np.random.default_rng(seed).normal(0, level, round(seconds * 16_000)).astype(np.int16)


def test_a_burst_begins_at_once_and_ends_after_a_pause(quiet):
    pcm = np.concatenate([quiet(3), burst(0.6, 3000), quiet(3)])
    (begin, first), (end, last) = steps(pcm)
    assert (first, last) == ("begin", "end")
    assert begin == 3.0
    assert 4.5 < end < 4.7


def test_bursts_of_an_alarm_are_one_sound(quiet):
    pcm = np.concatenate(
        [quiet(2), *(part for _ in range(3) for part in (burst(0.5, 3000), quiet(0.5))), quiet(2)]
    )
    assert [step for _, step in steps(pcm)] == ["begin", "end"]


def test_a_steady_noise_becomes_the_background(quiet):
    found = steps(np.concatenate([quiet(2), burst(20, 3000)]))
    assert [step for _, step in found][:2] == ["begin", "end"]
    assert len(found) <= 6
