"""What a benchmark plays, for how long, and which engines it sets side by side."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field

from fusion_rt import __version__
from fusion_rt.errors import ConfigError
from fusion_rt.pipeline import PipelineConfig
from fusion_rt.scenario import locate


class EngineSettings(PipelineConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One engine: the pipeline's settings, and whether the fusion node never sleeps between packets."""

    busy_poll: bool = False


class BenchConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of configs/bench.

    log       a recording to play; null: one is simulated from `sim` and kept for the next time
    sim       what to simulate, as in configs/sim
    seed      of the simulated world
    seconds   of measurement, for each engine
    speed     1 is as it was recorded
    warmup_s  not counted: caches, the first answers
    engines   name -> settings of the fusion node: model, runtime, precision, threads, busy_poll
    """

    log: str | None = None
    sim: dict[str, Any] | None = None
    seed: int = 4
    seconds: Annotated[float, Meta(gt=0)] = 20.0
    speed: Annotated[float, Meta(gt=0, le=1000)] = 1.0
    warmup_s: Annotated[float, Meta(ge=0)] = 2.0
    engines: dict[str, dict[str, Any]] = field(default_factory=lambda: {"default": {}})

    def __post_init__(self) -> None:
        if (self.log is None) == (self.sim is None):
            raise ConfigError("give either `log`, a recording, or `sim`, what to simulate")
        if not self.engines:
            raise ConfigError("engines: none, so there is nothing to measure")


def recording(config: BenchConfig, on_share: Callable[[float], None] = lambda share: None) -> Path:
    """The log to play; simulated once, and found again by what it was simulated from.

    on_share is told how much is done, 0 to 1. Raises ConfigError, LogError."""
    if config.log is not None:
        return locate(config.log)
    key = hashlib.sha256(msgspec.json.encode([config.sim, config.seed, __version__])).hexdigest()[:12]
    path = cache_folder() / f"bench-{key}.mcap"
    if not path.is_file():
        _simulate(config, path, on_share)
    return path


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/fusion_rt or ~/.cache/fusion_rt."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fusion_rt"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _simulate(config: BenchConfig, path: Path, on_share: Callable[[float], None]) -> None:
    from fusion_rt import config as typed
    from fusion_rt.sim.drive_config import DriveConfig
    from fusion_rt.sim.recording import record  # an extra, and only needed the first time

    drive = typed.convert(config.sim, DriveConfig, "sim")
    partial = path.with_suffix(f".{os.getpid()}.part")
    try:
        record(
            drive,
            config.seed,
            partial,
            compression="lz4",  # as a recorder beside the engine would
            on_time=lambda t_s: on_share(t_s / drive.duration_s),
        )
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
