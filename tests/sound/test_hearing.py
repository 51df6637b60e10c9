"""Real speech to intents. The recordings lie beside the checkout; without them these tests skip."""

from collections import Counter

import numpy as np
import pytest

from fusion_rt.messages import Command
from fusion_rt.sound.files import chunks
from fusion_rt.sound.hearing import VoiceConfig
from fusion_rt.sound.listening import ListenConfig, Listener


@pytest.fixture(scope="module")
def recordings(shared_data):
    folder = shared_data / "home"
    if not (folder / "wake").is_dir():
        pytest.skip(f"no recordings of speech at {folder}")
    return folder


@pytest.fixture(scope="module")
def listen(office, quiet, as_chunks):
    """Recordings, one after the other, into one listener -> its commands."""

    def run(paths, **voice):
        listener = Listener(ListenConfig(voice=VoiceConfig(**voice), events=None), office, "mic")
        found, seq = [], 0
        for path in paths:
            pcm = np.concatenate([chunk.pcm for chunk in chunks(path, "mic")] + [quiet(0.8)])
            for chunk in as_chunks(pcm, seq=seq, start_ns=seq * 20_000_000):
                found += [p for p in listener.push(chunk) if isinstance(p, Command)]
                seq = chunk.header.seq + 1
        return found, listener

    return run


def test_spoken_commands_become_intents(listen, recordings):
    paths = sorted((recordings / "wake").glob("turn_on_the_office_lights_*.flac"))[:3]
    found, listener = listen(paths, wake=())
    assert [command.intent for command in found] == ["turn_on"] * 3
    expected = {"kind": "light", "device": "office_lights", "room": "office"}
    assert all(command.slots == expected and command.p > 0.8 for command in found)
    assert listener.counts["utterances"] == 3


def test_other_speech_is_rejected_and_leaves_no_words(listen, recordings):
    paths = sorted(p for p in (recordings / "speech_intent").glob("*.flac") if "noise" not in p.name)[:2]
    found, listener = listen(paths, wake=())
    assert found == []
    assert listener.counts["unlikely"] >= 2
    assert listener.wishes == []


def test_the_wake_word_opens_the_ear(listen, recordings):
    wake, command = recordings / "wake", next((recordings / "wake").glob("turn_on*.flac"))
    found, _ = listen([command], wake=("hey_mycroft",))
    assert found == []
    found, _ = listen([wake / "hey_mycroft_test.flac", command], wake=("hey_mycroft",))
    assert Counter(command.intent for command in found) == {"wake": 1, "turn_on": 1}
    assert found[0].slots == {"word": "hey_mycroft"}
