"""A recording through the pipeline without sockets or clocks: the same answers each time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import msgspec

from fusion_rt import logs
from fusion_rt.messages import Packet, Prediction
from fusion_rt.pipeline import FusionPipeline, PipelineConfig

AHEAD = 16  # packets: about a sweep and what comes with it


def predictions(
    path: str | Path,
    config: PipelineConfig,
    progress: Callable[[float], None] = lambda fraction: None,
    say: Callable[[str], None] = lambda line: None,
    keep: Callable[[Packet], bool] = lambda packet: True,
) -> Iterator[Prediction]:
    """Every answer that the recording gives, in order.

    progress is called with the fraction of the recording's time that is done, say with what was damaged;
    packets that `keep` denies are as if they had never been sent.
    Raises LogError when the recording cannot be read or holds no rig."""
    with logs.open(path) as log:
        pipeline = FusionPipeline.from_config(config, log.rig)
        duration = max(log.end_ns - log.start_ns, 1)
        for packet in _read_ahead(log):
            prediction = pipeline.push(packet) if keep(packet) else None
            if prediction is not None:
                progress((prediction.header.stamp_ns - log.start_ns) / duration)
                yield prediction
        progress(1.0)
        if log.recovered:
            say(log.recovered)


def _read_ahead(packets: Iterable[Packet]) -> Iterator[Packet]:
    """The same packets, the next ones read while these are used: unpacking a sweep takes milliseconds."""
    source = iter(packets)
    with ThreadPoolExecutor(1, "read-ahead") as reader:
        coming = reader.submit(lambda: list(islice(source, AHEAD)))
        while batch := coming.result():
            coming = reader.submit(lambda: list(islice(source, AHEAD)))
            yield from batch


def write_line(prediction: Prediction, out: BinaryIO) -> None:
    """One line of JSON, as docs/predictions.md describes it; equal predictions give equal bytes."""
    out.write(msgspec.json.encode(prediction))
    out.write(b"\n")
