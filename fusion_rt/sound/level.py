"""Sound pressure level with frequency weighting A."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusion_rt.sound.framing import RATE_HZ

# A digital microphone of the common kind gives -26 dB of full scale at 94 dB: a full-scale sine is at 120 dB.
FULL_SCALE_DB = 120.0
FLOOR_DBA = 0.0  # digital silence has no level


def a_weighting_db(f_hz: NDArray[Any]) -> NDArray[np.float64]:
    """The weighting, dB: IEC 61672-1:2013, annex E, equations E.1 to E.6."""
    f1, f2, f3, f4 = (f * f for f in (20.598997, 107.65265, 737.86223, 12194.217))
    f = np.square(np.maximum(f_hz, 1e-3))
    response = f4 * f * f / ((f + f1) * np.sqrt((f + f2) * (f + f3)) * (f + f4))
    weighted: NDArray[np.float64] = 20 * np.log10(response) + 1.9997
    return weighted


def level_dba(pcm: NDArray[np.int16], *, full_scale_db: float = FULL_SCALE_DB) -> float:
    """The level over pcm (N,) int16 at 16 kHz, N >= 320, dB(A).

    full_scale_db: the level of a 1 kHz sine that just fits, dB. The weighting is applied to the spectrum: as
    a recursive filter at 16 kHz it would be wrong near 8 kHz by several dB."""
    x = pcm.astype(np.float64) / 32768
    window, weights = _window(len(x))
    spectrum = np.abs(np.fft.rfft(x * window)) ** 2 * weights
    # Parseval for a real signal: all but the ends count twice. 0.5 is the mean square of a full-scale sine.
    mean_square = (2 * spectrum.sum() - spectrum[0]) / len(x) / np.square(window).sum()
    if mean_square <= 0:
        return FLOOR_DBA
    return max(FLOOR_DBA, float(10 * np.log10(mean_square / 0.5)) + full_scale_db)


@cache
def _window(n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n,) Hann's window, and (n/2+1,) the weighting of a power spectrum."""
    hz = np.fft.rfftfreq(n, 1 / RATE_HZ).astype(np.float64)
    return np.hanning(n + 1)[:-1], 10 ** (a_weighting_db(hz) / 10)
