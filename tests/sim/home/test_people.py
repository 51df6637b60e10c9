"""People walk as people do: through doors, around furniture, at human speeds."""

import cv2
import numpy as np
import pytest

from fusion_rt.plan import inside
from fusion_rt.scene import ACTIVITIES, POSTURES
from fusion_rt.sim.home.motion import along
from fusion_rt.sim.home.walls import crossings, walls


def test_nobody_walks_through_a_wall(busy, flat):
    lines = walls(flat)
    for xy in busy.world.people.xy:
        known = np.flatnonzero(np.isfinite(xy[:-1, 0]) & np.isfinite(xy[1:, 0]))
        moved = known[np.hypot(*(xy[known + 1] - xy[known]).T) > 0.01]
        assert len(moved) > 200
        for tick in moved:
            assert not crossings(xy[tick].astype(float), xy[tick + 1 : tick + 2].astype(float), lines).any()


def test_speeds_are_human(busy):
    people = busy.world.people
    speeds = np.hypot(*np.moveaxis(np.diff(people.xy, axis=1), 2, 0)) * 10
    assert np.nanmax(speeds) < 2.0
    walking = (people.activity == ACTIVITIES.index("walking"))[:, 1:] & np.isfinite(speeds)
    assert 0.5 < np.median(speeds[walking & (speeds > 0.2)]) < 1.4


def test_who_walks_is_not_in_the_furniture(busy):
    people, routes = busy.world.people, busy.world.house.routes
    free = cv2.dilate(routes.free.astype(np.uint8), np.ones((3, 3), np.uint8))
    hits = 0
    for p, legs in enumerate(busy.world.house.legs):
        for leg in legs:
            if leg.doing != "walk":
                continue
            # Its first and last steps lead to and from a seat.
            a, b = int(leg.start_s * 10) + 20, int(leg.end_s * 10) - 20
            xy = people.xy[p, a:b]
            xy = xy[np.isfinite(xy[:, 0])]
            column, row = np.floor((xy - routes.origin) / 0.1).astype(int).T
            hits += int(free[row, column].sum())
            assert free[row, column].mean() > 0.98 if len(xy) else True
    assert hits > 200


def test_a_room_is_left_where_a_door_is(busy, flat):
    doors = np.array([door.at for door in flat.doors.values()]).mean(axis=1)
    people = busy.world.people
    changes = 0
    for p in range(len(people.names)):
        for tick in np.flatnonzero(np.diff(people.room[p]) != 0):
            at = people.xy[p, tick : tick + 2]
            at = at[np.isfinite(at[:, 0])]
            if len(at) and people.room[p, tick] >= 0 and people.room[p, tick + 1] >= 0:
                changes += 1
                assert np.hypot(*(doors - at[0]).T).min() < 0.9
    assert changes > 8


def test_furniture_stands_apart_and_in_its_room(busy, flat):
    pieces = busy.world.house.pieces
    assert len(pieces) > 12
    for i, piece in enumerate(pieces):
        centre = piece.corners.mean(axis=0) + 0.98 * (piece.corners - piece.corners.mean(axis=0))
        assert inside(flat.rooms[piece.room].corners, centre).all()
        for other in pieces[i + 1 :]:
            if {piece.kind, other.kind} & {"chair"}:
                continue  # under its table
            common, _ = cv2.intersectConvexConvex(
                piece.corners.astype(np.float32), other.corners.astype(np.float32)
            )
            assert common < 0.01


def test_two_do_not_share_a_seat(busy):
    people, places = busy.world.people, busy.world.house.places
    together = (people.place[0] == people.place[1]) & (people.place[0] >= 0)
    shared = {places[i].kind for i in np.unique(people.place[0][together])}
    assert shared <= {"spot", "floor", "away"}


def test_a_fall_lies_on_the_floor(busy):
    people = busy.world.people
    falls = [event for event in busy.events if event.kind == "fall"]
    assert falls
    for fall in falls:
        p = people.names.index(fall.person_id)
        tick = round((fall.onset_ns - busy.config.start_ns) * 1e-8)
        lying = slice(tick + 1, tick + 8)
        assert (people.posture[p, lying] == POSTURES.index("lying")).all()
        assert people.fallen[p, lying].all()
        assert (people.support[p, lying] == 0).all()
        assert (people.posture[p, tick - 5 : tick - 1] == POSTURES.index("standing")).all()


@pytest.mark.parametrize("duration_s", [2.0, 4.0, 30.0])
def test_a_way_is_walked_from_end_to_end(duration_s):
    path = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 0.5]])
    t = np.linspace(0, duration_s, 200)
    at, heading = along(path, t, duration_s)
    np.testing.assert_allclose(at[[0, -1]], path[[0, -1]], atol=1e-6)
    steps = np.hypot(*np.diff(at, axis=0).T)
    assert steps.sum() == pytest.approx(1.5, abs=0.02)  # corners are cut between two times
    speed = steps / (t[1] - t[0])
    assert speed[0] < speed.max() > speed[-1]
    assert heading[10] == 0
    assert heading[-10] == pytest.approx(np.pi / 2)
