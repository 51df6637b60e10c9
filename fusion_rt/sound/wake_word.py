"""The word that asks to be listened to: microWakeWord by the package pymicro-wakeword (Apache-2.0), weights
inside."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fusion_rt.errors import ConfigError
from fusion_rt.sound.needs import voice_extra

WORDS = ("okay_nabu", "hey_jarvis", "hey_mycroft", "alexa")
# A network stays sure of a word for more than a second, and says 0 between its steps: so many frames of 10 ms
# it must have been unsure before the word counts again.
UNSURE_FRAMES = 50


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
        self._unsure = dict.fromkeys(words, UNSURE_FRAMES)

    def push(self, pcm: NDArray[np.int16]) -> tuple[str, float] | None:
        """The word that just ended and its probability; pcm (N,) int16 at 16 kHz."""
        heard = None
        for features in self._features.process_streaming(pcm.tobytes()):
            for word, model in self._models.items():
                p = model.process_streaming_prob(features) or 0.0
                if p <= model.probability_cutoff:
                    self._unsure[word] += 1
                    continue
                if self._unsure[word] >= UNSURE_FRAMES:
                    heard = (word, float(p))
                self._unsure[word] = 0
        return heard

    def close(self) -> None:
        """Frees the networks."""
        for model in self._models.values():
            model.close()
