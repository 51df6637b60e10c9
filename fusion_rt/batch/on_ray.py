"""The only place that knows Ray: processes on this machine for as long as the work lasts, or a cluster."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from fusion_rt.batch.mapping import Failed, Workers, attempt
from fusion_rt.errors import ConfigError

T = TypeVar("T")
R = TypeVar("R")

STORE_BYTES = 100 << 20  # results are small: no need for a third of the memory, which is Ray's choice
CONNECT_S = 5.0


def map_logs(function: Callable[[T], R], items: Sequence[T], workers: Workers) -> Iterator[R | Failed]:
    """As mapping.map_logs; until the last result, what anyone prints goes to standard error. Raises
    ConfigError where Ray is not installed or no cluster answers."""
    with _connected(workers) as (ray, at_once):
        # On this machine the workers are counted, on a cluster the CPUs that they take from others.
        cpus = 1 if workers.address is None else workers.threads
        # Ray's own retries never end where memory runs out.
        task = ray.remote(num_cpus=cpus, max_retries=0)(attempt)
        yield from _in_order(ray, partial(task.remote, function), items, at_once)


def _in_order(
    ray: Any, start: Callable[[T], Any], items: Sequence[T], at_once: int
) -> Iterator[Any | Failed]:
    coming = enumerate(items)
    running: dict[Any, tuple[int, bool]] = {}  # task -> item's number, whether for the second time
    results: dict[int, Any] = {}
    due = 0
    while due < len(items):
        for number, item in islice(coming, at_once - len(running)):
            running[start(item)] = number, False
        (ended,), _ = ray.wait(list(running), num_returns=1)
        number, again = running.pop(ended)
        try:
            results[number] = ray.get(ended)
        except ray.exceptions.RayTaskError as error:
            results[number] = error  # the function's own: raised when it is its turn, as without workers
        except ray.exceptions.RayError as error:
            if again:
                why = str(error).partition("\n")[0]
                results[number] = Failed(f"its worker died twice; replay it alone to see why ({why})")
            else:
                running[start(items[number])] = number, True
        while due in results:
            result = results.pop(due)
            if isinstance(result, ray.exceptions.RayTaskError):
                raise result
            yield result
            due += 1


@contextmanager
def _connected(workers: Workers) -> Iterator[tuple[Any, int]]:
    """Ray, and how many logs it gets at once; in the end nothing of it is left."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            "several logs at once, or a cluster, need ray: pip install 'fusion-rt[batch]'"
        ) from error
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    # However quiet it was asked to be, Ray tells of dead workers on standard output, from a thread.
    with redirect_stdout(sys.stderr):
        try:
            if workers.address is None:
                with _away_from_sources():
                    ray.init(
                        "local",  # whatever RAY_ADDRESS says
                        num_cpus=workers.count,
                        include_dashboard=False,
                        object_store_memory=STORE_BYTES,
                        **quiet,
                    )
                at_once = workers.count or 1
            else:
                _connect(ray, workers.address, quiet)
                room = _room(ray, workers)
                at_once = workers.count or room
            yield ray, at_once
        finally:
            ray.shutdown()


def _connect(ray: Any, address: str, quiet: dict[str, Any]) -> None:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if host:  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), CONNECT_S).close()
        with _away_from_sources():
            ray.init(address, **quiet)
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        why = str(error).partition("\n")[0]
        raise ConfigError(
            f"--address {address}: no Ray cluster of our version and token there ({why});"
            " start one with `ray start --head`"
        ) from error


@contextmanager
def _away_from_sources() -> Iterator[None]:
    """Workers look for modules where we stood when Ray began. In a checkout they would find its folder,
    without the kernels, before the package that is installed."""
    here = os.getcwd()
    os.chdir(sys.prefix)
    try:
        yield
    finally:
        os.chdir(here)


def _room(ray: Any, workers: Workers) -> int:
    """How many workers the cluster has CPUs for. Raises ConfigError where it has none for even one."""
    cpus = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    room = sum(n // workers.threads for n in cpus)
    if not room:
        raise ConfigError(
            f"--address {workers.address}: no machine there has {workers.threads} CPUs for a worker;"
            " give fewer --threads"
        )
    return room
