"""Sounds that no free recordings of are at hand, made by their physics: a doorbell's chimes, knocks on wood,
breaking glass, a smoke alarm (3,100 Hz in ISO 8201's temporal three); and noises that are no event."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fusion_rt.sound.framing import RATE_HZ
from fusion_rt.sound.summary import SAMPLES

Array = NDArray[np.float64]
Rng = np.random.Generator


def doorbell(rng: Rng) -> Array:
    """Two or three struck bars, each a third or a fourth below the one before."""
    out = np.zeros(SAMPLES)
    pitch, decay_s, gap_s = rng.uniform(450, 1100), rng.uniform(0.25, 0.9), rng.uniform(0.3, 0.8)
    step = rng.choice([0.749, 0.794, 0.841])
    partials = (1.0, 2.0, 2.76, 3.0, 5.4)
    loud = rng.uniform(0.05, 1.0, len(partials)) * (1.0, 0.5, 0.5, 0.3, 0.2)
    for i in range(rng.integers(2, 4)):
        _add(out, i * gap_s, _struck(pitch * step**i, partials, loud, decay_s))
    return out


def knock(rng: Rng) -> Array:
    """Two to six blows on a plate: low modes that die at once, and a click."""
    out = np.zeros(SAMPLES)
    modes = rng.uniform(70, 900, 6)
    decays = rng.uniform(0.01, 0.06, 6)
    gap_s, t_s = rng.uniform(0.13, 0.38), 0.0
    for _ in range(rng.integers(2, 7)):
        for f, decay_s in zip(modes, decays):
            loud = np.array([rng.uniform(0.3, 1) * 200 / (f + 100)])
            _add(out, t_s, _struck(f * rng.uniform(0.98, 1.02), (1.0,), loud, decay_s))
        click = rng.standard_normal(_time(0.3).size) * np.exp(-_time(0.3) / rng.uniform(0.002, 0.006)) * 0.3
        _add(out, t_s, click)
        t_s += gap_s * rng.uniform(0.9, 1.1)
    return out


def glass_break(rng: Rng) -> Array:
    """A burst, then shards that ring high and short, fewer and fewer."""
    out = np.zeros(SAMPLES)
    t = _time(0.25)
    _add(out, 0.0, rng.standard_normal(len(t)) * np.exp(-t / rng.uniform(0.01, 0.05)))
    for delay_s in rng.exponential(rng.uniform(0.15, 0.6), rng.integers(40, 160)):
        pitches = rng.uniform(1800, 7600, 3)
        loud = rng.uniform(0.02, 0.25) * np.exp(-delay_s)
        decay_s = rng.uniform(0.008, 0.07)
        for pitch in pitches:
            _add(out, delay_s, _struck(pitch, (1.0,), np.array([loud]), decay_s))
    return out


def smoke_alarm(rng: Rng) -> Array:
    """Half a second on, half a second off, three times, then 1.5 s of pause (ISO 8201), by a piezo at about
    3,100 Hz; it may have been on for some time."""
    out = np.zeros(SAMPLES)
    pitch = rng.uniform(2900, 3400)
    t = _time(0.5)
    harmonics = rng.uniform(0, 0.4, 3) * (1.0, 0.6, 0.4)
    wobble = 1 + 0.01 * rng.standard_normal() * np.sin(2 * np.pi * rng.uniform(5, 40) * t)
    phase = 2 * np.pi * pitch * np.cumsum(wobble) / RATE_HZ
    tone = np.sin(phase) + sum(
        h * np.sin(k * phase) for k, h in zip((2, 3, 5), harmonics) if k * pitch < 8000
    )
    begin_s = -rng.uniform(0, 4) if rng.random() < 0.6 else 0.0
    for cycle in range(4):
        for i in range(3):
            at = begin_s + cycle * 4.0 + i * 1.0
            if 0 <= at < 5:
                _add(out, at, tone * _edges(t, 0.5))
    return out if out.any() else smoke_alarm(rng)


def other(rng: Rng) -> Array:
    """Steady noise of some colour, a mains hum, steps: what is no event."""
    white = np.fft.rfft(rng.standard_normal(SAMPLES))
    k = np.arange(len(white)) + 1.0
    out: Array = np.fft.irfft(white * k ** -rng.uniform(0, 1.2), SAMPLES)
    out /= out.std()
    t = np.arange(SAMPLES) / RATE_HZ
    if rng.random() < 0.5:
        mains = rng.choice([50.0, 60.0])
        out += rng.uniform(0.1, 2) * sum(np.sin(2 * np.pi * mains * n * t) / n for n in (1, 2, 3, 4, 6))
    if rng.random() < 0.3:
        out *= 1 + rng.uniform(0, 0.8) * np.sin(2 * np.pi * rng.uniform(0.1, 1) * t)
    return out


SOUNDS: dict[str, Callable[[Rng], Array]] = {
    "doorbell": doorbell,
    "knock": knock,
    "glass_break": glass_break,
    "smoke_alarm": smoke_alarm,
    "other": other,
}


def synthesise(kind: str, rng: Rng) -> NDArray[np.int16]:
    """One sound in a room with some noise: (80000,) int16 at 16 kHz."""
    dry = SOUNDS[kind](rng)
    wet = _in_room(dry, rng)
    noise = rng.standard_normal(SAMPLES) * np.sqrt(np.square(wet).mean()) * 10 ** (-rng.uniform(15, 45) / 20)
    mixed = wet + noise
    return np.round(mixed / np.abs(mixed).max() * 32767 * 10 ** (-rng.uniform(1, 25) / 20)).astype(np.int16)


def _in_room(dry: Array, rng: Rng) -> Array:
    """With late reverberation: noise that decays by 60 dB in 0.1 to 0.6 s."""
    t60_s = rng.uniform(0.1, 0.6)
    t = _time(t60_s)
    response = rng.standard_normal(len(t)) * 10 ** (-3 * t / t60_s) * rng.uniform(0.01, 0.06)
    response[0] = 1.0
    n = 2 * SAMPLES
    wet: Array = np.fft.irfft(np.fft.rfft(dry, n) * np.fft.rfft(response, n), n)[:SAMPLES]
    return wet


def _time(seconds: float) -> Array:
    return np.arange(round(seconds * RATE_HZ)) / RATE_HZ


def _edges(t: Array, length_s: float) -> Array:
    return np.clip(np.minimum(t, length_s - t) / 0.005, 0, 1)


def _struck(pitch: float, partials: tuple[float, ...], loud: Array, decay_s: float) -> Array:
    """A struck bar: higher partials die sooner."""
    t = _time(min(5.0, 7 * decay_s))
    tones = [
        a * np.sin(2 * np.pi * pitch * ratio * t) * np.exp(-t / decay_s * ratio**0.5)
        for ratio, a in zip(partials, loud)
        if pitch * ratio < RATE_HZ / 2
    ]
    struck: Array = np.sum(tones, axis=0) if tones else np.zeros_like(t)
    return struck


def _add(out: Array, at_s: float, sound: Array) -> None:
    begin = round(at_s * RATE_HZ)
    if begin < len(out):
        part = sound[: len(out) - begin]
        out[begin : begin + len(part)] += part
