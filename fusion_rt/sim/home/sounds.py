"""Sounds of a home as samples: made by formula, or clips of ESC-10 where they are.

There is no clip of a doorbell, a knock, breaking glass or an alarm under a licence that lets us use it: these
are synthesised, and so is speech, as a voice without words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fusion_rt.errors import ConfigError

Samples = NDArray[np.float64]
ALARM_HZ = 3100.0


def synthesise(kind: str, seconds: float, rate: int, rng: np.random.Generator) -> Samples:
    """(N,) of RMS 1 while it sounds. Kinds of scene.EVENTS but "fall", and "speech", "noise"."""
    n = max(round(seconds * rate), 1)
    sound = _MAKERS[kind](n, rate, rng)[:n]
    sound = np.pad(sound, (0, n - len(sound)))
    loud = np.abs(sound) > 0.02 * max(float(np.abs(sound).max()), 1e-9)
    power = float((sound[loud] ** 2).mean()) if loud.any() else 1.0
    scaled: Samples = sound / np.sqrt(max(power, 1e-12))
    return scaled


def _doorbell(n: int, rate: int, rng: np.random.Generator) -> Samples:
    """Two tones a major third apart, "ding dong", each dying away, with their partials."""
    low = rng.uniform(480, 620)
    t = np.arange(n) / rate
    sound = np.zeros(n)
    for start, pitch in ((0.0, low * 1.26), (rng.uniform(0.35, 0.6), low)):
        since = np.maximum(t - start, 0)
        for partial, strength in ((1, 1.0), (2.0, 0.35), (3.01, 0.15)):
            sound += (
                (t >= start) * strength * np.exp(-since * 3) * np.sin(2 * np.pi * pitch * partial * since)
            )
    return sound


def _knock(n: int, rate: int, rng: np.random.Generator) -> Samples:
    """Two to five blows on wood: damped modes of 120 to 600 Hz behind a click."""
    t = np.arange(n) / rate
    sound, start = np.zeros(n), 0.02
    modes = rng.uniform(120, 600, 4)
    for _ in range(int(rng.integers(2, 6))):
        since = np.maximum(t - start, 0)
        blow = sum(np.sin(2 * np.pi * mode * since) for mode in modes) * np.exp(-since * 45)
        sound += (t >= start) * rng.uniform(0.6, 1.0) * (blow + rng.normal(0, 1, n) * np.exp(-since * 300))
        start += rng.uniform(0.15, 0.3)
    return sound


def _glass(n: int, rate: int, rng: np.random.Generator) -> Samples:
    """A blow, then shards: many short partials between 2 and 7.5 kHz that fall for half a second."""
    t = np.arange(n) / rate
    sound = _high(rng.normal(0, 1, n), rate, 1500) * np.exp(-t * 18) * 2
    for _ in range(40):
        start, pitch = rng.exponential(0.18), rng.uniform(2000, min(7500, 0.47 * rate))
        since = np.maximum(t - start, 0)
        decay = rng.uniform(20, 90)
        sound += (
            (t >= start) * rng.uniform(0.05, 0.5) * np.exp(-since * decay) * np.sin(2 * np.pi * pitch * since)
        )
    return sound


def _alarm(n: int, rate: int, rng: np.random.Generator) -> Samples:
    """Temporal-three of ISO 8201: half a second on, half off, three times, then a pause; at 3,100 Hz."""
    t = np.arange(n) / rate
    at = t % 4.0
    on = (at < 3.0) & (at % 1.0 < 0.5)
    pitch = ALARM_HZ + rng.uniform(-60, 60)
    tone: Samples = on * (np.sin(2 * np.pi * pitch * t) + 0.1 * np.sin(4 * np.pi * pitch * t))
    return tone


def _cry(n: int, rate: int, rng: np.random.Generator) -> Samples:
    """A voice of 350 to 550 Hz that rises and falls once in a second, with breaths between."""
    t = np.arange(n) / rate
    pitch = rng.uniform(350, 480) * (
        1 + 0.15 * np.sin(np.pi * (t % 1.2) / 1.2) + 0.01 * np.sin(2 * np.pi * 7 * t)
    )
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    voice = sum(np.sin(k * phase) / k**0.7 for k in range(1, 8))
    wail: Samples = voice * np.sin(np.pi * np.clip((t % 1.2) / 0.95, 0, 1)) ** 0.5
    return wail


def _bark(n: int, rate: int, rng: np.random.Generator) -> Samples:
    """Bursts of 0.15 s: a rough voice that drops, and noise."""
    t = np.arange(n) / rate
    sound, start = np.zeros(n), 0.0
    while start < n / rate:
        since = np.maximum(t - start, 0)
        phase = 2 * np.pi * np.cumsum(rng.uniform(350, 700) * (1 - since)) / rate
        burst = (sum(np.sin(k * phase) / k for k in range(1, 6)) + rng.normal(0, 0.7, n)) * np.exp(
            -since * 14
        )
        sound += (t >= start) * np.minimum(since * 100, 1) * burst
        start += rng.uniform(0.35, 0.9)
    return sound


def _speech(n: int, rate: int, rng: np.random.Generator) -> Samples:
    """A voice without words: a buzz of 90 to 220 Hz under formants that change with each syllable."""
    t = np.arange(n) / rate
    pitch = rng.uniform(90, 220) * (1 + 0.1 * np.sin(2 * np.pi * 0.4 * t + rng.uniform(0, 6)))
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    syllables = int(n / rate * 4.5) + 2  # a second: 4 to 5
    knots = np.linspace(0, n / rate, syllables)
    formants = [
        np.interp(t, knots, rng.uniform(low, high, syllables)) for low, high in ((300, 800), (900, 2300))
    ]
    sound = np.zeros(n)
    for k in range(1, 24):
        pitch_k = k * pitch
        gain = sum(np.exp(-(((pitch_k - formant) / 160) ** 2)) for formant in formants) + 0.02
        sound += (pitch_k < 0.45 * rate) * gain * np.sin(k * phase)
    loud = np.interp(t, np.linspace(0, n / rate, 2 * syllables), rng.uniform(0.05, 1.0, 2 * syllables))
    return sound * loud


def _noise(n: int, rate: int, rng: np.random.Generator) -> Samples:
    """Falling by 3 dB an octave, as rooms, showers and pans nearly sound."""
    spectrum = np.fft.rfft(rng.normal(0, 1, n))
    frequency = np.maximum(np.fft.rfftfreq(n, 1 / rate), 50.0)
    pink: Samples = np.fft.irfft(spectrum / np.sqrt(frequency), n)
    return pink


def _high(sound: Samples, rate: int, above_hz: float) -> Samples:
    spectrum = np.fft.rfft(sound)
    spectrum[np.fft.rfftfreq(len(sound), 1 / rate) < above_hz] = 0
    passed: Samples = np.fft.irfft(spectrum, len(sound))
    return passed


_MAKERS = {
    "doorbell": _doorbell,
    "knock": _knock,
    "glass_break": _glass,
    "smoke_alarm": _alarm,
    "baby_cry": _cry,
    "dog_bark": _bark,
    "speech": _speech,
    "noise": _noise,
}


def clips(folder: str, kind: str) -> list[Path]:
    """The clips of a kind in a folder of ESC-10 (KIND/*.ogg); empty where no folder is named. Raises
    ConfigError where the folder is not there."""
    if not folder:
        return []
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise ConfigError(f"pcm.clips: {folder}: no such folder")
    return sorted((place / kind).glob("*.ogg"))


def read_clip(path: Path, rate: int) -> Samples:
    """(N,) of RMS 1, mono. Raises ConfigError where it cannot be read."""
    try:
        import av
    except ImportError as error:
        raise ConfigError("pcm.clips: reading clips needs `pip install 'fusion-rt[video]'`") from error
    try:
        with av.open(str(path)) as file:
            resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
            frames = [part for frame in file.decode(audio=0) for part in resampler.resample(frame)]
            frames += resampler.resample(None)
    except (OSError, av.FFmpegError) as error:
        raise ConfigError(f"{path}: cannot be read as sound: {error}") from error
    sound = np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames]).astype(np.float64)
    scaled: Samples = sound / max(float(np.sqrt((sound**2).mean())), 1e-9)
    return scaled
