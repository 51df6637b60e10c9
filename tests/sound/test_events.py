"""The bundled head of sound events on sounds that it was not trained on, in the noise of a room."""

import json

import numpy as np
import pytest
import soundfile

from fusion_rt.sound.events import OTHER, Classifier, SoundEvents
from fusion_rt.sound.framing import Framer
from fusion_rt.sound.listening import ListenConfig, Listener
from fusion_rt.train.sounds.synthetic import synthesise


@pytest.fixture(scope="module")
def classifier():
    return Classifier()


def test_it_knows_the_homes_sounds(classifier):
    from fusion_rt.scene import EVENTS

    assert set(EVENTS) - {"fall"} <= set(classifier.labels)
    p = classifier.look(synthesise("smoke_alarm", np.random.default_rng(99)))
    assert sum(p.values()) == pytest.approx(1, abs=1e-4)
    assert max(p, key=p.get) == "smoke_alarm"


def test_an_event_is_told_once_with_its_onset(classifier, as_chunks, quiet):
    alarm = synthesise("smoke_alarm", np.random.default_rng(7))
    first = np.flatnonzero(np.abs(alarm) > 0.1 * np.abs(alarm).max())[0] / 16_000
    pcm = np.concatenate([quiet(4), np.clip(alarm.astype(np.int32) + quiet(5), -32768, 32767), quiet(3)])
    ear, framer = SoundEvents(classifier), Framer()
    found = [e for c in as_chunks(pcm.astype(np.int16)) for f in framer.push(c) for e in ear.push(f)]
    alarms = [event for event in found if event.kind == "smoke_alarm"]
    assert alarms
    assert abs(alarms[0].onset_ns / 1e9 - (4 + first)) < 0.3
    assert alarms[0].length_s <= 2.1


class Crying:
    """A head that hears a baby and an alarm in everything, and is as sure as it is told."""

    def __init__(self, p):
        self.p, self.thresholds = p, {}

    def look(self, pcm):
        return {"baby_cry": self.p, "smoke_alarm": self.p}


@pytest.mark.parametrize(
    ("speech", "p", "told"),
    [
        (0.0, 0.8, {"baby_cry", "smoke_alarm"}),
        (0.9, 0.8, {"smoke_alarm"}),  # an alarm is not like a voice
        (0.9, 0.995, {"baby_cry", "smoke_alarm"}),
        (0.2, 0.8, {"baby_cry", "smoke_alarm"}),
    ],
)
def test_while_somebody_speaks_a_cry_must_be_surer(speech, p, told, as_chunks, quiet):
    noise = np.random.default_rng(0).normal(0, 3000, 48_000).astype(np.int16)
    pcm = np.concatenate([quiet(2), noise, quiet(2)])
    ear, framer = SoundEvents(Crying(p)), Framer()
    frames = [f for c in as_chunks(pcm) for f in framer.push(c)]
    found = [e for f in frames for e in ear.push(f, speech if 2e9 <= f.stamp_ns < 5e9 else 0.0)]
    assert {event.kind for event in found} == told
    assert {kind for kind, value in ear.probabilities.items() if value > 0.5} == told


def test_a_quiet_room_has_no_events(classifier, as_chunks, quiet):
    ear, framer = SoundEvents(classifier), Framer()
    assert [e for c in as_chunks(quiet(12)) for f in framer.push(c) for e in ear.push(f)] == []
    assert ear.current(0) == {}


def test_sounds_come_in_order_and_cover_everything(office, as_chunks, quiet):
    knock = synthesise("knock", np.random.default_rng(3))
    listener = Listener(ListenConfig(voice=None, embedding=True), office, "mic")
    pcm = np.concatenate([quiet(2), knock, quiet(1)])
    sounds = [s for c in as_chunks(pcm) for s in listener.push(c)]
    ends = [s.header.stamp_ns + round(s.duration_s * 1e9) for s in sounds]
    assert [s.header.stamp_ns for s in sounds] == [0, *ends[:-1]]
    assert not any(kind in OTHER for s in sounds for kind in s.events)
    assert {s.embedding.size for s in sounds} == {0, 1024}
    onsets = [onset_ns for s in sounds for onset_ns in s.onsets.values()]
    assert onsets
    assert all(abs(onset_ns / 1e9 - 2) < 0.3 for onset_ns in onsets)


def test_hear_tells_what_is_in_a_file(tmp_path, quiet):
    from typer.testing import CliRunner

    from fusion_rt.cli import app

    path = tmp_path / "alarm.flac"
    alarm = synthesise("smoke_alarm", np.random.default_rng(7))
    soundfile.write(path, np.concatenate([quiet(3), alarm]), 16_000)
    done = CliRunner().invoke(app, ["hear", str(path), "--plan", "office", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert "smoke_alarm" in {row["what"] for row in told["heard"]}
    assert told["counts"]["frames"] == 450
    assert CliRunner().invoke(app, ["hear", str(tmp_path / "none.wav")]).exit_code != 0
