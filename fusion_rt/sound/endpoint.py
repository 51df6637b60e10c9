"""Where an utterance begins and ends, from the probability of speech."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from fusion_rt.sound.voice_activity import WINDOW_S

Seconds = Annotated[float, Meta(gt=0, le=30)]


class EndpointConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When somebody has begun, and has finished.

    speech      probability from which on somebody speaks; below `silence`, nobody does
    begin_s     so much speech begins an utterance
    silence_s   so much silence ends it: what an answer waits for at least
    longest_s   it ends then in any case
    """

    speech: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    silence: Annotated[float, Meta(gt=0, lt=1)] = 0.35
    begin_s: Seconds = 0.064
    silence_s: Seconds = 0.32
    longest_s: Seconds = 8.0


class Endpointer:
    """speaking   whether an utterance is under way
    speech_s   speech in it so far, pauses between words included"""

    def __init__(self, config: EndpointConfig) -> None:
        self._config = config
        self.reset()

    def reset(self) -> None:
        """Nobody has begun."""
        self.speaking = False
        self.speech_s = 0.0
        self._above_s = self._below_s = self._length_s = 0.0

    def push(self, p: float) -> Literal["", "begin", "end"]:
        """The next 32 ms."""
        config = self._config
        if not self.speaking:
            self._above_s = self._above_s + WINDOW_S if p >= config.speech else 0.0
            if self._above_s < config.begin_s:
                return ""
            self.speaking, self.speech_s = True, self._above_s
            self._below_s = self._length_s = 0.0
            return "begin"
        self._length_s += WINDOW_S
        self._below_s = self._below_s + WINDOW_S if p < config.silence else 0.0
        if self._below_s == 0.0:
            self.speech_s = self._length_s + self._above_s
        if self._below_s >= config.silence_s or self._length_s >= config.longest_s:
            self.speaking = False
            self._above_s = 0.0
            return "end"
        return ""
