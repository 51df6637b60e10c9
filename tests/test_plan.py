from pathlib import Path

import numpy as np
import pytest

from fusion_rt.errors import ConfigError, RigError
from fusion_rt.plan import Plan, inside

FLAT = Path(__file__).parents[1] / "configs" / "home" / "flat.yaml"
ROOM = "rooms: {a: {name: A, polygon: [[0, 0], [2, 0], [2, 2], [0, 2]]}}\n"


def test_the_flat_is_read():
    plan = Plan.load(FLAT)
    assert plan.room_at(1, 1) == "kitchen"
    assert plan.room_at(8, 7) == "bedroom"
    assert plan.room_at(-1, 1) == ""
    assert plan.bounds() == (0.0, 0.0, 9.5, 8.5)
    assert plan.devices["front_lock"].safety
    assert not plan.devices["living_lamp"].safety


def test_its_cameras_look_into_their_rooms():
    plan = Plan.load(FLAT)
    for sensor in plan.sensors.values():
        if sensor.kind in ("camera", "radar", "motion"):
            axis = 2 if sensor.kind == "camera" else 0  # forward
            ahead = sensor.T_home_sensor[:3, 3] + 1.5 * sensor.T_home_sensor[:3, axis]
            assert plan.room_at(*ahead[:2]) == sensor.room
            if sensor.kind == "camera":
                assert sensor.T_home_sensor[2, 1] < -0.5  # its y axis points down


@pytest.mark.parametrize("sense", [1, -1])
def test_a_room_with_a_corner_cut_out(sense):
    corners = np.array([[0, 0], [4, 0], [4, 2], [2, 2], [2, 4], [0, 4]], float)[::sense]
    points = np.array([[1, 3], [3, 1], [3, 3], [1, 1], [5, 1], [-1, 1], [1, 9]], float)
    assert inside(corners, points).tolist() == [True, True, False, True, False, False, False]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("rooms: {}", "at least one"),
        ("rooms: {Küche: {name: K, polygon: [[0, 0], [2, 0], [2, 2]]}}", "small letters"),
        ("rooms: {outside: {name: O, polygon: [[0, 0], [2, 0], [2, 2]]}}", "no room"),
        ("rooms: {a: {name: A, polygon: [[0, 0], [2, 0]]}}", "three corners"),
        ("rooms: {a: {name: A, polygon: [[0, 0], [.nan, 0], [2, 2]]}}", "three corners"),
        ("rooms: {a: {name: A, polygon: [[0, 0], [0.1, 0], [0.1, 0.1]]}}", "in metres"),
        ("rooms: {a: {name: A, polygon: [[0, 0], [4, 4], [4, 0], [0, 3]]}}", "edges cross"),
        (ROOM + "doors: {d: {rooms: [a, b], at: [[0, 0], [0, 1]]}}", "no room 'b'"),
        (ROOM + "doors: {d: {rooms: [a, outside], at: [[0, 0], [0, 1]], contact: c}}", "no sensor 'c'"),
        (ROOM + "sensors: {s: {kind: co2, room: b}}", "no room 'b'"),
        (ROOM + "sensors: {s: {kind: camera, room: a}}", "needs width"),
        (ROOM + "devices: {l: {kind: light, room: b, name: x}}", "no room 'b'"),
    ],
)
def test_what_cannot_be_is_refused(text, why):
    with pytest.raises(RigError, match=why):
        Plan.from_yaml(text)


def test_an_unknown_key_is_refused_with_its_place():
    with pytest.raises(ConfigError, match=r"rooms\.a\.hight_m: unknown key, did you mean 'height_m'"):
        Plan.from_yaml("rooms: {a: {name: A, polygon: [[0, 0], [2, 0], [2, 2]], hight_m: 3}}")
