"""Where an utterance begins and ends."""

from fusion_rt.sound.endpoint import EndpointConfig, Endpointer
from fusion_rt.sound.voice_activity import WINDOW_S


def steps(probabilities, **config):
    endpointer = Endpointer(EndpointConfig(**config))
    found = [(i, step) for i, p in enumerate(probabilities) if (step := endpointer.push(p))]
    return found, endpointer


def test_speech_begins_and_ends_after_the_silence():
    found, endpointer = steps([0.0] * 10 + [0.9] * 20 + [0.1] * 30)
    assert found == [(11, "begin"), (39, "end")]  # 10 windows of 32 ms are 0.32 s
    assert abs(endpointer.speech_s - 20 * WINDOW_S) < WINDOW_S


def test_a_click_is_no_speech():
    assert steps([0.0, 0.9, 0.0] * 20)[0] == []


def test_a_short_pause_does_not_end_it():
    found, _ = steps([0.9] * 10 + [0.1] * 8 + [0.9] * 10 + [0.1] * 12)
    assert [step for _, step in found] == ["begin", "end"]


def test_nobody_speaks_for_ever():
    found, _ = steps([0.9] * 400, longest_s=2.0)
    assert found[:2] == [(1, "begin"), (1 + 63, "end")]
