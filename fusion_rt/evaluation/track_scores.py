"""HOTA, CLEAR MOT and identity scores of KITTI result files, by TrackEval (Luiten et al., IJCV 2021)."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from fusion_rt.errors import ConfigError, LogError
from fusion_rt.metrics.detection import Estimate

CLASSES = ("car", "pedestrian")  # those that the benchmark judges
RESAMPLES, SEED = 400, 1


class TrackScore(Struct, frozen=True, kw_only=True):
    """One class on some sequences. Shares are 0..1, with the middle 95 % over sequences drawn again."""

    label: str
    which: str
    sequences: int
    hota: Estimate
    deta: Estimate
    assa: Estimate
    loca: Estimate
    mota: Estimate
    idf1: Estimate
    switches: int
    false_positives: int
    false_negatives: int


def score(
    results: Path, labels: Path, lengths: Mapping[str, int], groups: Mapping[str, Sequence[str]]
) -> tuple[TrackScore, ...]:
    """Result files SSSS.txt in `results` against those in `labels`, by KITTI's 2D box protocol, for each
    group of sequences and class. lengths: sequence -> frames. Raises ConfigError where TrackEval is not
    installed, LogError for labels that it refuses."""
    per_sequence = _evaluate(results, labels, lengths)
    return tuple(
        _score(per_sequence, label, which, tuple(names))
        for which, names in groups.items()
        for label in CLASSES
        if names
    )


def _evaluate(results: Path, labels: Path, lengths: Mapping[str, int]) -> dict[str, Any]:
    try:
        import trackeval
    except ImportError as error:
        raise ConfigError("tracks are judged by TrackEval: pip install 'fusion_rt[eval]'") from error
    quiet = {"PRINT_CONFIG": False}
    with tempfile.TemporaryDirectory() as passing, contextlib.redirect_stdout(io.StringIO()):
        truth, ours = Path(passing) / "truth", Path(passing) / "trackers" / "ours"
        truth.mkdir()
        ours.mkdir(parents=True)
        (truth / "label_02").symlink_to(labels.resolve())
        (ours / "data").symlink_to(results.resolve())
        lines = (f"{name} empty 000000 {frames:06d}\n" for name, frames in lengths.items())
        (truth / "evaluate_tracking.seqmap.training").write_text("".join(lines))
        dataset = trackeval.datasets.Kitti2DBox(
            {
                "GT_FOLDER": str(truth),
                "TRACKERS_FOLDER": str(ours.parent),
                "TRACKERS_TO_EVAL": ["ours"],
                "CLASSES_TO_EVAL": list(CLASSES),
                **quiet,
            }
        )
        silent = dict.fromkeys(
            ("PRINT_RESULTS", "OUTPUT_SUMMARY", "OUTPUT_DETAILED", "PLOT_CURVES", "TIME_PROGRESS"), False
        )
        evaluator = trackeval.Evaluator({**silent, **quiet, "OUTPUT_EMPTY_CLASSES": False})
        try:
            found, _ = evaluator.evaluate([dataset], _metrics())
        except trackeval.utils.TrackEvalException as error:
            raise LogError(f"{labels}: TrackEval cannot judge these labels: {error}") from error
    per_sequence: dict[str, Any] = found["Kitti2DBox"]["ours"]
    return per_sequence


def _score(per_sequence: dict[str, Any], label: str, which: str, names: tuple[str, ...]) -> TrackScore:
    whole = _combined(per_sequence, label, names)
    rng = np.random.default_rng(SEED)
    again = [_combined(per_sequence, label, tuple(rng.choice(names, len(names)))) for _ in range(RESAMPLES)]

    def estimate(name: str) -> Estimate:
        low, high = np.percentile([values[name] for values in again], (2.5, 97.5))
        return Estimate(whole[name], float(low), float(high))

    return TrackScore(
        label=label,
        which=which,
        sequences=len(names),
        hota=estimate("HOTA"),
        deta=estimate("DetA"),
        assa=estimate("AssA"),
        loca=estimate("LocA"),
        mota=estimate("MOTA"),
        idf1=estimate("IDF1"),
        switches=int(whole["IDSW"]),
        false_positives=int(whole["CLR_FP"]),
        false_negatives=int(whole["CLR_FN"]),
    )


def _combined(per_sequence: dict[str, Any], label: str, names: tuple[str, ...]) -> dict[str, float]:
    """All metrics of several sequences together; one that was drawn twice counts twice."""
    values: dict[str, float] = {}
    for metric in _metrics():
        family = metric.get_name()
        drawn = {str(k): per_sequence[name][label][family] for k, name in enumerate(names)}
        values |= {k: float(np.mean(v)) for k, v in metric.combine_sequences(drawn).items()}
    return values


def _metrics() -> list[Any]:
    from trackeval import metrics

    return [metrics.HOTA(), metrics.CLEAR({"PRINT_CONFIG": False}), metrics.Identity({"PRINT_CONFIG": False})]
