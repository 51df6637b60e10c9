"""Trains `fall` on UMAFall's recordings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from fusion_rt.heads import worn
from fusion_rt.heads.fall import BIN_NS, HELD_BINS, POSITIONS, THRESHOLDS, modalities
from fusion_rt.train.datasets import umafall
from fusion_rt.train.datasets.context_net import STATE, Ensemble
from fusion_rt.train.datasets.sequences import Advance, Episode, SequenceConfig, train
from fusion_rt.train.datasets.umafall import WornRecording

NAME = "fall"
# Bins after the impact in which the head must say so; those beside them do not count.
FROM_S, UNTIL_S, BEFORE_S = 0.15, 4.0, 0.4


class FallConfig(Struct, frozen=True, kw_only=True):
    """copies      of each recording, each disturbed otherwise
    thresholds  from which probability on it is a fall, where one, two or three places speak: by subjects held
                apart, in the middle between falls and daily movements
    """

    copies: int = 6
    thresholds: tuple[float, float, float] = (0.74, 0.85, 0.94)
    training: SequenceConfig = SequenceConfig(
        lose=(0.15, 0.15, 0.15, 0.15, 0.15),
        groups=((0,), (1, 2), (3, 4), (1,), (3,), (2,), (4,), (1, 2, 3, 4)),
        steps=300,
        members=4,
        batch=20,
        length=160,
        learning_rate=6e-3,
        weights=(1.0, 2.0),
    )


def bins_of(recording: WornRecording) -> tuple[Any, Any]:
    """The recording in bins, as the head makes them: (P, T, CHANNELS), NaN where a place has no reading, and
    the truth (T,)."""
    first = recording.samples[0].header.stamp_ns // BIN_NS
    count = recording.samples[-1].header.stamp_ns // BIN_NS - first + 1
    bins = np.full((len(POSITIONS), count, worn.CHANNELS), np.nan)
    for p, place in enumerate(POSITIONS):
        samples = [s for s in recording.samples if s.header.sensor_id == place]
        if not samples:
            continue
        at = np.array([s.header.stamp_ns // BIN_NS - first for s in samples])
        force = np.array([s.specific_force for s in samples])
        rate = np.linalg.norm([s.angular_rate for s in samples], axis=1)
        norm = np.linalg.norm(force, axis=1)
        starts = np.flatnonzero(np.diff(at, prepend=-1))
        n = np.diff(np.append(starts, len(at)))
        filled = at[starts]
        bins[p, filled, worn.FORCE] = np.add.reduceat(force, starts) / n[:, None]
        bins[p, filled, worn.LARGEST] = np.maximum.reduceat(norm, starts)
        bins[p, filled, worn.SMALLEST] = np.minimum.reduceat(norm, starts)
        bins[p, filled, worn.RATE] = np.fmax.reduceat(rate, starts)
    return bins, _truth(recording, first, count)


def _truth(recording: WornRecording, first: int, count: int) -> Any:
    truth = np.zeros(count, np.int64)
    if recording.fall_ns is not None:
        since_s = (np.arange(first + 1, first + count + 1) * BIN_NS - recording.fall_ns) / 1e9
        truth[since_s > -BEFORE_S] = -1
        truth[(since_s >= FROM_S) & (since_s < UNTIL_S)] = 1
    return truth


def fit(
    recordings: Sequence[WornRecording],
    config: FallConfig,
    *,
    advance: Advance | None = None,
    **changes: Any,
) -> Ensemble:
    """Trains on whole recordings; `changes` to the SequenceConfig."""
    rng = np.random.default_rng(config.training.seed)
    binned = [bins_of(recording) for recording in recordings]
    disturbed = [_disturbed(*one, rng) for _ in range(config.copies) for one in binned]
    training = msgspec.structs.replace(config.training, **changes)
    return train(as_sequences(disturbed), sizes(), 2, training, advance=advance)


def sizes() -> list[int]:
    return [len(features) for features in modalities().values()]


def as_sequences(binned: Sequence[tuple[Any, Any]]) -> list[Episode]:
    """Recordings as the network sees them, by the features that run live."""
    names = [modality.split("/") for modality in modalities()]
    values, present, age = [], [], []
    for window, force_age, rate_age in windows(binned):
        parts = {"force": worn.force_features(window), "rate": worn.rate_features(window)}
        since = {"force": force_age, "rate": rate_age}
        values.append(np.concatenate([parts[what][:, POSITIONS.index(place)] for place, what in names], -1))
        old = np.stack([since[what][:, POSITIONS.index(place)] for place, what in names], -1)
        present.append(old <= HELD_BINS)
        age.append(np.minimum(old, HELD_BINS) / 2)
    seen = [np.stack(x, 1).astype(np.float32) for x in (values, present, age)]
    cut = [[x[i, : len(truth)] for x in seen] for i, (_, truth) in enumerate(binned)]
    return [Episode(one, told, old, truth) for (one, told, old), (_, truth) in zip(cut, binned)]


def windows(binned: Sequence[tuple[Any, Any]]) -> Iterator[tuple[Any, Any, Any]]:
    """For each bin of all recordings at once: the window (N, P, BINS, CHANNELS) that ends with it, and the
    age of force and rate (N, P) in bins. What a live place of the body does, in one array."""
    longest = max(len(truth) for _, truth in binned)
    shape = (len(binned), len(POSITIONS))
    rows = np.full((*shape, longest, worn.CHANNELS), np.nan)
    for i, (bins, truth) in enumerate(binned):
        rows[i, :, : len(truth)] = bins
    window, known = np.zeros((*shape, worn.BINS, worn.CHANNELS)), np.zeros(shape, bool)
    force_age, rate_age = np.full(shape, HELD_BINS + 1), np.full(shape, HELD_BINS + 1)
    for t in range(longest):
        told = np.isfinite(rows[:, :, t])
        row = np.where(told, rows[:, :, t], window[:, :, -1])
        first = ~known & told.any(-1)
        window[first] = row[first][:, None]  # as if it had always been so
        known |= first
        window = np.concatenate([window[:, :, 1:], row[:, :, None]], 2)
        force_age = np.where(told[..., worn.LARGEST], 0, force_age + 1)
        rate_age = np.where(told[..., worn.RATE], 0, rate_age + 1)
        yield window, force_age, rate_age


def _disturbed(bins: Any, truth: Any, rng: Any) -> tuple[Any, Any]:
    """Stronger or weaker, faster or slower, noisier, with bins without a reading, sometimes cut off behind:
    as another person, place or sensor might have given it."""
    bins = bins.copy()
    at = np.arange(0, len(truth) - 1, np.exp(rng.normal(0, 0.08))).round().astype(int)
    bins, truth = bins[:, at], truth[at]
    strength = np.exp(rng.normal(0, 0.12, (len(bins), 1)))
    mean = np.nanmean(bins[..., worn.FORCE], 1, keepdims=True) if np.isfinite(bins).any() else 0.0
    mean = np.nan_to_num(mean)
    # The part that moves is scaled, not gravity.
    bins[..., worn.FORCE] = mean + (bins[..., worn.FORCE] - mean) * strength[..., None]
    for channel in (worn.LARGEST, worn.SMALLEST):
        bins[..., channel] = np.maximum(worn.G + (bins[..., channel] - worn.G) * strength, 0)
    bins[..., worn.RATE] *= np.exp(rng.normal(0, 0.12, (len(bins), 1)))
    bins[..., worn.FORCE] += rng.normal(0, 0.15, bins[..., worn.FORCE].shape)
    lost = rng.random(bins.shape[:2]) < rng.uniform(0, 0.15)
    bins[lost] = np.nan
    return bins, truth


def shapes(members: int) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    kinds, state = len(modalities()), (1, members * STATE)
    inputs: dict[str, tuple[int, ...]] = {
        "values": (1, sum(sizes())),
        "present": (1, kinds),
        "age": (1, kinds),
        "state": state,
    }
    return inputs, {"probabilities": (1, 2), "next_state": state}


def description(config: FallConfig, trained_with: str) -> dict[str, Any]:
    """What head.yaml says about it."""
    names = modalities()
    return {
        "name": NAME,
        "version": "1",
        "features": {
            "values": tuple(f"{modality}/{name}" for modality in names for name in names[modality]),
            **dict.fromkeys(("present", "age"), tuple(names)),
        },
        "labels": {"probabilities": ("no fall", "fall")},
        "thresholds": dict(zip(THRESHOLDS, config.thresholds)),
        "rate_hz": 1 / worn.BIN_S,
        "trained_with": trained_with,
        "licence": umafall.LICENCE,
    }
