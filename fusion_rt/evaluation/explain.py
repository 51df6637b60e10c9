"""Which modality carries an object: the share that every answer bears, against what is lost without it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from msgspec import Struct
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fusion_rt import logs
from fusion_rt.device import CpuDevice
from fusion_rt.errors import LogError
from fusion_rt.evaluation.pictures import BACKGROUND, save
from fusion_rt.models.package import ModelPackage
from fusion_rt.perception import CLASS, MODALITIES, SCORE
from fusion_rt.percepts import Explanation
from fusion_rt.pipeline import FusionPipeline, PipelineConfig
from fusion_rt.transforms import Array

SURE = 0.3  # score of a first answer from which it is explained
NOTES = (
    "share: what every answer says of itself, from the size of each modality's summand under the object."
    " without: how much likelier the network finds the object with the modality than without it, as a share"
    " of all three, where it finds it less likely; measured by looking again, once without each.",
    "agreement: how often both name the same modality first, and the mean distance of the shares.",
)


class Explained(Struct, frozen=True, kw_only=True):
    """One object of one answer. place: x, y m ahead and left; share, without: of lidar, camera, memory."""

    time_s: float
    label: str
    score: float
    place: tuple[float, float]
    share: tuple[float, ...]
    without: tuple[float, ...]


class ExplainReport(Struct, frozen=True, kw_only=True):
    """objects: of the last answer that was explained. agreement, distance: 0..1 over all of them."""

    source: str
    model: str
    answers: int
    explained: int
    agreement: float | None
    distance: float | None
    objects: tuple[Explained, ...]
    notes: tuple[str, ...]
    skipped: tuple[str, ...] = ()


def explain(
    path: Path,
    config: PipelineConfig,
    *,
    at_s: float | None = None,
    draw: Path | None = None,
    advance: Callable[[float], None] = lambda fraction: None,
) -> ExplainReport:
    """Replays a recording and explains each answer; with `at_s` only the first one that long after its
    beginning. draw: heat maps of the classes there, as seen from above.

    Raises LogError where the recording cannot be read or has no such answer."""
    package = ModelPackage.load(config.model)
    found: list[Explained] = []
    answers = 0
    with logs.open(path) as log:
        pipeline = FusionPipeline(config, log.rig, CpuDevice(config.threads), package)
        duration = max(log.end_ns - log.start_ns, 1)
        for packet in log:
            prediction = pipeline.push(packet)
            if prediction is None:
                continue
            time_s = (prediction.header.stamp_ns - log.start_ns) / 1e9
            advance(time_s * 1e9 / duration)
            if at_s is not None and time_s < at_s:
                continue
            seen = pipeline.explain()
            answers += 1
            found += _objects(seen, time_s, package.spec.classes)
            if draw is not None:
                save(_heat(seen), draw / f"{path.stem}_{time_s:07.3f}.png")
            if at_s is not None:
                break
    if not answers:
        raise LogError(f"{path}: no answer{'' if at_s is None else f' at or after second {at_s:g}'}")
    share, without = (np.array([getattr(o, k) for o in found]).reshape(-1, 3) for k in ("share", "without"))
    last = max((o.time_s for o in found), default=0.0)
    return ExplainReport(
        source=str(path),
        model=package.identity,
        answers=answers,
        explained=len(found),
        agreement=float((share.argmax(1) == without.argmax(1)).mean()) if found else None,
        distance=float(np.abs(share - without).mean()) if found else None,
        objects=tuple(o for o in found if o.time_s == last),
        notes=NOTES,
    )


def _objects(seen: Explanation, time_s: float, classes: tuple[str, ...]) -> list[Explained]:
    gains = np.maximum(seen.drops, 0)
    without = gains / np.maximum(gains.sum(1, keepdims=True), 1e-9)
    return [
        Explained(
            time_s=time_s,
            label=classes[int(row[CLASS])],
            score=float(row[SCORE]),
            place=(float(row[0]), float(row[1])),
            share=tuple(share),
            without=tuple(part),
        )
        for row, share, part in zip(seen.rows, seen.shares.tolist(), without.tolist())
        if row[SCORE] >= SURE
    ]


def _heat(seen: Explanation) -> Array:
    """(h, w, 3): each class's probability in a colour of its own, ahead is up."""
    colours = np.array([(80, 220, 60), (60, 140, 255), (255, 160, 60)], np.float64)[: len(seen.heatmap)]
    heat = np.tensordot(seen.heatmap.transpose(1, 2, 0), colours, axes=1)
    ahead = np.clip(BACKGROUND + heat, 0, 255).astype(np.uint8).transpose(1, 0, 2)[::-1, ::-1]
    return cv2.resize(ahead, None, fx=4, fy=4, interpolation=cv2.INTER_NEAREST)


def render(report: ExplainReport) -> RenderableType:
    """For a terminal."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("object", no_wrap=True)
    for name in ("score", "ahead\nm", "left\nm"):
        table.add_column(name, justify="right")
    for kind in ("share", "without"):
        for modality in MODALITIES:
            table.add_column(f"{kind}\n{modality}", justify="right")
    for o in report.objects:
        parts = (f"{100 * v:.0f}" for v in (*o.share, *o.without))
        table.add_row(o.label, f"{o.score:.2f}", f"{o.place[0]:.1f}", f"{o.place[1]:.1f}", *parts)
    told = f"{report.explained} objects of {report.answers} answers"
    if report.agreement is not None and report.distance is not None:
        told += f"; agreement {100 * report.agreement:.0f} %, distance {100 * report.distance:.0f} points"
    return Group(
        Text(f"{report.source}: {told}; {report.model}"),
        "",
        table,
        "",
        *(Text(note, style="dim") for note in report.notes),
    )
