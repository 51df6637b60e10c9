"""Simulated objects are followed: one number each, true speed, and nothing that is not there."""

import numpy as np
import pytest
from msgspec.structs import replace

from fusion_rt.tracking.config import ClassMotion
from fusion_rt.tracking.tracks import SPEED, TURN, YAW
from fusion_rt.transforms import from_translation_rpy, inverse, transform_points, wrap_angle

DT = 0.1
HERE = np.eye(4)


def run(tracker, steps, at, *, first=0, T_map_ego=lambda k: HERE):
    """`at(k)` gives the detections of step k; returns the tracks shown after each, one by one."""
    return [
        list(tracker.update(at(k), stamp_ns=round(k * DT * 1e9), T_map_ego=T_map_ego(k)).view(np.recarray))
        for k in range(first, first + steps)
    ]


def turning(t, *, speed=8.0, turn=0.4, start=(10.0, -5.0, 0.3)):
    """x, y, yaw on a circle, exactly."""
    x, y, yaw = start
    if turn == 0.0:
        return x + speed * t * np.cos(yaw), y + speed * t * np.sin(yaw), yaw
    r = speed / turn
    return (
        x + r * (np.sin(yaw + turn * t) - np.sin(yaw)),
        y - r * (np.cos(yaw + turn * t) - np.cos(yaw)),
        wrap_angle(yaw + turn * t),
    )


@pytest.mark.parametrize("turn", [0.0, 0.4, -0.3])
@pytest.mark.parametrize("velocity_known", [False, True])
def test_an_object_is_followed(tracker, detections, turn, velocity_known):
    rng = np.random.default_rng(1)

    def at(k):
        x, y, yaw = turning(k * DT, turn=turn)
        velocity = [[8 * np.cos(yaw), 8 * np.sin(yaw)]] + rng.normal(0, 0.5, (1, 2))
        noisy = (x, y, yaw) + rng.normal(0, (0.15, 0.15, 0.05))
        return detections([noisy], velocity=velocity if velocity_known else None)

    shown = run(tracker, 40, at)
    assert {t.track_id for tracks in shown for t in tracks} == {1}
    assert all(len(tracks) == 1 for tracks in shown[2:])
    late = [(k, shown[k][0]) for k in range(20, 40)]
    assert np.mean([t.state[SPEED] for _, t in late]) == pytest.approx(8.0, abs=0.4)
    assert np.mean([t.state[TURN] for _, t in late]) == pytest.approx(turn, abs=0.1)
    errors = [np.hypot(*(t.state[:2] - turning(k * DT, turn=turn)[:2])) for k, t in late]
    assert np.mean(errors) < 0.19  # raw boxes: 0.15 * sqrt(pi / 2)
    # The filter knows how wrong it is: 2 degrees of freedom, mean 2.
    nees = [
        d @ np.linalg.solve(t.covariance[:2, :2], d)
        for k, t in late
        for d in [t.state[:2] - turning(k * DT, turn=turn)[:2]]
    ]
    assert 0.3 < np.mean(nees) < 3.5


def test_boxes_with_and_without_a_velocity_side_by_side(make_tracker, detections):
    """Each is followed as if all were like it."""

    def at(k, known):
        rows = [(10 + 0.8 * k, 0.0, 0.0), (10 + 0.8 * k, 30.0, 0.0)]
        boxes = detections(rows, velocity=[(8.0, 0.0), (-99.0, 0.0)])
        return replace(boxes, velocity_known=np.array(known))

    mixed = run(make_tracker(), 5, lambda k: at(k, [True, False]))[-1]
    told, untold = (run(make_tracker(), 5, lambda k, v=v: at(k, [v, v]))[-1] for v in (True, False))
    np.testing.assert_array_equal(mixed[0].state, told[0].state)
    np.testing.assert_array_equal(mixed[1].state, untold[1].state)
    assert mixed[1].state[SPEED] > 0


def test_confirmation_needs_hits(make_tracker, detections):
    shown = run(make_tracker(confirm_hits=3), 4, lambda k: detections([(10, 0, 0)]))
    assert [len(tracks) for tracks in shown] == [0, 0, 1, 1]
    assert shown[2][0].hits == 3


def test_weak_boxes_begin_nothing_but_continue(make_tracker, detections):
    assert not any(run(make_tracker(), 10, lambda k: detections([(10, 0, 0)], score=0.29)))
    shown = run(make_tracker(), 6, lambda k: detections([(10, 0, 0)], score=0.8 if k < 3 else 0.2))
    assert shown[-1][0].hits == 6


def test_the_model_s_threshold_unless_ours_is_given(make_tracker, detections):
    def at(k):
        return detections([(10, 0, 0)], score=0.4)

    assert any(run(make_tracker(), 10, at))
    assert not any(run(make_tracker(birth_score=0.5), 10, at))


def test_a_missed_object_coasts_then_dies(tracker, detections):
    def at(k):
        return detections([turning(k * DT, turn=0.0)] if k < 20 else [])

    shown = run(tracker, 40, at)
    coasting = [tracks[0] for tracks in shown[20:] if tracks]
    assert 2 <= len(coasting) <= 10
    for k, track in enumerate(coasting, 20):
        assert np.hypot(*(track.state[:2] - turning(k * DT, turn=0.0)[:2])) < 1.0
        assert track.seen_ns == 1_900_000_000
    assert np.all(np.diff([t.existence for t in coasting]) < 0)
    assert np.all(np.diff([t.covariance[0, 0] for t in coasting]) > 0)
    assert shown[-1] == []
    again = run(tracker, 3, lambda k: detections([turning(k * DT, turn=0.0)]), first=40)
    assert again[-1][0].track_id == 2


def test_a_gap_is_bridged_with_the_same_number(tracker, detections):
    shown = run(tracker, 30, lambda k: detections([] if k in (12, 13, 20) else [turning(k * DT)]))
    assert {t.track_id for tracks in shown for t in tracks} == {1}
    assert len(shown[13]) == 1


def test_without_a_look_tracks_coast_longer_than_unseen(make_tracker, detections):
    """No answer from the network says nothing about the objects; an empty one does."""
    blind, empty = make_tracker(), make_tracker()
    for tracker in (blind, empty):
        run(tracker, 10, lambda k: detections([(10, 0, 0)]))
    not_looked = run(blind, 5, lambda k: None, first=10)[-1]
    not_seen = run(empty, 5, lambda k: detections([]), first=10)[-1]
    assert len(not_looked) == 1
    assert not not_seen or not_seen[0].existence < not_looked[0].existence
    assert run(blind, 10, lambda k: None, first=15)[-1] == []


def test_after_a_long_silence_nothing_is_resumed(tracker, detections):
    run(tracker, 5, lambda k: detections([(10, 0, 0)]))
    shown = run(tracker, 3, lambda k: detections([(10, 0, 0)]), first=50)
    assert [t.track_id for t in shown[-1]] == [2]
    assert shown[-1][0].born_ns == 5_000_000_000


def test_crossing_objects_keep_their_numbers(tracker, detections):
    """Two cars pass within 2.5 m of each other, at right angles."""
    rng = np.random.default_rng(2)

    def where(k):
        s = 8 * (k * DT - 2.0)
        return np.array([(30 + s, 0.0, 0.0), (31.5, s + 2.5, np.pi / 2)])

    shown = run(tracker, 40, lambda k: detections(where(k) + rng.normal(0, (0.1, 0.1, 0.03), (2, 3))))
    first = {t.track_id: np.argmin(np.hypot(*(where(3)[:, :2] - t.state[:2]).T)) for t in shown[3]}
    last = {t.track_id: np.argmin(np.hypot(*(where(39)[:, :2] - t.state[:2]).T)) for t in shown[39]}
    assert sorted(first) == [1, 2]
    assert first == last


def test_opposing_lanes_keep_their_numbers(tracker, detections):
    def where(k):
        s = 10 * (k * DT - 2.0)
        return np.array([(30 + s, -1.6, 0.0), (30 - s, 1.6, np.pi)])

    shown = run(tracker, 40, lambda k: detections(where(k)))
    for tracks in shown[2:]:
        assert {(t.track_id, bool(t.state[1] > 0)) for t in tracks} in (
            {(1, False), (2, True)},
            {(1, True), (2, False)},
        )
    assert {t.track_id: bool(t.state[1] > 0) for t in shown[3]} == {
        t.track_id: bool(t.state[1] > 0) for t in shown[39]
    }


def test_false_alarms_are_not_shown(tracker, detections):
    """Three a frame, anywhere in 70 x 70 m, at the score of a doubtful object."""
    rng = np.random.default_rng(3)
    shown = run(
        tracker,
        100,
        lambda k: detections(rng.uniform((0, -35, -3), (70, 35, 3), (3, 3)), score=0.4, label=1),
    )
    assert sum(len(tracks) for tracks in shown) <= 6  # of 300
    assert all(t.hits <= 3 for tracks in shown for t in tracks)


def test_a_true_object_among_false_alarms(tracker, detections):
    rng = np.random.default_rng(4)

    def at(k):
        clutter = rng.uniform((0, -35, -3), (70, 35, 3), (3, 3))
        true = turning(k * DT) + rng.normal(0, (0.1, 0.1, 0.03))
        return detections([true, *clutter], score=[0.7, 0.35, 0.35, 0.35])

    shown = run(tracker, 40, at)
    ids = [tracks[0].track_id for tracks in shown[4:]]  # likeliest first
    assert len(set(ids)) == 1


def test_what_boxes_have_in_common_is_not_averaged_away(make_tracker, detections):
    tracks = [
        run(make_tracker(common_error=share), 50, lambda k: detections([(12.0, 3.0, 0.4)]))[-1][0]
        for share in (0.01, 0.5)
    ]
    np.testing.assert_array_equal(tracks[0].state, tracks[1].state)
    more = np.diag(tracks[1].covariance - tracks[0].covariance)
    np.testing.assert_allclose(more[:3], 0.49 * tracks[0].noise[:3], rtol=1e-6)
    np.testing.assert_allclose(more[3:], 0, atol=1e-12)
    assert more[0] > tracks[0].covariance[0, 0]
    assert tracks[1].z_variance > tracks[0].z_variance


def test_a_class_that_flips_is_outvoted(tracker, detections):
    shown = run(tracker, 20, lambda k: detections([(10, 0, 0)], label=0 if k % 4 else 2))
    assert {t.track_id for tracks in shown for t in tracks} == {1}
    assert all(tracks[0].log_classes.argmax() == 0 for tracks in shown[6:])


def test_a_class_that_was_wrong_is_corrected(tracker, detections):
    shown = run(tracker, 20, lambda k: detections([(10, 0, 0)], label=1 if k < 2 else 2))
    assert [t.track_id for t in shown[-1]] == [1]
    assert shown[-1][0].log_classes.argmax() == 2


@pytest.mark.parametrize("flipped", [(5, 6, 7), range(0, 40, 3)])
def test_front_and_back_confused(tracker, detections, flipped):
    def at(k):
        x, y, yaw = turning(k * DT)
        return detections([(x, y, yaw + np.pi if k in flipped else yaw)])

    shown = run(tracker, 40, at)
    assert {t.track_id for tracks in shown for t in tracks} == {1}
    track = shown[-1][0]
    assert np.cos(track.state[YAW] - turning(3.9)[2]) > 0.98
    assert track.state[SPEED] == pytest.approx(8.0, abs=0.5)


def test_born_backwards_it_turns_round(tracker, detections):
    """Every box says that it faces us while it drives away: its motion decides."""

    def at(k):
        x, y, yaw = turning(k * DT, turn=0.0)
        return detections([(x, y, yaw + np.pi)])

    track = run(tracker, 20, at)[-1][0]
    assert track.state[SPEED] == pytest.approx(8.0, abs=0.5)
    assert np.cos(track.state[YAW] - 0.3) > 0.98


@pytest.mark.parametrize("wrong", [(0,), (0, 1, 2), range(0, 40, 3), (20, 21, 22)])
def test_which_way_a_parked_car_faces_is_voted_on(tracker, detections, wrong):
    def at(k):
        return detections([(12.0, 3.0, 0.4 + np.pi if k in wrong else 0.4)])

    track = run(tracker, 40, at)[-1][0]
    assert np.cos(track.state[YAW] - 0.4) > 0.98
    assert track.state[SPEED] == pytest.approx(0, abs=0.2)


@pytest.mark.parametrize("field", ["boxes", "velocity", "scores", "std", "contributions"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_refused_and_counted(tracker, detections, field, value):
    def at(k):
        found = detections([(10, 0, 0), (20, 5, 0)], velocity=np.zeros((2, 2)))
        getattr(found, field)[1, 0] = value
        return found

    shown = run(tracker, 4, at)
    assert [len(tracks) for tracks in shown] == [0, 1, 1, 1]
    assert tracker.refused == {"not_finite": 4}
    assert np.isfinite(shown[-1][0].state).all()


def test_a_box_without_size_is_refused(tracker, detections):
    found = detections([(10, 0, 0)])
    found.boxes[0, 3] = 0
    tracker.update(found, stamp_ns=0, T_map_ego=HERE)
    assert tracker.refused["not_finite"] == 1


def test_nothing_at_all(tracker, detections):
    assert run(tracker, 3, lambda k: detections([])) == [[], [], []]
    assert len(tracker.update(None, stamp_ns=10**9, T_map_ego=HERE)) == 0


def test_our_own_motion_is_out_of_the_picture(tracker, detections):
    """We drive a curve at 10 m/s past parked cars and one that goes north: on the map they stand, it goes."""
    rng = np.random.default_rng(6)
    yaws = np.array([0.0, 0.0, 0.0, np.pi / 2])
    speeds = np.array([0.0, 0.0, 0.0, 6.0])

    def pose(k):
        x, y, yaw = turning(k * DT, speed=10.0, turn=0.3, start=(0.0, 0.0, 0.0))
        return from_translation_rpy((x, y, 0), (0, 0, yaw))

    def where(k):
        return np.array([[25.0, 4.0, 0.75], [40, -3, 0.75], [55, 12, 0.75], [30, -20 + 6 * k * DT, 0.75]])

    def at(k):
        T_ego_map = inverse(pose(k))
        turned = yaws + np.arctan2(T_ego_map[1, 0], T_ego_map[0, 0])
        velocity = speeds[:, None] * np.column_stack([np.cos(turned), np.sin(turned)])
        rows = np.column_stack([transform_points(T_ego_map, where(k))[:, :2], turned])
        return detections(
            rows + rng.normal(0, (0.1, 0.1, 0.03), (4, 3)), velocity=velocity + rng.normal(0, 0.5, (4, 2))
        )

    shown = run(tracker, 40, at, T_map_ego=pose)
    assert {t.track_id for tracks in shown for t in tracks} == {1, 2, 3, 4}
    for track in shown[-1]:
        i = np.hypot(*(where(39)[:, :2] - track.state[:2]).T).argmin()
        np.testing.assert_allclose(track.state[:2], where(39)[i, :2], atol=0.25)
        assert np.cos(track.state[YAW] - yaws[i]) > 0.99
        assert track.state[SPEED] == pytest.approx(speeds[i], abs=0.5)


def test_the_same_again_in_any_order_of_the_boxes(make_tracker, detections):
    rng = np.random.default_rng(7)
    frames = [rng.uniform((5, -20, -3), (60, 20, 3), (12, 3)) for _ in range(3)]
    order = rng.permutation(12)

    def states(change):
        shown = run(make_tracker(), 12, lambda k: detections(change(frames[k // 4])))
        return [(t.track_id, t.state.tobytes(), t.covariance.tobytes(), t.existence) for t in shown[-1]]

    assert states(lambda f: f) == states(lambda f: f)
    assert [s[0] for s in states(lambda f: f)] == [s[0] for s in states(lambda f: f[order])]
    assert sorted(states(lambda f: f)) == sorted(states(lambda f: f[order]))


def test_what_was_given_out_does_not_change(tracker, detections):
    shown = run(tracker, 3, lambda k: detections([(10 + k, 0, 0)]))
    before = shown[-1][0].state.copy(), shown[-1][0].covariance.copy(), shown[-1][0].hits
    run(tracker, 5, lambda k: detections([(10 + k, 0, np.pi)]), first=3)
    np.testing.assert_array_equal(shown[-1][0].state, before[0])
    np.testing.assert_array_equal(shown[-1][0].covariance, before[1])
    assert shown[-1][0].hits == before[2]


def test_reset_forgets_objects_but_gives_no_number_twice(tracker, detections):
    run(tracker, 3, lambda k: detections([(10, 0, 0)]))
    tracker.reset()
    shown = run(tracker, 3, lambda k: detections([(10, 0, 0)]))
    assert [t.track_id for t in shown[-1]] == [2]
    assert shown[-1][0].born_ns == 0


def test_classes_without_settings_move_as_the_defaults_say(make_tracker, detections):
    plain = make_tracker(classes={})
    named = make_tracker(classes={c: ClassMotion() for c in ("car", "pedestrian", "cyclist")})
    states = [run(t, 5, lambda k: detections([turning(k * DT)]))[-1][0].state for t in (plain, named)]
    np.testing.assert_array_equal(*states)


def test_a_track_that_its_object_has_outrun_is_no_ghost(make_tracker, detections):
    """A jump out of the gate but not out of the car's own length begins a new track, and ends the old one."""
    tracker = make_tracker(gate=0.5)
    run(tracker, 10, lambda k: detections([(20.0, 0.0, 0.0)]))
    shown = run(tracker, 3, lambda k: detections([(21.9, 0.0, 0.0)]), first=10)
    assert len(shown[1]) == len(shown[2]) == 1
    assert shown[2][0].state[0] > 21.5


def test_a_part_of_a_car_that_looks_like_a_person_is_no_person(tracker, detections):
    def seen(scores):
        both = detections([(20.0, 0.0, 0.3), (21.0, 0.3, 0.0)], label=[0, 1])
        both.scores[[0, 1], [0, 1]] = scores
        return both

    shown = run(tracker, 5, lambda k: seen([0.9, 0.7]))[-1]
    assert [t.log_classes.argmax() for t in shown] == [0]
    tracker.reset()
    shown = run(tracker, 5, lambda k: seen([0.6, 0.9]))[-1]  # the person is the surer one
    assert sorted(t.log_classes.argmax() for t in shown) == [0, 1]
