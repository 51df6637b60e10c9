"""Lidars in a room whose every range is known."""

import msgspec
import numpy as np
import pytest

from fusion_rt.sim import lidar, meshes
from fusion_rt.sim.raycast import Material, Scene, merge
from fusion_rt.transforms import from_translation_rpy, inverse, transform_points

GREY = (128, 128, 128)
# Half the length, width and height of the room, the sensor in its middle.
HALF = np.array([20.0, 12.0, 6.0])
STILL = np.eye(4)


def room(half=HALF, material=Material.WALL):
    return Scene(meshes.box(2 * np.asarray(half), (0, 0, 0), material, GREY))


def turn(scene, pattern, *, reflectivity=1.0, pose=STILL, seed=0, **options):
    """One sweep of a world and a sensor that stand still."""
    shine = np.full(len(scene.mesh.faces), reflectivity, np.float32)
    return lidar.sweep(
        lambda _: scene, lambda _: pose, pattern, shine, np.random.default_rng(seed), **options
    )


def wall_range(xyz, half=HALF):
    """What a beam in each point's direction measures inside the room."""
    d = xyz / np.linalg.norm(xyz, axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        return (half / np.abs(d)).min(1)


def small(name, columns=180):
    return msgspec.structs.replace(lidar.PATTERNS[name], columns=columns)


@pytest.mark.parametrize(
    ("name", "rings", "highest_deg", "lowest_deg"),
    [("HDL-64", 64, 2.0, -24.4), ("VLP-16", 16, 15.0, -15.0), ("OS1-64", 64, 22.5, -22.5)],
)
def test_beams_are_those_of_the_data_sheet(name, rings, highest_deg, lowest_deg):
    pattern = lidar.PATTERNS[name]
    elevation = np.degrees(pattern.elevation_rad)
    assert (pattern.name, len(elevation)) == (name, rings)
    np.testing.assert_allclose(elevation[[0, -1]], [highest_deg, lowest_deg], atol=0.05)
    steps = -np.diff(elevation)
    assert (steps > 0).all()
    expected = {"HDL-64": (1 / 3, 0.54), "VLP-16": (2.0, 2.0), "OS1-64": (45 / 63, 45 / 63)}[name]
    np.testing.assert_allclose([steps.min(), steps.max()], expected, atol=0.01)


@pytest.mark.parametrize("name", lidar.PATTERNS)
def test_ranges_angles_and_times_of_a_turn(name):
    pattern = small(name)
    returns = turn(room(), pattern)
    assert {returns.xyz.dtype, returns.intensity.dtype, returns.t.dtype} == {np.dtype(np.float32)}
    assert (returns.ring.dtype, returns.instance.dtype) == (np.uint16, np.int32)
    distance = np.linalg.norm(returns.xyz, axis=1)
    error = distance - wall_range(returns.xyz)
    assert abs(error.mean()) < 5 * pattern.range_noise_m / np.sqrt(len(error))
    np.testing.assert_allclose(error.std(), pattern.range_noise_m, rtol=0.05)
    elevation = np.arcsin(returns.xyz[:, 2] / distance)
    np.testing.assert_allclose(elevation, pattern.elevation_rad[returns.ring], atol=1e-5)
    # Clockwise from behind: azimuth falls from pi to -pi during the turn.
    azimuth = np.arctan2(returns.xyz[:, 1].astype(float), returns.xyz[:, 0])
    expected = np.pi - 2 * np.pi * returns.t.astype(float) / lidar.SWEEP_S
    np.testing.assert_allclose(azimuth, expected, atol=6 * 0.0003)
    assert 0 < returns.t.min() < lidar.SWEEP_S / pattern.columns
    assert lidar.SWEEP_S * (1 - 1 / pattern.columns) < returns.t.max() < lidar.SWEEP_S
    assert set(np.unique(returns.ring)) == set(range(len(pattern.elevation_rad)))


def test_most_returns_of_a_near_wall_are_found():
    pattern = small("VLP-16")
    found = len(turn(room(), pattern).t) / (pattern.columns * 16)
    np.testing.assert_allclose(found, 0.985, atol=0.01)


@pytest.mark.parametrize("far", [45.0, 75.0, 95.0])
def test_far_and_dark_walls_are_lost(far):
    """Half are found where a strength of 0.1 is 75 m away; the echo falls with the square of the range."""
    pattern = msgspec.structs.replace(lidar.PATTERNS["VLP-16"], elevation_rad=np.zeros(1), columns=200_000)
    scene = room((far, 1000, 1000))
    returns = turn(scene, pattern, reflectivity=0.1, azimuth_rad=(-0.1, 0.1))
    cast = np.count_nonzero(np.abs(np.pi - 2 * np.pi * (np.arange(200_000) + 0.5) / 200_000) <= 0.1)
    expected = 0.985 * (1 - np.exp(-0.7 * (75 / far) ** 2))
    np.testing.assert_allclose(len(returns.t) / cast, expected, atol=4 * np.sqrt(0.25 / cast))


def test_glass_lets_most_rays_through():
    pattern = small("VLP-16")
    wall, glass = (len(turn(room(material=m), pattern).t) for m in (Material.WALL, Material.GLASS))
    np.testing.assert_allclose(glass / wall, 0.35, atol=0.04)


def test_nothing_beyond_the_range_or_at_the_sensor_itself():
    pattern = small("VLP-16")
    assert len(turn(room((99, 99, 99)), pattern).t) > 0
    assert len(turn(room((101, 101, 101)), pattern).t) == 0
    assert len(turn(room((0.8, 0.8, 0.8)), pattern).t) < 0.5 * len(turn(room((1, 1, 1)), pattern).t)
    near = np.linalg.norm(turn(room((0.8, 0.8, 0.8)), pattern).xyz, axis=1)
    assert near.min() > 0.9 - 6 * pattern.range_noise_m


def test_intensity_follows_the_surface():
    pattern = small("VLP-16")
    means = [turn(room(), pattern, reflectivity=r).intensity.mean() for r in (0.05, 0.2, 0.5)]
    np.testing.assert_allclose(np.divide(means, means[0]), [1, 4, 10], rtol=0.05)
    bright = turn(room(), pattern, reflectivity=1.0).intensity
    assert bright.min() >= 0
    assert bright.max() == 1.0  # clipped there


def test_reflectivity_is_drawn_once_an_object():
    cars = [meshes.box((4, 2, 1), (8 * i, 0, 0), Material.PAINT, GREY).of(i) for i in range(40)]
    mesh = merge([meshes.box((9, 9, 9), (0, 0, 50), Material.WALL, GREY), *cars])
    shine = lidar.face_reflectivity(mesh, np.random.default_rng(1))
    assert shine.dtype == np.float32
    assert ((shine > 0) & (shine < 1.5)).all()
    each = [np.unique(shine[mesh.instance == i]) for i in range(40)]
    assert all(len(values) == 1 for values in each)
    assert len(np.unique(np.concatenate(each))) > 20


def test_only_the_sector_that_is_asked_for():
    returns = turn(room(), small("VLP-16", 720), azimuth_rad=(-0.5, 0.2))
    azimuth = np.arctan2(returns.xyz[:, 1], returns.xyz[:, 0])
    assert -0.503 < azimuth.min() < -0.48
    assert 0.18 < azimuth.max() < 0.203


def test_same_seed_same_bits():
    first, again, other = (turn(room(), small("VLP-16"), seed=s) for s in (4, 4, 5))
    for field in first.__struct_fields__:
        assert getattr(first, field).tobytes() == getattr(again, field).tobytes()
    assert first.xyz.tobytes() != other.xyz.tobytes()


def test_the_sensor_moves_during_the_sweep():
    """At 15 m/s in a bend a sweep is skewed; the pose at each point's time puts it right."""
    pattern, scene = small("VLP-16", 360), room()

    def pose_at(t_s):
        return from_translation_rpy((15 * t_s, 0, 0), (0, 0, 2 * t_s))

    shine = np.ones(len(scene.mesh.faces), np.float32)
    asked = []
    returns = lidar.sweep(
        lambda t_s: asked.append(t_s) or scene, pose_at, pattern, shine, np.random.default_rng(0), sectors=8
    )
    np.testing.assert_allclose(asked, (np.arange(8) + 0.5) / 8 * lidar.SWEEP_S)

    def off_the_walls(points):
        return np.abs(np.abs(points) - HALF).min(1)

    raw = transform_points(pose_at(lidar.SWEEP_S / 2), returns.xyz)
    assert np.percentile(off_the_walls(raw), 90) > 0.3
    right = lidar.deskewed(returns, pose_at, np.eye(4))
    assert np.percentile(off_the_walls(right), 99) < 0.1
    local = lidar.deskewed(returns, pose_at, inverse(pose_at(0.05)))
    np.testing.assert_allclose(transform_points(pose_at(0.05), local), right, atol=1e-4)


def test_the_world_moves_between_sectors():
    """A wall that comes nearer at 20 m/s is met where it is at each moment."""
    pattern = msgspec.structs.replace(lidar.PATTERNS["VLP-16"], elevation_rad=np.zeros(1), columns=400)
    shine = np.ones(12, np.float32)
    returns = lidar.sweep(
        lambda t_s: room((30 - 20 * t_s, 1e3, 1e3)),
        lambda _: STILL,
        pattern,
        shine,
        np.random.default_rng(0),
        sectors=50,
        azimuth_rad=(-1.0, 1.0),
    )
    np.testing.assert_allclose(returns.xyz[:, 0], 30 - 20 * returns.t, atol=0.02 + 5 * 0.02)
    assert np.ptp(returns.t) > 0.03


def test_returns_know_what_they_hit():
    target = meshes.box((1, 1, 1), (8, 3, 0.7), Material.PAINT, GREY).of(5)
    scene = Scene(merge([meshes.box(2 * HALF, (0, 0, 0), Material.WALL, GREY), target]))
    returns = turn(scene, small("VLP-16", 720))
    mine = returns.instance == 5
    assert mine.sum() > 20
    inside = (np.abs(returns.xyz - np.array([8, 3, 0.7])) < 0.5 + 0.1).all(1)
    np.testing.assert_array_equal(mine, inside)


def before_a_wall(x, width, wall_x, beam_rad):
    """Ranges to an upright plate of that width at x and to a wall behind it, along the middle ring."""
    pattern = msgspec.structs.replace(
        lidar.PATTERNS["VLP-16"],
        elevation_rad=np.zeros(1),
        columns=4_000_000,
        range_noise_m=0.0,
        beam_rad=beam_rad,
    )
    plate = meshes.box((0.001, width, 4), (x, 0, 0), Material.POLE, GREY)
    wall = meshes.box((0.1, 50, 50), (wall_x + 0.05, 0, 0), Material.WALL, GREY)
    returns = turn(Scene(merge([plate, wall])), pattern, azimuth_rad=(-0.004, 0.004))
    return returns.xyz[:, 0]


def test_beams_spread_so_thin_things_look_wider():
    """Whichever half of a beam meets the nearer thing is heard: at each edge 4 / (3 pi) of the beam's radius,
    the mean distance of a point in a disc from its diameter."""
    seen = [np.count_nonzero(before_a_wall(20.0, 0.06, 60.0, beam) < 21) for beam in (0.0, 0.001)]
    wider = 1 + 2 * 20 * 0.001 * 4 / (3 * np.pi) / 0.06
    np.testing.assert_allclose(seen[1] / seen[0], wider, rtol=0.03)


def test_echoes_within_a_pulse_are_one():
    one, two = (before_a_wall(20.0, 0.06, 20.0 + gap, 0.001) for gap in (0.3, 2.0))
    between = (one > 20.05) & (one < 20.25)
    assert between.sum() > 20
    np.testing.assert_allclose(one[between], 20.15, atol=0.02)
    assert np.all((np.abs(two - 20) < 0.01) | (np.abs(two - 22) < 0.01))
