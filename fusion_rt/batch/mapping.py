"""A function of many logs: in this process one after the other, or by workers side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from fusion_rt.errors import FusionError
from fusion_rt.models.package import WEIGHTS, ModelPackage
from fusion_rt.pipeline import PipelineConfig

T = TypeVar("T")
R = TypeVar("R")


class Failed(Struct, frozen=True):
    """In the place of a result: why there is none."""

    reason: str


class Workers(Struct, frozen=True, kw_only=True):
    """Who does the work.

    count    logs at once; None: as many as the cluster has room for
    threads  of each
    address  of a running Ray cluster; None: this machine
    """

    count: int | None = 1
    threads: int = PipelineConfig().threads
    address: str | None = None

    @classmethod
    def of(cls, count: int | None, address: str | None, threads: int | None = None) -> Workers:
        """Where nobody asks for threads, workers of this machine share its cores, and those of a cluster have
        one each; without workers there are as many as for one log."""
        if address is not None:
            return cls(count=count, threads=threads or 1, address=address)
        count = count or 1
        if threads is None:
            cores = len(os.sched_getaffinity(0))
            threads = cls().threads if count == 1 else max(1, cores // count)
        return cls(count=count, threads=threads)

    def engine(self, config: PipelineConfig) -> PipelineConfig:
        """The engine as each worker runs it, in whatever folder that is. Raises ConfigError, EngineError."""
        folder = ModelPackage.load(config.model).folder
        # A bundled model lies where each machine has installed it.
        model = config.model if folder.parent == WEIGHTS else str(folder.absolute())
        return replace(config, model=model, threads=self.threads)


def map_logs(
    function: Callable[[T], R], items: Sequence[T], workers: Workers | None = None
) -> Iterator[R | Failed]:
    """`function` of each item, in their order, as they come; without workers in this process.

    An error of ours is a Failed in that item's place, and so is a worker that died twice on it; any other
    error is raised. Function, items and results go from process to process: they must be picklable, and files
    named by absolute paths. Raises ConfigError where Ray is needed and is not there."""
    workers = workers or Workers()
    if not items or (workers.address is None and workers.count == 1):
        return map(partial(attempt, function), items)
    from fusion_rt.batch import on_ray  # an extra

    return on_ray.map_logs(function, items, workers)


def attempt(function: Callable[[Any], R], item: Any) -> R | Failed:
    """The result, or what error of ours there was."""
    try:
        return function(item)
    except FusionError as error:
        return Failed(str(error))


def absolute(folder: str | Path) -> Path:
    """As every worker sees it, in whatever folder it runs."""
    return Path(folder).expanduser().absolute()
