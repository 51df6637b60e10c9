"""What a sound is like, in 512 numbers a second or two: the package `sound-effects`, a small network that
learned from aisfx (Ma and Lerch, "Representation Learning for the Automatic Indexing of Sound Effects
Libraries", ISMIR 2022) what archives of sound effects are sorted by. docs/models/sound-effects.md"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusion_rt.models.head import Head
from fusion_rt.sound.framing import RATE_HZ

PACKAGE = "sound-effects"
SIZE = 512
POOLED = 2 * SIZE
FRAMES, BANDS = 100, 70  # of a block: 2.3 s
STRIDE = 50  # frames from one block to the next
# As aisfx: Hann windows of 2048 samples every 1024 at 44.1 kHz, 96 mel bands up to 22,050 Hz, of which 70
# begin below 8 kHz. Windows of 744 samples at 16 kHz are as long.
WINDOW, HOP = 744, 1024 * RATE_HZ / 44_100
_THEIR_WINDOW, _THEIR_RATE_HZ, _THEIR_BANDS, _LOUDEST = 2048, 44_100, 96, 9.457798957824707

Array = NDArray[np.float32]


class Effects:
    """Raises ConfigError, EngineError as of the package."""

    def __init__(self, package: str | Path = PACKAGE) -> None:
        self._head = Head.load(package)

    def of(self, x: NDArray[np.float64]) -> Array:
        """x (N,) at 16 kHz, its peak at one -> (1024,): the mean and the maximum of what its blocks are
        like."""
        rows = []
        for block in blocks(x):
            self._head.inputs["spectrogram"][0] = block
            rows.append(self._head.run()["embedding"][0].copy())
        return pooled(np.stack(rows))


def pooled(embeddings: Array) -> Array:
    """(M, 512) -> (1024,)."""
    return np.concatenate([embeddings.mean(axis=0), embeddings.max(axis=0)])


def blocks(x: NDArray[np.float64]) -> Array:
    """Of a sound (N,) at 16 kHz with its peak at one: (M, 100, 70), a block every 1.2 s; a sound that is
    shorter than a block ends in silence."""
    spectrogram = _spectrogram(0.5 * x)
    starts = range(0, max(1, len(spectrogram) - FRAMES + 1), STRIDE)
    out = np.zeros((len(starts), FRAMES, BANDS), np.float32)
    for block, start in zip(out, starts):
        part = spectrogram[start : start + FRAMES]
        block[: len(part)] = part
    return out


def _spectrogram(x: NDArray[np.float64]) -> Array:
    """(T, 70), about 0 to 1."""
    x = np.pad(x, (0, max(0, WINDOW - len(x))))
    starts = np.round(np.arange(int((len(x) - WINDOW) // HOP) + 1) * HOP).astype(np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(x, WINDOW)[starts] * np.hanning(WINDOW + 1)[:-1]
    power = np.abs(np.fft.rfft(windows, axis=1)) ** 2 @ _bands()
    spectrogram: Array = (np.log10(1e4 * power + 1) / _LOUDEST).astype(np.float32)
    return spectrogram


@cache
def _bands() -> NDArray[np.float64]:
    """(373, 70): triangles, evenly spaced in mel, whose sum over the bins of aisfx's windows is one."""
    mel = np.linspace(0, 2595 * np.log10(1 + _THEIR_RATE_HZ / 2 / 700), _THEIR_BANDS + 2)
    edges = (700 * (10 ** (mel / 2595) - 1))[: BANDS + 2]
    theirs = _triangles(np.fft.rfftfreq(_THEIR_WINDOW, 1 / _THEIR_RATE_HZ), edges).sum(axis=0)
    ours = _triangles(np.fft.rfftfreq(WINDOW, 1 / RATE_HZ), edges)
    louder = (_THEIR_WINDOW / WINDOW) ** 2  # longer windows sum up more
    bands: NDArray[np.float64] = louder * ours / np.maximum(theirs, 1e-9)
    return bands


def _triangles(hz: NDArray[Any], edges: NDArray[Any]) -> NDArray[Any]:
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    rise, fall = (hz[:, None] - low) / (middle - low), (high - hz[:, None]) / (high - middle)
    return np.maximum(0, np.minimum(rise, fall))
