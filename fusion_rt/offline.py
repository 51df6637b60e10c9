"""A recording through the pipeline without sockets or clocks: the same answers each time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np
from msgspec import Struct, structs

from fusion_rt import logs
from fusion_rt.errors import ConfigError, MessageError
from fusion_rt.images import PIXELS, decode_image
from fusion_rt.messages import Image, Packet, Prediction
from fusion_rt.pipeline import FusionPipeline, PipelineConfig

AHEAD = 16  # packets: about a sweep and what comes with it


class Replayed(Struct, frozen=True, kw_only=True):
    """What a recording came to.

    predictions   how many
    log_s         from the first to the last of them, s
    objects       in all of them; mean and 95th percentile: of one's number
    rungs         of the ladder, and how often each was used
    tracks        numbers that were given, by class
    notes         what was damaged
    """

    predictions: int
    log_s: float
    objects: int
    objects_mean: float
    objects_p95: float
    rungs: dict[str, int]
    tracks: dict[str, int]
    notes: tuple[str, ...]


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
    Raises LogError when the recording cannot be read or holds no rig, ConfigError where it is a home's."""
    with logs.open(path) as log:
        if log.plan is not None and not log.rig.modalities():
            raise ConfigError(f"{path}: a home's recording: it is replayed live, without --fast")
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


def replay(
    path: str | Path,
    config: PipelineConfig,
    out: BinaryIO | None,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Replayed:
    """Every answer as a line where `out` is given, and what they come to. Raises as `predictions`."""
    stamps: list[int] = []
    objects: list[int] = []
    rungs: Counter[str] = Counter()
    tracks: dict[str, set[int]] = {}
    notes: list[str] = []
    for prediction in predictions(path, config, progress, notes.append):
        if out is not None:
            write_line(prediction, out)
        stamps.append(prediction.header.stamp_ns)
        objects.append(len(prediction.objects))
        rungs[prediction.certificate.rung] += 1
        for thing in prediction.objects:
            tracks.setdefault(thing.label, set()).add(thing.track_id)
    return Replayed(
        predictions=len(stamps),
        log_s=round((stamps[-1] - stamps[0]) / 1e9, 3) if stamps else 0.0,
        objects=sum(objects),
        objects_mean=round(float(np.mean(objects)), 3) if objects else 0.0,
        objects_p95=round(float(np.percentile(objects, 95)), 3) if objects else 0.0,
        rungs=dict(rungs),
        tracks={label: len(ids) for label, ids in sorted(tracks.items())},
        notes=tuple(notes),
    )


def _read_ahead(packets: Iterable[Packet]) -> Iterator[Packet]:
    """The same packets, the next ones read and unpacked while these are used: a sweep and an image take
    milliseconds."""
    source = map(_unpacked, packets)
    with ThreadPoolExecutor(1, "read-ahead") as reader:
        coming = reader.submit(lambda: list(islice(source, AHEAD)))
        while batch := coming.result():
            coming = reader.submit(lambda: list(islice(source, AHEAD)))
            yield from batch


def _unpacked(packet: Packet) -> Packet:
    """An image that decodes as its pixels; what does not is left for the pipeline to refuse."""
    if not isinstance(packet, Image) or packet.encoding in PIXELS:
        return packet
    try:
        return structs.replace(packet, data=decode_image(packet), encoding="bgr8")
    except MessageError:
        return packet


def write_line(prediction: Prediction, out: BinaryIO) -> None:
    """One line of JSON, as docs/predictions.md describes it; equal predictions give equal bytes."""
    out.write(msgspec.json.encode(prediction))
    out.write(b"\n")
