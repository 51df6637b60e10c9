import pytest

from fusion_rt.home.occupancy import Occupancy
from fusion_rt.plan import Room

S = 1_000_000_000


@pytest.fixture
def state():
    room = Room(name="R", polygon=((0, 0), (3, 0), (3, 3)), hold_s=10, absent_s=120)
    return Occupancy(room, on=0.7, off=0.3)


def feed(state, spells):
    """spells: (p, seconds), every second; the second at which `occupied` changed -> what it became."""
    changes, now = {}, 0
    for p, seconds in spells:
        for _ in range(seconds):
            before = state.occupied
            if state.update(p, now * S) != before:
                changes[now] = state.occupied
            now += 1
    return changes


def test_on_at_once_and_between_the_thresholds_nothing_changes(state):
    assert feed(state, [(0.6, 20), (0.7, 1), (0.4, 500)]) == {20: True}


def test_off_after_the_hold_where_there_was_a_way_out(state):
    assert feed(state, [(0.9, 10)]) == {0: True}
    state.leave(9 * S)
    changes = {}
    for now in range(10, 40):
        before = state.occupied
        if state.update(0.1, now * S) != before:
            changes[now] = state.occupied
    assert changes == {20: False}


def test_the_door_that_lets_in_is_no_way_out_but_a_track_that_leaves_is(state):
    state.leave(0)
    assert feed(state, [(0.9, 2)]) == {0: True}
    state.leave(2 * S)
    assert not state._way_out()
    state.leave(3 * S, surely=True)
    assert state._way_out()


def test_without_a_way_out_only_after_absent_s(state):
    assert feed(state, [(0.9, 6), (0.1, 200)]) == {0: True, 126: False}


def test_where_a_radar_looks_absence_is_sooner_sure(state):
    told = [state.update(0.9 if now < 8 else 0.1, now * S, watched=True) for now in range(40)]
    assert told == [True] * 28 + [False] * 12


def test_a_flash_needs_no_way_out(state):
    assert feed(state, [(0.9, 5), (0.1, 200)]) == {0: True, 15: False}


def test_a_flicker_starts_the_wait_anew(state):
    assert feed(state, [(0.9, 6), (0.1, 100), (0.5, 1), (0.1, 119)]) == {0: True}


def test_a_way_out_long_before_somebody_was_seen_does_not_count(state):
    assert feed(state, [(0.9, 10)]) == {0: True}
    state.leave(9 * S)
    for now in range(10, 60):
        state.update(0.9, now * S)
    assert not state._way_out()
