"""How well sounds are told apart, by folds of labelled clips: the head with each fold held out, a linear
baseline on what sound-effects makes of them alone, and the head that is bundled."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from rich.table import Table

from fusion_rt.errors import ConfigError
from fusion_rt.sound.events import HEAD, Classifier
from fusion_rt.sound.summary import SIZE as SUMMARY
from fusion_rt.train.sounds import training
from fusion_rt.train.sounds.clips import Clip, read_clips
from fusion_rt.train.sounds.discriminant import Array, fit

BASELINE = "linear on sound-effects"
HELD_OUT = "head, fold held out"


class Row(Struct, frozen=True, kw_only=True):
    """One way to tell clips apart.

    accuracy   share of clips that are right, of those that were judged
    by_fold    fold -> the same
    knew       folds that it was trained on: their figure says nothing
    errors     "what it is -> what it was taken for": how many
    """

    what: str
    clips: int
    accuracy: float
    by_fold: dict[int, float]
    knew: tuple[int, ...] = ()
    errors: dict[str, int] = {}


class SoundReport(Struct, frozen=True, kw_only=True):
    """labels  of the clips; head: the bundled one's identity; skipped: what could not be judged, and why."""

    folder: str
    clips: int
    labels: tuple[str, ...]
    head: str
    rows: tuple[Row, ...]
    skipped: tuple[str, ...] = ()


def judge(folder: Path, *, head: str = HEAD, advance: Callable[[float, float], None]) -> SoundReport:
    """Clips among the labels that the folder has. Raises LogError, ConfigError, EngineError."""
    clips = read_clips(folder)
    classifier = Classifier(head)
    labels = tuple(sorted({clip.label for clip in clips}))
    unknown = sorted(set(labels) - set(classifier.labels))
    rows, skipped = [], []
    data = training.featured(clips, lambda done, total: advance(0.8 * done, total))
    if len(set(data.folds.tolist())) > 1:
        # Without what is synthesised, which gives means alone: it changes nothing among these labels.
        rows += [_baseline(data), _held_out(data, labels)]
    else:
        skipped.append("one fold alone: nothing to train on with it held out")
    if unknown:
        skipped.append(f"{classifier.identity} does not know {', '.join(unknown)}")
    else:
        rows.append(_bundled(classifier, clips, labels))
    advance(1.0, 1.0)
    return SoundReport(
        folder=str(folder),
        clips=len(clips),
        labels=labels,
        head=classifier.identity,
        rows=tuple(rows),
        skipped=tuple(skipped),
    )


def render(report: SoundReport) -> Table:
    """One row each; folds that were trained on in brackets."""
    folds = sorted({fold for row in report.rows for fold in row.by_fold})
    table = Table(
        title=f"{report.clips} clips of {len(report.labels)} kinds, accuracy in %", title_justify="left"
    )
    table.add_column("")
    for column in ("clips", "all", *(f"fold {fold}" for fold in folds)):
        table.add_column(column, justify="right")
    for row in report.rows:
        cells = []
        for fold in folds:
            text = f"{100 * row.by_fold[fold]:.1f}" if fold in row.by_fold else ""
            cells.append(f"({text})" if fold in row.knew else text)
        table.add_row(row.what, str(row.clips), f"{100 * row.accuracy:.1f}", *cells)
    return table


def _baseline(data: training.Featured) -> Row:
    """A linear head on a clip's pooled effects, folds held out."""
    x = data.x[:, 0, SUMMARY:]
    taken = np.empty(len(data.labels), object)
    for fold in sorted(set(data.folds.tolist())):
        known = data.folds != fold
        labels = [label for label, take in zip(data.labels, known) if take]
        linear = fit(x[known], labels, importance=np.ones(x.shape[1]), shrinkage=0.1)
        best = linear.logits(x[~known]).argmax(axis=1)
        taken[~known] = [linear.labels[i] for i in best]
    return _row(BASELINE, data.labels, list(taken), data.folds)


def _held_out(data: training.Featured, labels: tuple[str, ...]) -> Row:
    logits, names = training.held_out(data)
    return _row(HELD_OUT, data.labels, _among(logits, names, labels), data.folds)


def _bundled(classifier: Classifier, clips: list[Clip], labels: tuple[str, ...]) -> Row:
    p = np.array([list(classifier.look(clip.pcm).values()) for clip in clips])
    taken = _among(p, classifier.labels, labels)
    folds = np.array([clip.fold for clip in clips])
    knew = tuple(
        fold for fold in sorted(set(folds.tolist())) if fold in trained_folds(classifier.trained_with)
    )
    return _row(f"{classifier.identity}", tuple(clip.label for clip in clips), taken, folds, knew=knew)


def trained_folds(command: str) -> tuple[int, ...]:
    """Of what `training.command` wrote."""
    found = re.search(r"folds ([\d, ]+)", command)
    return tuple(int(fold) for fold in found.group(1).split(",")) if found else ()


def _among(scores: Array, names: tuple[str, ...], labels: tuple[str, ...]) -> list[str]:
    """The likeliest of these labels, whatever else the head knows."""
    if missing := sorted(set(labels) - set(names)):
        raise ConfigError(f"the head does not know {', '.join(missing)}")
    columns = [names.index(label) for label in labels]
    return [labels[i] for i in scores[:, columns].argmax(axis=1)]


def _row(
    what: str,
    truth: tuple[str, ...],
    taken: list[str],
    folds: NDArray[np.int64],
    knew: tuple[int, ...] = (),
) -> Row:
    right = np.array([a == b for a, b in zip(truth, taken)])
    new = ~np.isin(folds, knew)
    judged = new if new.any() else np.ones(len(folds), bool)
    errors = Counter(f"{a} -> {b}" for a, b, j in zip(truth, taken, judged) if a != b and j)
    return Row(
        what=what,
        clips=int(judged.sum()),
        accuracy=float(right[judged].mean()),
        by_fold={int(fold): float(right[folds == fold].mean()) for fold in sorted(set(folds.tolist()))},
        knew=knew,
        errors=dict(errors.most_common()),
    )
