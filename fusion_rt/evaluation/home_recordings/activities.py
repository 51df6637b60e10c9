"""The head `radar-activity` on recordings of a radar."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from fusion_rt.evaluation.home_recordings.baselines import METHODS, learn
from fusion_rt.evaluation.home_recordings.figures import Figure, Row, resampled
from fusion_rt.heads.activity import ActivityHead
from fusion_rt.heads.radar import window_features
from fusion_rt.home_packets import RadarPoints
from fusion_rt.train.datasets.activity_head import points_of
from fusion_rt.train.datasets.activity_net import WINDOW
from fusion_rt.train.datasets.radhar import ACTIVITIES, RadarRecording

EVERY = 15  # frames from one judged window of 2 s to the next
INPUTS = ("points with Doppler", "without Doppler", "every second frame lost")


class Windows(Struct, frozen=True):
    """said (W,) and truth: numbers of ACTIVITIES, of one recording."""

    said: Any
    truth: int


def stream(head: ActivityHead, recording: RadarRecording, inputs: str = INPUTS[0]) -> Windows:
    """The recording through the live head, frame by frame. The first answer that counts has seen a whole
    window, the others follow every EVERY frames."""
    head.reset()
    said = []
    for frame in recording.frames:
        if inputs == INPUTS[2] and frame.header.seq % 2:
            continue
        answer = head.push(_without_doppler(frame) if inputs == INPUTS[1] else frame)
        if answer is not None and answer.whole:
            said.append(ACTIVITIES.index(answer.activity))
    return Windows(np.array(said, np.int64), ACTIVITIES.index(recording.activity))


def _without_doppler(frame: RadarPoints) -> RadarPoints:
    return replace(frame, velocity=np.zeros_like(frame.velocity))


def figures(recordings: Sequence[Windows]) -> dict[str, Figure]:
    """Of recordings judged together; intervals by drawing recordings."""

    def measured(measure: Callable[[list[Windows]], float | None]) -> Figure:
        return resampled(recordings, measure)

    found = {
        "accuracy": measured(lambda some: _share([(w.said == w.truth).tolist() for w in some])),
        # What most of a recording's windows say.
        "recordings": measured(
            lambda some: float(np.mean([np.bincount(w.said, minlength=9).argmax() == w.truth for w in some]))
        ),
        "windows": Figure(float(sum(len(w.said) for w in recordings))),
    }
    for i, activity in enumerate(ACTIVITIES):
        found[activity] = Figure(_share([(w.said == i).tolist() for w in recordings if w.truth == i]))
    return found


def _share(hits: list[list[bool]]) -> float | None:
    flat = [hit for one in hits for hit in one]
    return float(np.mean(flat)) if flat else None


def simple_answers(
    training: Sequence[RadarRecording], judged: Sequence[RadarRecording]
) -> dict[str, list[Windows]]:
    """Simple methods on mean, spread and change of the same features over the window."""
    x = [_statistics(recording) for recording in training]
    truth = np.repeat([ACTIVITIES.index(r.activity) for r in training], [len(rows) for rows in x])
    found = {}
    for method in METHODS:
        predict = learn(method, np.concatenate(x), truth)
        found[method] = [Windows(predict(_statistics(r)), ACTIVITIES.index(r.activity)) for r in judged]
    return found


def simple_rows(
    training: Sequence[RadarRecording], judged: Mapping[str, Sequence[RadarRecording]]
) -> list[Row]:
    rows = []
    for which, recordings in judged.items():
        for method, windows in simple_answers(training, recordings).items():
            rows.append(
                Row(method=method, inputs=INPUTS[0], judged=which, seen=False, figures=figures(windows))
            )
    return rows


def _statistics(recording: RadarRecording) -> Any:
    xyz, velocity, frame = points_of(recording)
    rows = []
    for start in range(0, len(recording.frames) - WINDOW + 1, EVERY):
        inside = (frame >= start) & (frame < start + WINDOW)
        w = window_features(xyz[inside], velocity[inside], frame[inside] - start, WINDOW)
        rows.append(np.concatenate([w.mean(0), w.std(0), np.abs(np.diff(w, axis=0)).mean(0)]))
    return np.array(rows)
