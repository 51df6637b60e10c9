"""What a handful of labelled frames is worth: the second look is taught on some and judged on others, until
every frame was judged by a model that never saw it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fusion_rt.device import CpuDevice
from fusion_rt.errors import ConfigError, LogError, MessageError
from fusion_rt.evaluation.kitti import result_labels, see
from fusion_rt.evaluation.report import interval, percent
from fusion_rt.evaluation.subsets import SUBSETS, detect
from fusion_rt.logs.kitti_object import KittiFrame, Label, counted_box, ego_box, frame_names, read_frame
from fusion_rt.metrics.boxes import bev_iou
from fusion_rt.metrics.detection import Level, count_objects, judge, mean_overlap
from fusion_rt.metrics.kitti import DIFFICULTIES, SHELTER, frame_boxes, share_in
from fusion_rt.metrics.matching import FrameBoxes
from fusion_rt.models.package import ModelPackage
from fusion_rt.perception import Perception
from fusion_rt.percepts import Motion
from fusion_rt.train.adapt import AdaptConfig, Example, example, fit, write
from fusion_rt.train.packaged import packaged_net, preset_of
from fusion_rt.transforms import Array

MODERATE = DIFFICULTIES[1]
TOUCHING = 0.05  # overlap with what is labelled as another kind from which a row is not judged
NOTES = (
    "as it was / adapted: the model given, and models that learned from the other folds' frames alone; lidar"
    " + camera, KITTI's moderate objects. AP at 40 recalls over all scores, in %; [ ]: the middle 95 % over"
    " frames drawn again with replacement. overlap: the mean, in %, of each object's with the detection of"
    " its class that overlaps it most.",
)


class AdaptRow(Struct, frozen=True, kw_only=True):
    """One class: BEV strict and loose, then 3D, before and after; overlap: the mean one (`mean_overlap`) of
    either."""

    label: str
    objects: int
    before: tuple[Level, ...]
    after: tuple[Level, ...]
    overlap: tuple[float | None, float | None]


class AdaptReport(Struct, frozen=True, kw_only=True):
    """frames: how many had labels and could be used; learned: objects of each class with enough points."""

    source: str
    model: str
    frames: int
    folds: int
    learned: dict[str, int]
    rows: tuple[AdaptRow, ...]
    notes: tuple[str, ...]
    skipped: tuple[str, ...]


class Labelled(Struct, frozen=True, eq=False):
    """A frame and what it teaches."""

    frame: KittiFrame
    example: Example


def read(folder: Path, perception: Perception, skipped: list[str]) -> list[Labelled]:
    """The frames that have labels; those that are damaged or have none are told in `skipped`.

    Raises ConfigError for a model that is no preset of ours, LogError where no frame is of use."""
    spec, preset = perception.spec, preset_of(perception.package)
    found = []
    for index, name in enumerate(frame_names(folder)):
        try:
            frame = read_frame(folder, name, index=index)
            if frame.labels is None:
                skipped.append(f"{folder}: frame {name} has no label_2/{name}.txt")
                continue
            sweeps, views = see(frame, perception)
        except (LogError, MessageError) as error:
            skipped.append(str(error))
            continue
        if not (sweeps and views):
            skipped.append(f"{folder}: frame {name} lacks its {'image' if sweeps else 'sweep'}")
            continue
        perception.detect(sweeps, views, Motion())
        look = perception.first_look
        mine = [t for t in frame.labels if t.type.lower() in spec.classes]
        boxes = np.array([ego_box(t, frame.T_reference_ego) for t in mine]).reshape(-1, 7)
        cls = np.array([spec.classes.index(t.type.lower()) for t in mine], np.int64)
        judged = _judged(look.rows, frame, spec.classes)
        found.append(Labelled(frame, example(look, boxes, cls, judged, preset)))
    if not found:
        raise LogError(f"{folder}: no labelled frame can be used; {(skipped or ['it has none'])[0]}")
    return found


def _judged(rows: Array, frame: KittiFrame, classes: Sequence[str]) -> Array:
    """(n,) bool: rows where the labels would name an object: in the image by half, in no DontCare region,
    and not at an object of another kind."""
    camera, labels = frame.rig.cameras["camera"], frame.labels or ()
    regions = [t.bbox for t in labels if t.type == "DontCare"]
    foreign = [t for t in labels if t.type.lower() not in (*classes, "dontcare")]
    others = np.array([ego_box(t, frame.T_reference_ego) for t in foreign]).reshape(-1, 7)
    touching = bev_iou(rows[:, :7], others).max(1, initial=0) > TOUCHING
    shown = [counted_box(row[:7], camera) for row in rows]
    told = [box is not None and all(share_in(box, r) <= SHELTER for r in regions) for box in shown]
    judged: Array = np.array(told, bool) & ~touching
    return judged


def cross_validate(
    source: str,
    frames: Sequence[Labelled],
    perception: Perception,
    config: AdaptConfig,
    *,
    folds: int,
    skipped: Sequence[str] = (),
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> AdaptReport:
    """Every frame is judged twice: by the model as it is, and by one that learned from the other folds.

    Raises ConfigError where there are fewer frames than folds, or nothing to learn."""
    if not 2 <= folds <= len(frames):
        raise ConfigError(f"{folds} folds of {len(frames)} labelled frames: give 2 to {len(frames)}")
    package, classes = perception.package, perception.spec.classes
    before = [_boxes(f, perception) for f in frames]
    after: list[dict[str, FrameBoxes]] = [{} for _ in frames]
    order = np.random.default_rng(config.seed).permutation(len(frames))
    for fold in range(folds):
        held = set(order[fold::folds].tolist())
        with tempfile.TemporaryDirectory() as passing:
            net = packaged_net(package)
            fit(net, [f.example for i, f in enumerate(frames) if i not in held], config)
            taught = write(package, net, Path(passing) / "model", version="fold", learned_from="the others")
            looking = Perception(taught, CpuDevice(), precision=perception.precision)
            for i in held:
                after[i] = _boxes(frames[i], looking)
        advance(fold + 1, folds)
    thresholds = perception.spec.score_thresholds
    rows = []
    for label in classes:
        cases = [[boxes[label] for boxes in which] for which in (before, after)]
        levels = [judge(case, label=label, threshold=thresholds[label]) for case in cases]
        rows.append(
            AdaptRow(
                label=label,
                objects=count_objects(cases[0]),
                before=levels[0],
                after=levels[1],
                overlap=(mean_overlap(cases[0]), mean_overlap(cases[1])),
            )
        )
    return AdaptReport(
        source=source,
        model=package.identity,
        frames=len(frames),
        folds=folds,
        learned={
            label: sum(int((f.example.cls == k).sum()) for f in frames) for k, label in enumerate(classes)
        },
        rows=tuple(rows),
        notes=NOTES,
        skipped=tuple(skipped),
    )


def _boxes(labelled: Labelled, perception: Perception) -> dict[str, FrameBoxes]:
    frame, classes = labelled.frame, perception.spec.classes
    sweeps, views = see(frame, perception)
    seen = detect(perception, SUBSETS[0], sweeps=sweeps, views=views, motion=Motion())
    found = result_labels(seen, classes, frame.rig.cameras["camera"], frame.T_reference_ego)
    labels: Sequence[Label] = frame.labels or ()
    return {label: frame_boxes(labels, found, label=label, difficulty=MODERATE) for label in classes}


def render(report: AdaptReport) -> RenderableType:
    """For a terminal."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("class", "model"):
        table.add_column(name, no_wrap=True)
    for name in (
        "objects",
        "BEV AP\nstrict",
        "BEV AP\nloose",
        "3D AP\nstrict",
        "3D AP\nloose",
        "overlap",
        "TP/FP/FN",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for row in report.rows:
        both = zip(("as it was", "adapted"), (row.before, row.after), row.overlap)
        for which, levels, overlap in both:
            points = [f"{percent(level.ap)} {interval(level.ap)}" for level in levels]
            loose = levels[1]
            share = "-" if overlap is None else f"{100 * overlap:.1f}"
            counts = f"{loose.tp}/{loose.fp}/{loose.fn}"
            table.add_row(row.label, which, str(row.objects), *points, share, counts)
    learned = ", ".join(f"{n} {label}s" for label, n in report.learned.items())
    frames = f"{report.frames} labelled frames in {report.folds} folds"
    head = f"{report.source}: {frames} ({learned}); {report.model}"
    return Group(Text(head), "", table, "", *(Text(note, style="dim") for note in report.notes))


def adapt(
    package: ModelPackage,
    frames: Sequence[Labelled],
    out: Path,
    config: AdaptConfig,
    *,
    source: str,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> ModelPackage:
    """A package that learned from all of the frames."""
    net = packaged_net(package)
    fit(net, [f.example for f in frames], config, advance=advance)
    learned = f"fusion-rt adapt {source}: {len(frames)} labelled frames, {config.steps} steps"
    return write(package, net, out, version=f"{package.spec.version}-adapted", learned_from=learned)
