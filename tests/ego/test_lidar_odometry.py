"""KISS-ICP on sweeps through a street whose truth is known, and on sweeps that are none."""

import sys
import tarfile

import numpy as np
import pytest

from fusion_rt.ego.config import OdometryConfig
from fusion_rt.ego.lidar_odometry import LidarOdometry
from fusion_rt.errors import ConfigError
from fusion_rt.rig import Lidar, Pose, Rig
from fusion_rt.transforms import from_rotation_translation, inverse, rotation_vector, transform_points

START_NS = 1_700_000_000_000_000_000
RIG = Rig(lidars={"lidar": Lidar(pose=Pose(translation=(0.0, 0.0, 1.73)))})
EMPTY = np.empty((0, 3), np.float32)


@pytest.fixture(scope="module")
def street():
    """(N, 3) points of houses and poles along the known drive, and its ground, in map axes."""
    rng = np.random.default_rng(3)
    parts = [np.column_stack([rng.uniform(-60, 200, 40_000), rng.uniform(-60, 90, 40_000), np.zeros(40_000)])]
    for _ in range(250):  # a pole
        x, y, height = rng.uniform(-60, 200), rng.uniform(-60, 90), rng.uniform(1, 5)
        parts.append(np.column_stack([*rng.normal((x, y), 0.05, (150, 2)).T, rng.uniform(0, height, 150)]))
    for _ in range(60):  # a wall
        x, y, yaw, long = (
            rng.uniform(-60, 200),
            rng.uniform(-60, 90),
            rng.uniform(0, np.pi),
            rng.uniform(4, 9),
        )
        along = rng.uniform(0, long, 900)
        parts.append(
            np.column_stack([x + along * np.cos(yaw), y + along * np.sin(yaw), rng.uniform(0, 5, 900)])
        )
    return np.concatenate(parts)


@pytest.fixture(scope="module")
def sweep(street, drive):
    """What is seen at a time t: (N, 3) float32 in the ego frame, with noise."""

    def seen(t):
        rng = np.random.default_rng(round(1e3 * t))
        points = transform_points(inverse(pose(drive, t)), street)
        points = points[np.linalg.norm(points, axis=1) < 60]
        points = points[rng.random(len(points)) < 0.5]
        return (points + rng.normal(0, 0.02, points.shape)).astype(np.float32)

    return seen


def pose(drive, t):
    """T_map_ego."""
    p, _, R = drive.truth(t)
    return from_rotation_translation(R[0].as_matrix(), p[0])


def stamp(t):
    return START_NS + round(t * 1e9)


def seconds(stamp_ns):
    return (stamp_ns - START_NS) / 1e9


def travels(odometry, sweeps):
    """Of (t, xyz); those that there are."""
    found = [odometry.push(stamp(t), xyz) for t, xyz in sweeps]
    return [travel for travel in found if travel is not None]


def make(**changes):
    return LidarOdometry(OdometryConfig(enabled=True, **changes), RIG)


def off(drive, travel):
    """Translation (m) and rotation (rad) by which a travel is wrong, as vectors."""
    T = inverse(pose(drive, seconds(travel.from_ns))) @ pose(drive, seconds(travel.to_ns))
    wrong = inverse(T) @ travel.T_from_to
    return wrong[:3, 3], rotation_vector(wrong[:3, :3])


def test_the_motion_is_found(drive, sweep):
    """1.4 m a sweep, through a curve; the first two sweeps tell it roughly and say so."""
    odometry = make()
    found = travels(odometry, ((t, sweep(t)) for t in np.arange(0, 4, 0.1)))
    assert [travel.from_ns for travel in found] == [stamp(t) for t in np.arange(0, 3.9, 0.1)]
    assert [travel.position_std for travel in found] == [0.2] * 2 + [0.02] * 37
    errors = [off(drive, travel) for travel in found[2:]]
    assert np.sqrt(np.mean([e[0][:2] ** 2 for e in errors])) < 0.02
    assert np.sqrt(np.mean([e[1] ** 2 for e in errors])) < 0.001
    total = np.linalg.multi_dot([travel.T_from_to for travel in found[2:]])
    T = inverse(pose(drive, seconds(found[2].from_ns))) @ pose(drive, seconds(found[-1].to_ns))
    assert T[0, 3] > 45
    assert np.linalg.norm(total[:2, 3] - T[:2, 3]) < 0.15  # of 50 m
    assert found[20].velocity == pytest.approx(
        inverse(pose(drive, 2.05))[:3, :3] @ drive.truth(2.05)[1][0], abs=0.5
    )
    assert not odometry.counters


def test_equal_sweeps_give_equal_motions(sweep):
    sweeps = [(t, sweep(t)) for t in np.arange(0, 1, 0.1)]
    first, second = travels(make(), sweeps), travels(make(), sweeps)
    assert len(first) == 9
    for a, b in zip(first, second):
        np.testing.assert_array_equal(a.T_from_to, b.T_from_to)


def test_the_ground_does_not_hold_us_back(drive, sweep):
    """Of a ring pattern that goes with us the ground would tell that we stand."""

    def ringed(t):
        angle, range_m = np.meshgrid(np.linspace(0, 2 * np.pi, 900), np.linspace(4, 40, 25))
        rings = np.column_stack([(range_m * np.cos(angle)).ravel(), (range_m * np.sin(angle)).ravel()])
        points = sweep(t)
        rings = np.column_stack([rings, np.zeros(len(rings))]).astype(np.float32)
        return t, np.concatenate([points[points[:, 2] > 0.5], rings])

    sweeps = [ringed(t) for t in np.arange(0, 1.5, 0.1)]
    lengths = {
        ground: sum(float(travel.T_from_to[0, 3]) for travel in travels(make(ground_m=ground), sweeps)[2:])
        for ground in (0.5, -1.0)
    }
    true = sum((inverse(pose(drive, t)) @ pose(drive, t + 0.1))[0, 3] for t in np.arange(0.2, 1.35, 0.1))
    assert lengths[0.5] == pytest.approx(true, abs=0.1)
    assert lengths[-1.0] < 0.9 * true


@pytest.mark.parametrize(
    "bad",
    [EMPTY, np.full((5000, 3), np.nan, np.float32), np.full((5000, 3), 7.0, np.float32)],
    ids=["empty", "not finite", "one place"],
)
def test_a_sweep_that_tells_nothing_is_refused(drive, sweep, bad):
    """The next one tells of both."""
    odometry = make()
    sweeps = [(t, sweep(t)) for t in np.arange(0, 1, 0.1)]
    sweeps[6] = sweeps[6][0], bad
    found = travels(odometry, sweeps)
    assert odometry.counters == {"few_points": 1}
    spans = [(round(seconds(t.from_ns), 2), round(seconds(t.to_ns), 2)) for t in found]
    assert (0.5, 0.7) in spans
    assert len(spans) == 8
    for travel in found[2:]:
        assert np.linalg.norm(off(drive, travel)[0][:2]) < 0.08


def test_nothing_but_bad_sweeps():
    odometry = make()
    assert travels(odometry, [(t, EMPTY) for t in np.arange(0, 1, 0.1)]) == []
    assert odometry.counters == {"few_points": 10}


@pytest.mark.parametrize("later_s", [5.0, -0.5, 0.001], ids=["a gap", "back in time", "too close"])
def test_after_a_gap_the_map_begins_anew(drive, sweep, later_s):
    odometry = make()
    before = travels(odometry, [(t, sweep(t)) for t in np.arange(0, 1, 0.1)])
    begins = 0.9 + later_s
    after = travels(odometry, [(t, sweep(t)) for t in np.arange(begins, begins + 0.65, 0.1)])
    assert odometry.counters == {"gap": 1}
    assert len(before) == 9
    assert [t.from_ns for t in after] == [stamp(t) for t in np.arange(begins, begins + 0.55, 0.1)]
    for travel in after[2:]:
        assert np.linalg.norm(off(drive, travel)[0][:2]) < 0.08


def test_a_motion_that_no_vehicle_makes_is_refused(drive, sweep):
    """As if the lidar had been carried a few metres aside at once."""
    odometry = make()
    found = travels(odometry, [(t, sweep(t)) for t in np.arange(0, 0.8, 0.1)])
    aside = sweep(0.8) + np.array([0.0, 4.0, 0.0], np.float32)
    assert odometry.push(stamp(0.8), aside) is None
    assert odometry.counters == {"implausible": 1}
    again = travels(odometry, [(t, sweep(t)) for t in np.arange(0.9, 1.5, 0.1)])
    assert (len(found), len(again)) == (7, 5)
    assert np.linalg.norm(off(drive, again[-1])[0][:2]) < 0.08


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "kiss_icp.config", None)
    with pytest.raises(ConfigError, match=r"pip install 'fusion-rt\[odometry\]'"):
        make()


@pytest.mark.parametrize(
    ("rig", "lidar", "message"),
    [
        (Rig(), "", "the rig has no lidar"),
        (RIG, "roof", "'roof' is none of the rig's lidars: lidar"),
    ],
)
def test_a_lidar_that_is_not_there(rig, lidar, message):
    with pytest.raises(ConfigError, match=message):
        LidarOdometry(OdometryConfig(enabled=True, lidar=lidar), rig)


def test_real_sweeps(shared_data):
    """46 sweeps of KITTI, as recorded: parked cars came 7.2 m nearer, by the boxes of a detector."""
    odometry = make(ground_m=-1.23)  # of the lidar itself, 1.73 m up
    with tarfile.open(shared_data / "kitti_sequence.tar.xz") as archive:
        names = sorted(n for n in archive.getnames() if n.endswith(".bin"))
        read = (archive.extractfile(name).read() for name in names)
        clouds = [np.frombuffer(data, np.float32).reshape(-1, 4)[:, :3] for data in read]
    found = travels(odometry, [(0.1 * i, cloud) for i, cloud in enumerate(clouds)])
    assert not odometry.counters
    assert len(found) == 45
    T = np.linalg.multi_dot([travel.T_from_to for travel in found])
    assert T[0, 3] == pytest.approx(7.2, abs=0.5)
    assert np.abs(T[1:3, 3]).max() < 0.6
