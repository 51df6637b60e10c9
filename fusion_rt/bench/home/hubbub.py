"""What a home's microphone hears: a quiet room, steps, a pan, voices through a wall."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

RATE_HZ, SECONDS = 16_000, 20


def hubbub(path: Path, seed: int = 0) -> None:
    """A WAV file, 16 kHz mono; the same for the same seed."""
    rng = np.random.default_rng(seed)
    n = RATE_HZ * SECONDS
    t = np.arange(n) / RATE_HZ
    sound = 0.002 * np.cumsum(rng.normal(0, 1, n) - 0.0) / np.sqrt(n) + 0.004 * rng.normal(0, 1, n)
    for start in np.arange(0.7, 6.0, 0.55):  # steps
        sound += _burst(t, start, 0.12, 0.03) * rng.normal(0, 0.2, n)
    for start, pitch in ((7.0, 1900.0), (9.0, 2500.0)):  # something of metal
        sound += 0.3 * _burst(t, start, 1.0, 0.25) * np.sin(2 * np.pi * pitch * t)
    voice = sum(np.sin(2 * np.pi * 130 * k * t) / k for k in range(1, 20))  # who speaks in syllables
    syllables = np.clip(np.sin(2 * np.pi * 3.7 * t), 0, 1) * ((t > 11) & (t < 17))
    sound += 0.05 * syllables * voice
    pcm = np.clip(32767 * sound, -32768, 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(pcm.tobytes())


def _burst(t: np.ndarray, start: float, length: float, fades_s: float) -> np.ndarray:
    inside = (t >= start) & (t < start + length)
    return np.where(inside, np.exp(-np.maximum(t - start, 0) / fades_s), 0.0)
