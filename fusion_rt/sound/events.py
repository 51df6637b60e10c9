"""Kinds of sounds, by a small head over what a sound is like (`summary`) and what a network that knows sound
effects makes of it (`effects`). A sound is looked at again and again while it goes on, always from its onset;
without one, the last five seconds are looked at now and then: rain has no onset."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from fusion_rt.errors import ConfigError
from fusion_rt.heap import give_back
from fusion_rt.models.head import Head
from fusion_rt.sound.effects import Effects
from fusion_rt.sound.framing import FRAME_NS, RATE_HZ, Frame
from fusion_rt.sound.segments import FLOOR_DB, Segments
from fusion_rt.sound.summary import SAMPLES, SECONDS, padded, summary

HEAD = "sound-events"
OTHER = ("speech", "other")  # labels of the head that are no event
LOOKS_S = (0.5, 1.0, 2.0)  # after an onset, and at the end
STEADY_S = 5.0  # between looks where nothing begins
BEFORE_S = 0.1  # of what was before the onset is looked at with it
LEAST_P = 0.6
EARLY_S, EARLY_P = 0.8, 0.97  # of so little, only what is that sure is told: half a word may sound like a cry
# What a voice may sound like. Where somebody speaks in so much of what is looked at, only what is that sure
# is told: of clips of these kinds none has more speech in it at its surest look, and words of 1 in 5
# synthesised voices were taken for one (docs/benchmarks/home_sound.md).
VOICE_LIKE = ("baby_cry", "dog_bark", "person_sneeze", "rooster")
SPEECH_SHARE, SPEECH_P = 0.35, 0.99
SPOKEN = 0.5  # probability of speech from which somebody speaks
DOUBTED_P = 0.5  # what is not told has at most this: nobody takes it for an event


class Classifier:
    """Sounds of up to five seconds -> label -> probability. Raises ConfigError, EngineError."""

    def __init__(self, head: str | Path = HEAD, *, threads: int = 1) -> None:
        self._head = Head.load(head, threads=threads)
        if set(self._head.inputs) != {"summary", "effects"} or "events" not in self._head.spec.labels:
            raise ConfigError(f"{head}: no sound head: it takes {', '.join(self._head.inputs)}")
        self.labels = self._head.spec.labels["events"]
        self.identity = self._head.identity
        self.thresholds = self._head.spec.thresholds
        self.trained_with = self._head.spec.trained_with
        self._effects = Effects()
        self.embedding: NDArray[np.float32] = np.empty(0, np.float32)

    def look(self, pcm: NDArray[Any]) -> dict[str, float]:
        """pcm (N,) int16 or float at 16 kHz, the newest five seconds of it. `embedding` is then what the head
        saw of it, (1024,) float32."""
        self._head.inputs["summary"][0], self._head.inputs["effects"][0] = features(pcm, self._effects)
        self.embedding = self._head.inputs["effects"][0].copy()
        p = dict(zip(self.labels, map(float, self._head.run()["events"][0])))
        give_back()  # 20 MB of spectra, needed again in seconds
        return p


class SoundEvent(Struct, frozen=True, kw_only=True):
    """A sound that was recognised: when it began, how long it had gone on by then, and how sure it is."""

    kind: str
    p: float
    onset_ns: int
    length_s: float


class SoundEvents:
    """One microphone's.

    probabilities  kind -> probability, of the newest look; without those below a hundredth, and without
                   OTHER; what is not sure enough to be told has DOUBTED_P at most
    looked_ns      when that was; 0: never"""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        self.probabilities: dict[str, float] = {}
        self.looked_ns = 0
        self._segments = Segments()
        self._ring: NDArray[np.int16] = np.zeros(0, np.int16)
        self._spoken: deque[bool] = deque(maxlen=round((SECONDS + BEFORE_S) * 1e9 / FRAME_NS))
        self._looks = 0
        self._told: set[str] = set()
        self._steady_s = 0.0

    def push(self, frame: Frame, speech: float = 0.0) -> list[SoundEvent]:
        """What is recognised now, each kind once a sound. speech: probability that somebody speaks in the
        frame, where that is known."""
        self._spoken.append(speech >= SPOKEN)
        self._ring = np.concatenate([self._ring[-SAMPLES:], frame.pcm])
        step = self._segments.push(frame.pcm)
        now_ns = frame.stamp_ns + FRAME_NS
        if step == "begin":
            self._looks, self._told, self._steady_s = 0, set(), 0.0
        length_s = self._segments.length_s
        due = self._segments.active and self._looks < len(LOOKS_S) and length_s >= LOOKS_S[self._looks]
        if due or step == "end":
            self._looks += 1
            return self._look(now_ns, length_s)
        if not self._segments.active:
            self._steady_s += FRAME_NS / 1e9
            if self._steady_s >= STEADY_S and _loud(self._ring):
                self._steady_s, self._told = 0.0, set(self.probabilities) & self._told
                return self._look(now_ns, SECONDS)
        return []

    def current(self, since_ns: int) -> dict[str, float]:
        """Kind -> probability, where it was looked since then or what was looked at goes on; else {}."""
        fresh = self.looked_ns > since_ns or (self._segments.active and self._looks > 0)
        return dict(self.probabilities) if fresh else {}

    def _look(self, now_ns: int, length_s: float) -> list[SoundEvent]:
        heard = self._ring[-round((length_s + BEFORE_S) * RATE_HZ) :]
        p = {k: v for k, v in self.classifier.look(heard).items() if v >= 0.01 and k not in OTHER}
        sure = self._sure(p, length_s)
        self.probabilities = {k: v if k in sure else min(v, DOUBTED_P) for k, v in p.items()}
        self.looked_ns = now_ns
        onset_ns = now_ns - round(length_s * 1e9)
        found = [
            SoundEvent(kind=kind, p=p[kind], onset_ns=onset_ns, length_s=length_s)
            for kind in p
            if kind in sure and kind not in self._told
        ]
        self._told |= sure
        return found

    def _sure(self, p: dict[str, float], length_s: float) -> set[str]:
        """The kinds that may be told of a look at so many seconds."""
        looked = list(self._spoken)[-round((length_s + BEFORE_S) * 1e9 / FRAME_NS) :]
        spoken = sum(looked) >= SPEECH_SHARE * len(looked)
        early = self._segments.active and length_s < EARLY_S
        sure = set()
        for kind, value in p.items():
            least = max(self.classifier.thresholds.get(kind, LEAST_P), EARLY_P if early else 0.0)
            if spoken and kind in VOICE_LIKE:
                least = max(least, SPEECH_P)
            if value >= least:
                sure.add(kind)
        return sure


def features(pcm: NDArray[Any], effects: Effects) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the head takes of pcm (N,): (292,) summary and (1024,) pooled effects, float32."""
    x = padded(pcm)
    return summary(x), effects.of(x[: len(pcm)])


def _loud(pcm: NDArray[np.int16]) -> bool:
    mean_square = np.square(pcm.astype(np.float64) / 32768).mean()
    return bool(10 * np.log10(mean_square + 1e-12) > FLOOR_DB + 10)
