"""The head `fall` on recordings of worn sensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from fusion_rt.evaluation.home_recordings.baselines import METHODS, learn
from fusion_rt.evaluation.home_recordings.figures import Figure, Row, rate_per_day, share
from fusion_rt.heads import worn
from fusion_rt.heads.fall import BIN_NS, POSITIONS, QUIET_S, SURE_BINS, FallHead
from fusion_rt.messages import ImuSample
from fusion_rt.train.datasets.fall_head import as_sequences, bins_of, windows
from fusion_rt.train.datasets.umafall import WornRecording

NOTHING = (float("nan"),) * 3
# Alarms from shortly before the impact on are that fall's.
BEFORE_S = 0.5
# name -> places, whether accelerations, whether angular rates
INPUTS: dict[str, tuple[tuple[str, ...], bool, bool]] = {
    "all": (("rightpocket", "waist", "wrist"), True, True),
    "pocket": (("rightpocket",), True, True),
    "waist": (("waist",), True, True),
    "wrist": (("wrist",), True, True),
    "waist and wrist": (("waist", "wrist"), True, True),
    "accelerometers": (("rightpocket", "waist", "wrist"), True, False),
    "gyroscopes": (("waist", "wrist"), False, True),
    "waist, accelerometer": (("waist",), True, False),
    "wrist, accelerometer": (("wrist",), True, False),
}


class Alarms(Struct, frozen=True):
    """Of one recording. fell, found: whether the person did, and whether it was said; false: other alarms;
    delay_s
    from the impact to the alarm; hours: how long it was watched for false alarms."""

    fell: bool
    found: bool
    false: int
    delay_s: float | None
    hours: float


def stream(head: FallHead, recording: WornRecording, inputs: str = "all") -> Alarms:
    """The recording through the live head, sample by sample."""
    places, forces, rates = INPUTS[inputs]
    head.reset()
    alarms = []
    for sample in recording.samples:
        if sample.header.sensor_id in places:
            answer = head.push(_only(sample, forces, rates))
            if answer is not None and answer.alarm:
                alarms.append(answer.stamp_ns)
    return _judge(recording, alarms)


def _only(sample: ImuSample, forces: bool, rates: bool) -> ImuSample:
    if forces and rates:
        return sample
    return replace(
        sample,
        specific_force=sample.specific_force if forces else NOTHING,
        angular_rate=sample.angular_rate if rates else NOTHING,
    )


def _judge(recording: WornRecording, alarms: list[int]) -> Alarms:
    if recording.fall_ns is None:
        return Alarms(False, False, len(alarms), None, recording.duration_s / 3600)
    begins = recording.fall_ns - round(BEFORE_S * 1e9)
    after = [a for a in alarms if a >= begins]
    watched = (begins - recording.samples[0].header.stamp_ns) / 3.6e12
    delay = (after[0] - recording.fall_ns) / 1e9 if after else None
    return Alarms(True, bool(after), len(alarms) - len(after), delay, max(watched, 0.0))


def figures(alarms: Sequence[Alarms]) -> dict[str, Figure]:
    fell = [a for a in alarms if a.fell]
    hours, false = sum(a.hours for a in alarms), sum(a.false for a in alarms)
    delays = [a.delay_s for a in fell if a.delay_s is not None]
    return {
        "falls": Figure(float(len(fell))),
        "found": share(sum(a.found for a in fell), len(fell)),
        "delay s": Figure(float(np.median(delays))) if delays else Figure(None),
        "minutes": Figure(hours * 60),
        "false alarms": Figure(float(false)),
        "a day": rate_per_day(false, hours),
    }


def simple_alarms(
    training: Sequence[WornRecording], judged: Sequence[WornRecording]
) -> dict[str, list[Alarms]]:
    """Simple methods on the same features of each 50 ms, and the classical threshold rule: an impact in the
    last 3 s, a waist that is turned from where it was, and stillness."""
    seen = as_sequences([bins_of(r) for r in training])
    x = np.concatenate([s.values[s.truth >= 0] for s in seen])
    truth = np.concatenate([s.truth[s.truth >= 0] for s in seen])
    rows = [s.values for s in as_sequences([bins_of(r) for r in judged])]
    found = {"threshold rule": [_judge(r, _alarms(r, _rule(r))) for r in judged]}
    for method in METHODS:
        predict = learn(method, x, truth)
        found[method] = [_judge(r, _alarms(r, predict(v) == 1)) for r, v in zip(judged, rows)]
    return found


def _rule(recording: WornRecording) -> Any:
    waist = POSITIONS.index("waist")
    window = np.stack([one[0, waist] for one, _, _ in windows([bins_of(recording)])])
    features = dict(zip(worn.FORCE_FEATURES, np.moveaxis(worn.force_features(window), -1, 0)))
    impact = features["largest_3s"] > np.log2(2.5 + 0.1)
    return impact & (features["tilt_3s"] > np.radians(45)) & (features["shake_0.5s"] < np.sqrt(0.15))


def _alarms(recording: WornRecording, fallen: Any) -> list[int]:
    """The bins' answers as alarms, by the rules of the head."""
    first = recording.samples[0].header.stamp_ns // BIN_NS
    alarms: list[int] = []
    sure = 0
    for t, yes in enumerate(fallen):
        sure = sure + 1 if yes else 0
        stamp_ns = (first + t + 1) * BIN_NS
        if sure >= SURE_BINS and (not alarms or stamp_ns >= alarms[-1] + QUIET_S * 1e9):
            alarms.append(stamp_ns)
    return alarms


def simple_rows(
    training: Sequence[WornRecording], judged: Mapping[str, Sequence[WornRecording]]
) -> list[Row]:
    return [
        Row(method=method, inputs="all", judged=which, seen=False, figures=figures(alarms))
        for which, recordings in judged.items()
        for method, alarms in simple_alarms(training, recordings).items()
    ]
