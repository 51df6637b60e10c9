"""Where a model's scores are probabilities, and from which one its boxes are worth showing: measured on
simulated worlds that neither trained nor judge it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from rich.console import RenderableType
from rich.table import Table

from fusion_rt.evaluation.simulated import frame_boxes, look
from fusion_rt.metrics.average_precision import Curve
from fusion_rt.metrics.boxes import overlaps
from fusion_rt.metrics.calibration import expected_calibration_error
from fusion_rt.metrics.detection import MIN_OVERLAPS
from fusion_rt.metrics.matching import FN, FP, TP, FrameBoxes, match
from fusion_rt.models.package import ModelPackage, ScoreFit
from fusion_rt.perception import Perception, sigmoid
from fusion_rt.sim.frame_files import read_scene
from fusion_rt.transforms import Array

_RIDGE = 1e-3  # holds the fit where hits and misses can be told apart without an error


class WorkingPoint(Struct, frozen=True, kw_only=True):
    """One class: how its scores are bent, the best threshold of the bent ones and its F1, and the calibration
    error from there on, before (from the same boxes on) and after."""

    label: str
    boxes: int
    fit: ScoreFit
    threshold: float
    f1: float
    ece_before: float | None
    ece: float | None


def measure(
    paths: Sequence[Path],
    perception: Perception,
    *,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[WorkingPoint, ...]:
    """One a class, of what lidar and camera find. A class that is never found stays as it is.

    Raises LogError for a scene that cannot be read."""
    classes = perception.spec.classes
    frames: dict[str, list[FrameBoxes]] = {label: [] for label in classes}
    for done, path in enumerate(paths, 1):
        scene = read_scene(path)
        _, found = next(look(scene, perception))  # all sensors first; with fewer it does not look
        for k, label in enumerate(classes):
            frames[label].append(frame_boxes(scene.now, found, k, label))
        advance(done, len(paths))
    spec = perception.spec
    return tuple(
        _point(label, frames[label], spec.scores[label], spec.score_thresholds[label]) for label in classes
    )


def write(package: ModelPackage, points: Sequence[WorkingPoint]) -> ModelPackage:
    """The package with these fits and thresholds in its model.yaml, read again."""
    spec = replace(
        package.spec,
        scores={p.label: p.fit for p in points},
        score_thresholds={p.label: p.threshold for p in points},
    )
    return ModelPackage.described(package.folder, spec)


def _point(label: str, frames: Sequence[FrameBoxes], before: ScoreFit, threshold: float) -> WorkingPoint:
    outcomes = [match(f, overlaps(f.truth, f.found)[0], MIN_OVERLAPS[label][1]) for f in frames]
    judged = np.concatenate([np.zeros((0, 2)), *(o.judged for o in outcomes)])
    scores, hits = judged.T
    curve = Curve(outcomes)
    totals = curve.totals()[1:]  # of the scores from the highest on
    if len(totals) == 0 or not hits.any() or hits.all():
        unchanged = expected_calibration_error(scores[scores >= threshold], hits[scores >= threshold])
        return WorkingPoint(
            label=label,
            boxes=len(scores),
            fit=before,
            threshold=threshold,
            f1=0.0,
            ece_before=unchanged,
            ece=unchanged,
        )
    f1 = 2 * totals[:, TP] / (2 * totals[:, TP] + totals[:, FP] + totals[:, FN])
    best = int(f1.argmax())
    least = float(curve.scores[best])
    gain, offset = logistic_fit(logit(scores), hits)
    bent = sigmoid(gain * logit(scores) + offset)
    shown = scores >= least
    return WorkingPoint(
        label=label,
        boxes=len(scores),
        # What is measured was bent once already.
        fit=ScoreFit(gain=round(gain * before.gain, 4), offset=round(gain * before.offset + offset, 4)),
        threshold=round(float(sigmoid(gain * logit(np.array(least)) + offset)), 3),
        f1=float(f1[best]),
        ece_before=expected_calibration_error(scores[shown], hits[shown]),
        ece=expected_calibration_error(bent[shown], hits[shown]),
    )


def logistic_fit(x: Array, hits: Array) -> tuple[float, float]:
    """gain and offset with which sigmoid(gain * x + offset) is likeliest to have given the hits (n,) 0 or 1
    (Platt 1999), by Newton's steps."""
    X = np.column_stack([x, np.ones_like(x)])
    w = np.array([1.0, 0.0])
    for _ in range(50):
        p = sigmoid(X @ w)
        slope = X.T @ (p - hits) + _RIDGE * (w - (1.0, 0.0))
        step = np.linalg.solve((X * (p * (1 - p))[:, None]).T @ X + _RIDGE * np.eye(2), slope)
        w = w - step
        if np.abs(step).max() < 1e-9:
            break
    return float(w[0]), float(w[1])


def logit(score: Array) -> Array:
    """Of probabilities; 0 and 1 are taken for nearly so."""
    p = np.clip(score, 1e-4, 1 - 1e-4)
    out: Array = np.log(p / (1 - p))
    return out


def render(points: Sequence[WorkingPoint]) -> RenderableType:
    """For a terminal."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("class", no_wrap=True)
    for name in ("boxes", "gain", "offset", "threshold", "F1", "ECE\nbefore", "ECE\nafter"):
        table.add_column(name, justify="right", no_wrap=True)
    for p in points:
        errors = ("-" if e is None else f"{100 * e:.1f}" for e in (p.ece_before, p.ece))
        fit = f"{p.fit.gain:.2f}", f"{p.fit.offset:.2f}"
        table.add_row(p.label, str(p.boxes), *fit, f"{p.threshold:.3f}", f"{100 * p.f1:.1f}", *errors)
    return table
