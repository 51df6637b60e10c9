"""A sound of up to five seconds in three hundred numbers that do not depend on how loud it is: the colour of
its spectrum, how that changes, the rhythm of its loudness, how tonal and how impulsive it is.

They are the usual ones of environmental sound classification (cepstra, spectral shape, modulation spectra;
see Peeters, "A large set of audio features for sound description", IRCAM 2004), chosen on folds 1 to 3 of
ESC-10."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusion_rt.sound.framing import RATE_HZ
from fusion_rt.sound.spectrum import Array, mel_bands, power_spectra, windows

SECONDS = 5.0
SAMPLES = round(SECONDS * RATE_HZ)
ACTIVE_NATS = 9.0  # 39 dB below the loudest moment a sound has ended
_TINY = 1e-7
_BANDS_HZ = (0, 40, 80, 130, 250, 500, 1000, 2000, 4000, 6000, 8001)
_ENVELOPES_HZ = ((20, 150), (150, 400), (400, 1000), (1000, 2000), (2000, 4000), (4000, 8000), (0, 8001))
_RHYTHMS_HZ = (0.3, 0.7, 1.3, 2.2, 3.5, 5.5, 8, 11, 15, 20, 28, 50)
_PERIODS = ((4, 7), (7, 12), (12, 20), (20, 35), (35, 60), (60, 110), (110, 220))  # 10 ms


def padded(pcm: NDArray[Any]) -> Array:
    """The newest five seconds of pcm (N,), silence after what is shorter, its peak at one: (80000,)."""
    x = pcm[-SAMPLES:].astype(np.float64)
    x = np.pad(x, (0, SAMPLES - len(x)))
    return x / (np.abs(x).max() + 1e-6)


def summary(x: Array) -> NDArray[np.float32]:
    """What `padded` gives -> (SIZE,) float32."""
    power, f_hz = power_spectra(x)
    mel = np.log(power @ mel_bands(64) + _TINY)
    loudness = np.log(power.sum(axis=1) + _TINY)
    active = loudness > max(loudness.max() - ACTIVE_NATS, -ACTIVE_NATS)
    if not active.any():
        return np.zeros(SIZE, np.float32)
    parts = (
        _colour(mel, active),
        _bands(power[active], f_hz),
        _rhythm(power, mel, f_hz),
        _impulses(x),
        _tones(x),
        _shape(power[active], f_hz),
    )
    return np.clip(np.concatenate(parts), -20, 20).astype(np.float32)


def _colour(mel: Array, active: NDArray[np.bool_]) -> Array:
    """Cepstra, how fast they change, and the middle and the top of each mel band: (132,)."""
    heard = mel[active]
    flat = heard - heard.mean()
    cepstra = flat @ _cosines(64, 24)
    steps = np.abs(np.diff(mel @ _cosines(64, 20), axis=0))[active[1:]]
    pace = np.log(steps.mean(axis=0) + 0.01) if len(steps) else np.zeros(20)
    middle, top = np.percentile(flat, (50, 95), axis=0)
    return np.concatenate([cepstra.mean(axis=0), cepstra.std(axis=0), pace, middle[::2], (top - middle)[::2]])


def _bands(heard: Array, f_hz: Array) -> Array:
    """The mean spectrum in 32 mel bands and in 10 wide ones: (42,)."""
    mean = heard.mean(axis=0)
    fine = np.log(mean @ mel_bands(32) + 1e-9)
    edges = itertools.pairwise(_BANDS_HZ)
    wide = np.log([mean[(f_hz >= low) & (f_hz < high)].mean() + 1e-9 for low, high in edges])
    return np.concatenate([fine - fine.mean(), wide - wide.mean()])


def _rhythm(power: Array, mel: Array, f_hz: Array) -> Array:
    """The modulation spectra of the loudness of 7 bands, their depth, their peaks; the autocorrelation of
    onsets: (98,)."""
    bands = [power[:, (f_hz >= low) & (f_hz < high)].sum(axis=1) for low, high in _ENVELOPES_HZ]
    envelopes = np.log(np.stack(bands) + 1e-6)
    envelopes = np.maximum(envelopes, envelopes.max(axis=1, keepdims=True) - ACTIVE_NATS)
    envelopes -= envelopes.mean(axis=1, keepdims=True)
    n = envelopes.shape[1]
    spectra = np.abs(np.fft.rfft(envelopes * np.hanning(n), axis=1)) ** 2
    rate_hz = np.fft.rfftfreq(n, 0.01)
    edges = itertools.pairwise(_RHYTHMS_HZ)
    m = np.stack([spectra[:, (rate_hz >= low) & (rate_hz < high)].sum(axis=1) for low, high in edges], axis=1)
    shares = np.log(m / (m.sum(axis=1, keepdims=True) + 1e-3) + 1e-3)
    felt = spectra[:, (rate_hz >= 0.8) & (rate_hz < 40)]
    peaks = np.log((felt.max(axis=1) + 1e-3) / (np.median(felt, axis=1) + 1e-3))
    onsets = np.maximum(0, np.diff(mel, axis=0)).mean(axis=1)
    onsets -= onsets.mean()
    spectrum = np.abs(np.fft.rfft(onsets, 2 * len(onsets))) ** 2
    again = np.fft.irfft(spectrum)[: len(onsets)]
    again /= again[0] + 1e-6
    periods = [again[low:high].max() for low, high in _PERIODS]
    return np.concatenate([shares.ravel(), np.log(envelopes.std(axis=1) + 0.05), peaks, periods])


def _impulses(x: Array) -> Array:
    """Crest factors and kurtosis of windows of 0.1 s: (4,)."""
    w = windows(x, 1600, 800)
    rms = np.sqrt(np.square(w).mean(axis=1)) + 1e-5
    heard = rms > rms.max() * 0.03
    crest = np.log(np.abs(w[heard]).max(axis=1) / rms[heard])
    fourth = np.log(np.square(np.square(w[heard] / rms[heard, None])).mean(axis=1))  # ** 4 is slow
    return np.array([crest.mean(), crest.std(), fourth.mean(), fourth.max()])


def _tones(x: Array) -> Array:
    """How periodic, 50 Hz to 1 kHz, and at what pitch, by autocorrelation of windows of 64 ms: (8,)."""
    w = windows(np.pad(x, 512), 1024, 320)
    spectrum = np.abs(np.fft.rfft(w * np.hanning(1024), 2048, axis=1)) ** 2
    again = np.fft.irfft(spectrum, axis=1)
    inner = again[:, 16:320] / (again[:, :1] + 1e-6)
    rms = np.sqrt(np.square(w).mean(axis=1))
    heard = rms > rms.max() * 0.05
    strength, lag = inner.max(axis=1)[heard], inner.argmax(axis=1)[heard] + 16
    pitch = np.log2(RATE_HZ / lag)[strength > 0.5]
    middle, spread = (pitch.mean(), pitch.std()) if len(pitch) > 3 else (7.0, 1.5)
    low, median, high = np.percentile(strength, (10, 50, 90))
    share = (strength > 0.5).mean()
    return np.array([strength.mean(), strength.std(), low, median, high, share, middle, spread])


def _shape(heard: Array, f_hz: Array) -> Array:
    """The centroid and the flatness of the spectrum: (8,)."""
    centroid = np.log(heard @ f_hz / (heard.sum(axis=1) + 1e-9) + 1)
    flatness = np.log(heard + 1e-9).mean(axis=1) - np.log(heard.mean(axis=1) + 1e-9)
    out = [value for s in (centroid, flatness) for value in (s.mean(), s.std(), *np.percentile(s, (10, 90)))]
    return np.array(out)


def _cosines(n: int, k: int) -> Array:
    """(n, k): the discrete cosine transform (type II, orthonormal) without its constant."""
    i = np.arange(n)
    basis: Array = np.sqrt(2 / n) * np.cos(np.pi * (2 * i[:, None] + 1) * np.arange(1, k + 1) / (2 * n))
    return basis


SIZE = 132 + 42 + 98 + 4 + 8 + 8
