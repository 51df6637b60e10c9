"""What is counted, by hand; the baselines; one short home end to end."""

import math

import numpy as np
import pytest

from fusion_rt.evaluation.home import baselines, simulated
from fusion_rt.evaluation.home.report import markdown
from fusion_rt.evaluation.home.scores import Tally
from fusion_rt.header import Header
from fusion_rt.home.room_features import COLUMNS
from fusion_rt.home_truth import HomeTruth, TrueEvent
from fusion_rt.scene import HomeEvent, Why

S = 1_000_000_000


def truth(second, kitchen):
    header = Header(sensor_id="truth", frame_id="home", seq=second, stamp_ns=second * S)
    activities = {"kitchen": "cooking" if kitchen else "empty"}
    return HomeTruth(header=header, people=(), counts={"kitchen": kitchen}, activities=activities)


def event(kind, onset_s):
    why = Why(shares={"sound": 1.0})
    return HomeEvent(kind=kind, room="kitchen", p=0.9, id=str(onset_s), onset_ns=round(onset_s * S), why=why)


def true_event(kind, onset_s):
    return TrueEvent(kind=kind, room="kitchen", position=(0, 0), onset_ns=round(onset_s * S), end_ns=0)


def test_rooms_and_flips():
    tally = Tally()
    for second, (says, there) in enumerate(zip([0, 1, 1, 0, 1, 1], [0, 0, 1, 1, 1, 1])):
        tally.second({"kitchen": bool(says)}, truth(second, there), {"kitchen"} if second < 3 else ())
    scores = tally.scores()
    assert (scores.rooms, scores.occupied, scores.empty, scores.flips) == (4 / 6, 3 / 4, 1 / 2, 3.0)
    assert scores.watched == 2 / 3
    assert scores.position_m is None


def test_an_event_counts_once_and_only_within_a_second():
    tally = Tally()
    told = [event("knock", 10.4), event("knock", 10.9), event("fall", 32.0), event("dog_bark", 50)]
    tally.events(told, [true_event("knock", 10), true_event("fall", 30.5), true_event("dog_bark", 50.9)])
    scores = tally.scores()
    assert scores.events == 2 * 2 / 7
    assert scores.by_event == {"dog_bark": 1.0, "fall": 0.0, "knock": 2 / 3}


def features(**values):
    row = np.zeros(len(COLUMNS), dtype=np.float32)
    for name, value in values.items():
        row[COLUMNS.index(name.replace("__", "."))] = value
    return row


def test_a_pir_holds_for_a_minute():
    for seconds, on in ((0, True), (59, True), (61, False)):
        row = features(motion__known=1, motion__since_300=math.exp(-seconds / 300))
        assert baselines.pir_with_hold(row) == on


def test_naive_bayes_is_bayes():
    fitted = {"prior": (0.2, 0.0), "more than 15 W": (0.9, 0.1)}
    row = features(power__known=1, power__watts=math.log1p(100) / 8)
    assert baselines.naive_bayes(row, fitted) == pytest.approx(0.2 * 0.9 / (0.2 * 0.9 + 0.8 * 0.1))
    row = features(power__known=1)
    assert baselines.naive_bayes(row, fitted) == pytest.approx(0.2 * 0.1 / (0.2 * 0.1 + 0.8 * 0.9))
    assert baselines.naive_bayes(features(), fitted) == pytest.approx(0.2)


def test_fitting_counts():
    on, off = features(power__known=1, power__watts=1), features(power__known=1)
    fitted = baselines.fit([(on, True)] * 6 + [(off, True)] * 2 + [(on, False)] + [(off, False)] * 7)
    assert fitted["more than 15 W"] == (0.7, 0.2)
    assert fitted["prior"][0] == 0.5
    assert fitted["speech"] == (0.5, 0.5)


def test_a_home_is_judged_with_each_modality_alone_and_lost():
    report = simulated.judge(1, 0.02, seed=500_003)
    rows = {row.sensors: row for row in report.rows}
    assert {"all", "all, 1 Hz", "radar alone", "without radar", "PIR with hold", "naive Bayes"} <= set(rows)
    assert rows["without radar"].cost is not None
    assert all(0 <= row.scores.rooms <= 1 for row in report.rows)
    assert rows["all"].scores.rooms > 0.5
    assert "| without radar |" in markdown(report)
