"""Power spectra and mel bands."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusion_rt.sound.framing import RATE_HZ

Array = NDArray[Any]  # of floats
WINDOW, HOP = 1024, 160  # 64 ms, 10 ms


def windows(x: Any, length: int, hop: int) -> NDArray[Any]:
    """(N,) -> (M, length): a view of every window."""
    return np.lib.stride_tricks.sliding_window_view(x, length)[::hop]


def power_spectra(x: Array) -> tuple[Array, Array]:
    """(N,) at 16 kHz -> (T, 513) power every 10 ms, by Hann windows of 64 ms; (513,) their frequencies,
    Hz."""
    padded = np.pad(x, WINDOW // 2)
    shape = np.hanning(WINDOW + 1)[:-1]
    power = np.abs(np.fft.rfft(windows(padded, WINDOW, HOP) * shape, axis=1)) ** 2
    hz = np.fft.rfftfreq(WINDOW, 1 / RATE_HZ)
    return power.astype(np.float64, copy=False), hz.astype(np.float64, copy=False)


@cache
def mel_bands(bands: int, low_hz: float = 20.0) -> Array:
    """(513, bands): triangles that are evenly spaced in mel (2595 log10(1 + f / 700); O'Shaughnessy, "Speech
    Communication", 1987), each with a sum of one."""
    top = 2595 * np.log10(1 + RATE_HZ / 2 / 700)
    mel = np.linspace(2595 * np.log10(1 + low_hz / 700), top, bands + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    f = np.fft.rfftfreq(WINDOW, 1 / RATE_HZ)[:, None]
    rise = (f - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - f) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0, np.minimum(rise, fall))
    weights: Array = triangles / np.maximum(triangles.sum(axis=0), 1e-9)
    return weights
