"""Sounds of no kind: noises, clicks and glides by chance, to learn from what sounds may be like at all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fusion_rt.sound.framing import RATE_HZ

Array = NDArray[np.float64]
Rng = np.random.Generator


def texture(rng: Rng, samples: int) -> Array:
    """(samples,), its peak at one."""
    kinds: tuple[Callable[[Rng, int], Array], ...] = (_noise, _clicks, _glide)
    x = kinds[int(rng.integers(len(kinds)))](rng, samples) * _envelope(rng, samples)
    return x / (np.abs(x).max() + 1e-9)


def coloured(rng: Rng, x: Array) -> Array:
    """x with a spectrum that is bent at random, by a few decibels each octave."""
    spectrum = np.fft.rfft(x)
    knots = np.linspace(np.log(40), np.log(RATE_HZ / 2), 9)
    gains_db = np.interp(
        np.log(np.fft.rfftfreq(len(x), 1 / RATE_HZ) + 40), knots, np.cumsum(rng.normal(0, 4, len(knots)))
    )
    return np.fft.irfft(spectrum * 10 ** (gains_db / 20), len(x))


def _noise(rng: Rng, samples: int) -> Array:
    return coloured(rng, coloured(rng, rng.standard_normal(samples)))


def _clicks(rng: Rng, samples: int) -> Array:
    """Blows on something that rings: as regular as a clock, or as a fire is not."""
    gap = RATE_HZ * float(rng.choice([0.01, 0.03, 0.1, 0.3, 1.0])) * rng.uniform(0.7, 1.4)
    spread = float(rng.choice([0.0, 0.1, 1.0]))
    gaps = gap * ((1 - spread) + spread * rng.exponential(1.0, int(samples / gap) + 4))
    at = np.cumsum(gaps).astype(np.int64)
    x = np.zeros(samples)
    x[at[at < samples]] = rng.uniform(0.2, 1.0, int((at < samples).sum()))
    t = np.arange(round(0.3 * RATE_HZ)) / RATE_HZ
    ring = sum(
        rng.uniform(0.1, 1) * np.exp(-t / rng.uniform(0.001, 0.08)) * np.sin(2 * np.pi * f * t)
        for f in np.exp(rng.uniform(np.log(80), np.log(7000), int(rng.integers(1, 6))))
    )
    size = samples + len(t)
    y: Array = np.fft.irfft(np.fft.rfft(x, size) * np.fft.rfft(ring, size), size)[:samples]
    return y


def _glide(rng: Rng, samples: int) -> Array:
    """A tone with overtones whose pitch wanders and trembles, as voices, whistles and engines have."""
    t = np.arange(samples) / RATE_HZ
    knots = np.linspace(0, t[-1] + 1e-9, int(rng.integers(2, 9)))
    log_hz = np.interp(t, knots, np.log(rng.uniform(60, 2500)) + np.cumsum(rng.normal(0, 0.3, len(knots))))
    tremble = rng.uniform(0, 0.05) * np.sin(2 * np.pi * rng.uniform(3, 30) * t)
    phase = 2 * np.pi * np.cumsum(np.exp(np.clip(log_hz + tremble, 3.5, 8.5))) / RATE_HZ
    overtones = int(rng.integers(1, 20))
    loud = rng.uniform(0, 1, overtones) / np.arange(1, overtones + 1) ** rng.uniform(0, 1.5)
    x = sum(a * np.sin(k * phase) for k, a in enumerate(loud, 1))
    return coloured(rng, x + rng.uniform(0, 0.3) * rng.standard_normal(samples))


def _envelope(rng: Rng, samples: int) -> Array:
    """Loud and soft: all along, in spells, or in a beat."""
    t = np.arange(samples) / RATE_HZ
    draw = rng.random()
    if draw < 0.3:
        return np.ones(samples)
    if draw < 0.65:
        knots = np.linspace(0, t[-1] + 1e-9, int(rng.integers(3, 14)))
        return np.interp(t, knots, np.maximum(rng.normal(0.3, 0.6, len(knots)), 0.0))
    beat = 0.5 - 0.5 * np.cos(2 * np.pi * np.exp(rng.uniform(np.log(0.5), np.log(40))) * t)
    e: Array = beat ** rng.uniform(0.5, 6)
    return e
