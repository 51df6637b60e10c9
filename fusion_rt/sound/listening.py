"""All that one microphone hears, from its chunks alone: `Sound` and `Command` packets out, no samples."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta, Struct

from fusion_rt.home_packets import Sound
from fusion_rt.messages import AudioChunk, Command, Header
from fusion_rt.plan import Plan
from fusion_rt.sound.events import HEAD, Classifier, SoundEvent, SoundEvents
from fusion_rt.sound.framing import FRAME_NS, Frame, Framer
from fusion_rt.sound.hearing import Hearing, VoiceConfig, Wish
from fusion_rt.sound.level import FULL_SCALE_DB, level_dba

PERIOD_FRAMES = 25  # a Sound every half second
VOICE = "voice"  # the topic of commands
NOTHING = np.empty(0, np.float32)


class ListenConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is made of a microphone's sound.

    voice          commands; null: none are listened for
    events         the head of sound events: a bundled one, or a folder; null: none
    full_scale_db  the sound pressure level of a sine that just fits, dB
    embedding      put what the head saw into `Sound`
    """

    voice: VoiceConfig | None = VoiceConfig()
    events: str | None = HEAD
    full_scale_db: Annotated[float, Meta(ge=60, le=160)] = FULL_SCALE_DB
    embedding: bool = False


class Listener:
    """`push` gives what a chunk completes. Raises ConfigError, EngineError where it cannot be set up.

    framer    its counts: frames, silent, clipped, dropped, late, refused
    unspoken  what of the plan nobody can say, and why
    wishes, events  what the latest `push` found, as it is: with probabilities and onsets"""

    def __init__(self, config: ListenConfig, plan: Plan, sensor_id: str) -> None:
        self._config, self._sensor_id = config, sensor_id
        self.framer = Framer()
        self._hearing = Hearing(config.voice, plan) if config.voice is not None else None
        self._events = SoundEvents(Classifier(config.events)) if config.events is not None else None
        self.unspoken = self._hearing.unspoken if self._hearing else []
        self.wishes: list[Wish] = []
        self.events: list[SoundEvent] = []
        self._frames: list[Frame] = []
        self._speech: list[float] = []
        self._seq = self._commands = 0

    @property
    def counts(self) -> dict[str, int]:
        """All counters, for the node's health."""
        return self.framer.counts | (self._hearing.counts if self._hearing else {})

    def listen(self, now_ns: int) -> None:
        """As if the wake word had been said."""
        if self._hearing is not None:
            self._hearing.listen(now_ns)

    def push(self, chunk: AudioChunk) -> list[Sound | Command]:
        """Raises ConfigError where its rate needs resampling and that is not installed."""
        self.wishes, self.events = [], []
        found: list[Sound | Command] = []
        for frame in self.framer.push(chunk):
            self._frames.append(frame)
            wishes = self._hearing.push(frame) if self._hearing else []
            self._speech.append(self._hearing.speech if self._hearing else 0.0)
            events = self._events.push(frame, self._speech[-1]) if self._events else []
            found += [self._command(wish) for wish in wishes]
            # At once where something happened: the half second ends early, so that stamps stay in order.
            if events or len(self._frames) >= PERIOD_FRAMES:
                found.append(self._sound({event.kind: event.onset_ns for event in events}))
            self.wishes += wishes
            self.events += events
        return found

    def _command(self, wish: Wish) -> Command:
        header = Header(sensor_id=self._sensor_id, frame_id=VOICE, seq=self._commands, stamp_ns=wish.stamp_ns)
        self._commands += 1
        return Command(header=header, text=wish.text, intent=wish.intent, slots=wish.slots, p=wish.p)

    def _sound(self, onsets: dict[str, int]) -> Sound:
        """What was heard since the last one; kinds as of the newest look, while what was looked at goes
        on."""
        begin_ns, end_ns = self._frames[0].stamp_ns, self._frames[-1].stamp_ns + FRAME_NS
        kinds = self._events.current(begin_ns) if self._events else {}
        seen = (
            self._events.classifier.embedding
            if kinds and self._events and self._config.embedding
            else NOTHING
        )
        header = Header(sensor_id=self._sensor_id, frame_id=self._sensor_id, seq=self._seq, stamp_ns=begin_ns)
        self._seq += 1
        pcm = np.concatenate([frame.pcm for frame in self._frames])
        sound = Sound(
            header=header,
            duration_s=(end_ns - begin_ns) / 1e9,
            level_dba=level_dba(pcm, full_scale_db=self._config.full_scale_db),
            speech=max(self._speech, default=0.0),
            events=kinds,
            embedding=seen,
            onsets=onsets,
        )
        self._frames.clear()
        self._speech.clear()
        return sound
