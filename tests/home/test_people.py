import math

import numpy as np
import pytest

from fusion_rt.home.people import Found, People, correct, predict

S = 1_000_000_000


def found(x, y, *, p=0.9, vx=0.0, vy=0.0, sigma=0.15, posture=(1.0, 0.0, 0.0)):
    return Found(p, x, y, sigma, vx, vy, posture, 0.0)


def room_of(x, y):
    return "left" if x < 4 else "right"


@pytest.fixture
def people():
    return People(lambda x, y: True, room_of)


def run(people, answers, dt_s=0.2):
    """answers: a list of Found a tick; the confirmed tracks after each."""
    return [people.update(answer, round(i * dt_s * S), dt_s) for i, answer in enumerate(answers)]


def test_one_glimpse_is_nobody_yet(people):
    after = run(people, [[found(1, 1, p=0.5)], [], [], []])
    assert after == [[], [], [], []]


def test_who_is_seen_again_becomes_a_person_and_keeps_the_id(people):
    after = run(people, [[found(1 + 0.2 * i, 1, vx=1.0)] for i in range(15)])
    assert [t.id for t in after[-1]] == [1]
    track = after[-1][0]
    np.testing.assert_allclose(track.x, [3.8, 1, 1, 0], atol=0.1)


def test_who_is_lost_in_view_vanishes_and_who_is_out_of_view_stays(people):
    seen = [[found(1, 1)]] * 10
    assert not run(people, seen + [[]] * 100)[-1]
    hidden = People(lambda x, y: False, room_of)
    assert [t.id for t in run(hidden, seen + [[]] * 100)[-1]] == [1]
    assert run(hidden, [[]] * 1)[-1][0].P[0, 0] > 0.3


def test_two_people_who_pass_each_other_are_not_swapped(people):
    ticks = [[found(1 + 0.2 * i, 1.0, vx=1.0), found(4 - 0.2 * i, 1.9, vx=-1.0)] for i in range(15)]
    start = {t.id: float(t.x[0]) for t in run(people, ticks[:5])[-1]}
    for i, tick in enumerate(ticks[5:], 5):
        after = people.update(tick, i * S // 5, 0.2)
    ends = {t.id: float(t.x[0]) for t in after}
    assert len(ends) == 2
    assert {key: x > 2.5 for key, x in ends.items()} == {key: x < 2.5 for key, x in start.items()}


def test_a_second_detection_of_one_person_makes_no_second_track(people):
    after = run(people, [[found(1, 1), found(1.2, 1.1, p=0.8)]] * 20)
    assert len(after[-1]) == 1


def test_leaving_a_room_is_told(people):
    left = []
    for i in range(20):
        people.update([found(3 + 0.1 * i, 1, vx=0.5)], i * S // 5, 0.2)
        left += people.left
    assert left == ["left"]


def test_the_order_of_detections_does_not_matter(people):
    other = People(lambda x, y: True, room_of)
    ticks = [[found(1, 1), found(3, 2, p=0.8), found(5, 1, p=0.7)]] * 10
    a = run(people, ticks)[-1]
    b = run(other, [[one, *rest] for one, *rest in ticks])[-1]
    assert [t.x.tolist() for t in a] == [t.x.tolist() for t in b]


def test_the_filter_is_the_textbooks():
    """The mean of two measurements of equal weight, and half their variance (H = I)."""
    people = People(lambda x, y: True, room_of)
    people.update([found(1, 1, sigma=0.2)], 0, 0.0)
    track = people.tracks[0]
    correct(track, np.array([2.0, 1.0, 0.0, 0.0]), track.P.copy())
    assert math.isclose(track.x[0], 1.5)
    assert math.isclose(track.P[0, 0], 0.02)
    before = track.P.copy()
    predict(track, 1.0, coasting=False)
    assert track.P[0, 0] > before[0, 0] + before[2, 2]
