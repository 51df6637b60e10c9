"""The word that asks to be listened to: microWakeWord by the package pymicro-wakeword (Apache-2.0), weights
inside."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fusion_rt.errors import ConfigError
from fusion_rt.sound.needs import voice_extra

WORDS = ("okay_nabu", "hey_jarvis", "hey_mycroft", "alexa")
PAUSE_FRAMES = 100  # of 10 ms: the same word is not heard twice


class WakeWords:
    """Several words at once, over the same features. Raises ConfigError: none of WORDS, extra not
    installed."""

    def __init__(self, words: Sequence[str]) -> None:
        for word in words:
            if word not in WORDS:
                raise ConfigError(f"wake: {word!r} is not one of {', '.join(WORDS)}")
        with voice_extra():
            from pymicro_wakeword import MicroWakeWord, MicroWakeWordFeatures, Model
        self._features = MicroWakeWordFeatures()
        self._models = {word: MicroWakeWord.from_builtin(Model(word)) for word in words}
        self._pause = 0

    def push(self, pcm: NDArray[np.int16]) -> tuple[str, float] | None:
        """The word that just ended and its probability; pcm (N,) int16 at 16 kHz."""
        heard = None
        for features in self._features.process_streaming(pcm.tobytes()):
            self._pause = max(0, self._pause - 1)
            for word, model in self._models.items():
                p = model.process_streaming_prob(features)
                if p is not None and p > model.probability_cutoff and not self._pause:
                    heard = (word, float(p))
                    self._pause = PAUSE_FRAMES
        return heard

    def close(self) -> None:
        """Frees the networks."""
        for model in self._models.values():
            model.close()
