"""Simulated homes to train on: another plan, household and hour of the day for each."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from fusion_rt.sim.home.config import HomeSimConfig, Routine, Sounds
from fusion_rt.sim.home.home import simulate
from fusion_rt.sim.home.recording import in_order
from fusion_rt.train.home.plans import plan_of
from fusion_rt.train.home.tape import record

FALLING = 600.0  # falls a day, in every fourth home to train on


def settings(
    seed: int, *, hours: float, faults_per_day: float = 2.0, pace: float | None = None, busy: float = 1.0
) -> HomeSimConfig:
    """Of the home with this seed: much happens, at all hours, some sensors fail. pace: that of Routine, else
    drawn; busy: how many times as many sounds, and falls in every home."""
    rng = np.random.default_rng([seed, 78])
    hour = int(rng.choice([1, 6, 7, 8, 12, 16, 17, 18, 19, 20, 21, 22]))
    often = {"doorbell": 40.0, "knock": 30.0, "glass_break": 10.0, "smoke_alarm": 5.0, "dog_bark": 20.0}
    often = {kind: busy * times for kind, times in often.items()}
    drawn, falls = float(rng.choice([2.0, 6.0, 15.0], p=[0.2, 0.4, 0.4])), float(rng.choice([2.0, 60.0]))
    if seed % 4 == 0:
        falls = FALLING
    return HomeSimConfig(
        start=f"2026-{int(rng.integers(1, 13)):02d}-{int(rng.integers(1, 28)):02d}T{hour:02d}:00:00Z",
        hours=hours,
        routine=Routine(
            pace=pace or drawn,
            falls_per_day=falls if busy == 1.0 else 30.0 * busy,
            visitors_per_day=3.0,
            works_out=0.3,
        ),
        sounds=Sounds(events_per_day={**often, "baby_cry": 10.0 * busy}),
        random_faults_per_day=faults_per_day,
    )


def make(
    folder: Path, *, homes: int, hours: float, seed: int, workers: int, pace: float | None = None
) -> Iterator[Path]:
    """Each home's tape as it is done; those that are there already are kept. pace: as of `settings`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{seed + i}.npz" for i in range(homes)]
    missing = [path for path in paths if not path.is_file()]
    yield from (path for path in paths if path not in missing)
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(partial(_make, hours=hours, pace=pace), missing)


def _make(path: Path, *, hours: float, pace: float | None) -> Path:
    seed = int(path.stem)
    plan = plan_of(seed)
    home = simulate(plan, settings(seed, hours=hours, pace=pace), seed)
    record(plan, (message for _, message in in_order(home)), path)
    return path
