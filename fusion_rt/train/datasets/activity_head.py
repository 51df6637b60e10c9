"""Trains `radar-activity` on RadHAR's recordings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from msgspec import Struct
from torch import nn

from fusion_rt.heads.radar import FEATURES, NEAREST_M, window_features
from fusion_rt.train.datasets import radhar
from fusion_rt.train.datasets.activity_net import WINDOW, ActivityEnsemble, ActivityNet
from fusion_rt.train.datasets.radhar import ACTIVITIES, RadarRecording
from fusion_rt.train.datasets.sequences import Advance

NAME = "radar-activity"


class ActivityConfig(Struct, frozen=True, kw_only=True):
    """copies of each recording, each disturbed otherwise; stride: frames from one window of it to the next"""

    members: int = 3
    steps: int = 300
    batch: int = 48
    copies: int = 8
    stride: int = 20
    learning_rate: float = 4e-3
    weight_decay: float = 0.05
    smoothing: float = 0.05
    seed: int = 1


def points_of(recording: RadarRecording) -> tuple[Any, Any, Any]:
    """xyz (N, 3), velocity (N,) and frame (N,) of all points."""
    frames = recording.frames
    counts = [len(f.xyz) for f in frames]
    return (
        np.concatenate([f.xyz for f in frames]),
        np.concatenate([f.velocity for f in frames]),
        np.repeat(np.arange(len(frames)), counts),
    )


def disturbed(recording: RadarRecording, stride: int, rng: Any) -> Any:
    """Windows (W, WINDOW, F) of the recording mirrored, turned, moved, thinned, played faster or slower,
    with frames lost: what another room, person or radar of the same kind might have given."""
    xyz, velocity, frame = points_of(recording)
    xyz, body = xyz.astype(float), np.linalg.norm(xyz, axis=1) > NEAREST_M
    xyz[:, 1] *= rng.choice((-1.0, 1.0))
    angle = rng.normal(0, 0.1)
    c, s = np.cos(angle), np.sin(angle)
    xyz[:, :2] = xyz[:, :2] @ np.array([[c, s], [-s, c]])
    xyz = xyz * rng.normal(1, 0.06) + rng.normal(0, (0.15, 0.1, 0.08))
    xyz += rng.normal(0, 0.02, (len(xyz), 3)) * (rng.random() < 0.5)
    kept = body & (rng.random(len(xyz)) > rng.uniform(0, 0.3))
    xyz, velocity, frame = xyz[kept], velocity[kept], frame[kept]
    first = np.searchsorted(frame, np.arange(len(recording.frames) + 1))
    pace, length = np.exp(rng.normal(0, 0.12)), len(recording.frames)
    lost = rng.uniform(0, 0.15)
    windows = []
    for start in range(int(rng.integers(stride)), length - int(WINDOW * pace) - 1, stride):
        at = (
            np.round(start + np.arange(WINDOW) * pace + rng.normal(0, 0.3, WINDOW))
            .clip(0, length - 1)
            .astype(int)
        )
        at[1:] = np.where(rng.random(WINDOW - 1) < lost, at[:-1], at[1:])
        points = np.concatenate([np.arange(first[a], first[a + 1]) for a in at])
        of = np.repeat(np.arange(WINDOW), first[at + 1] - first[at])
        windows.append(window_features(xyz[points], velocity[points], of, WINDOW))
    return np.array(windows)


def fit(
    recordings: Sequence[RadarRecording], config: ActivityConfig, *, advance: Advance | None = None
) -> ActivityEnsemble:
    members = []
    for number in range(config.members):
        members.append(_member(recordings, config, config.seed * 100 + number))
        if advance:
            advance(number + 1, config.members)
    return ActivityEnsemble(members).eval()


def _member(recordings: Sequence[RadarRecording], config: ActivityConfig, seed: int) -> ActivityNet:
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    copies = [disturbed(r, config.stride, rng) for _ in range(config.copies) for r in recordings]
    told = [ACTIVITIES.index(r.activity) for r in recordings] * config.copies
    windows = torch.from_numpy(np.concatenate(copies))
    truth = torch.from_numpy(np.repeat(told, [len(c) for c in copies]))
    net = ActivityNet(len(FEATURES), len(ACTIVITIES)).train()
    net.normalise(windows)
    optimizer = torch.optim.AdamW(net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=config.steps)
    for _ in range(config.steps):
        chosen = torch.from_numpy(rng.integers(len(windows), size=config.batch))
        frames, labels = windows[chosen], truth[chosen]
        loss = sum(
            nn.functional.cross_entropy(logits, labels, label_smoothing=config.smoothing)
            for logits in net(frames)
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()
        schedule.step()
    return net


def shapes() -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    return {"frames": (1, WINDOW, len(FEATURES))}, {"probabilities": (1, len(ACTIVITIES))}


def description(trained_with: str) -> dict[str, Any]:
    """What head.yaml says about it."""
    return {
        "name": NAME,
        "version": "1",
        "features": {"frames": FEATURES},
        "labels": {"probabilities": ACTIVITIES},
        "rate_hz": radhar.RATE_HZ,
        "trained_with": trained_with,
        "licence": radhar.LICENCE,
    }
