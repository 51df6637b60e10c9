"""The pipeline with the lidar's odometry, on a drive at 10 m/s past poles: with and without GNSS and IMU."""

import itertools

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from fusion_rt.device import CpuDevice
from fusion_rt.ego.config import EgoConfig, OdometryConfig
from fusion_rt.ego.geodesy import LocalMap
from fusion_rt.errors import ConfigError
from fusion_rt.messages import GnssFix, Header, ImuSample, PointCloud
from fusion_rt.pipeline import FusionPipeline, PipelineConfig

SPEED = 10.0
START_NS = 1_700_000_000_000_000_000
MAP = LocalMap(49.0, 8.4, 115.0)
SWEEP_S = 0.1


def header(sensor, seq, t_s):
    return Header(sensor_id=sensor, frame_id=sensor, seq=seq, stamp_ns=START_NS + round(t_s * 1e9))


@pytest.fixture(scope="module")
def poles():
    """(N, 3) points of 250 poles along the road, in map axes."""
    rng = np.random.default_rng(2)
    x, y = rng.uniform(-60, 120, 250), rng.uniform(4, 40, 250) * rng.choice([-1, 1], 250)
    points = np.stack([x, y, np.zeros(250)], 1)[:, None] + rng.normal(0, 0.05, (250, 40, 3))
    points[..., 2] = rng.uniform(0.1, 4, (250, 40))
    return points.reshape(-1, 3)


@pytest.fixture
def packets(poles):
    """Lidar, and GNSS and IMU until they fall silent. The lidar turns: each point is of its own time."""

    def generate(first_s, last_s, *, silent_s=0.0):
        for tick in range(round(first_s * 100), round(last_s * 100)):
            t = tick / 100
            if t < silent_s:
                imu = {"specific_force": (0.0, 0.0, 9.81), "angular_rate": (0.0, 0.0, 0.0)}
                yield ImuSample(header=header("imu", tick, t), **imu)
            if tick % 10:
                continue
            if t < silent_s:
                latitude, longitude, altitude = MAP.to_geodetic(np.array([SPEED * t - 0.8, 0.3, 1.6]))
                yield GnssFix(
                    header=header("gnss", tick // 10, t),
                    latitude_deg=latitude,
                    longitude_deg=longitude,
                    altitude_m=altitude,
                    position_covariance=(0.01, 0.0, 0.0, 0.0, 0.01, 0.0, 0.0, 0.0, 0.01),
                    velocity_enu=(SPEED, 0.0, 0.0),
                    velocity_std=0.05,
                )
            rng = np.random.default_rng(tick)
            seen = poles[rng.random(len(poles)) < 0.7] - (SPEED * t, 0.0, 0.0)
            of = (SWEEP_S * (np.arctan2(seen[:, 1], seen[:, 0]) / (2 * np.pi))).astype(np.float32)
            seen = seen - np.outer(SPEED * of, (1.0, 0.0, 0.0)) + rng.normal(0, 0.02, seen.shape)
            near = np.linalg.norm(seen, axis=1) < 60
            yield PointCloud(
                header=header("lidar", tick // 10, t),
                xyz=(seen[near] - (0.0, 0.0, 1.73)).astype(np.float32),
                intensity=np.full(near.sum(), 0.5, np.float32),
                t=of[near],
                ring=np.zeros(near.sum(), np.uint16),
            )

    return generate


@pytest.fixture
def make(rig, model_package):
    def build(*, clock=None, **odometry):
        ego = EgoConfig(odometry=OdometryConfig(**{"enabled": True, **odometry}))
        return FusionPipeline(PipelineConfig(threads=1, ego=ego), rig, CpuDevice(1), model_package, clock)

    return build


def answers(pipeline, packets):
    return [p for p in map(pipeline.push, packets) if p is not None]


def as_bytes(told):
    return [msgspec.json.encode(p) for p in told]


def test_the_lidar_alone_gives_the_pose(make, packets):
    pipeline = make()
    told = answers(pipeline, packets(0, 3))
    assert [p.ego.source for p in told[:2]] == ["none", "odometry"]
    last = told[-1]
    assert last.certificate.motion_compensation == last.ego.source == "odometry"
    assert last.ego.velocity == pytest.approx((SPEED, 0, 0), abs=0.3)
    assert last.ego.position == pytest.approx((SPEED * 2.9, 0, 0), abs=0.6)
    assert last.ego.origin_latitude_deg is None
    assert last.objects
    assert {thing.latitude_deg for thing in last.objects} == {None}
    assert max(thing.age_s for thing in last.objects) > 0.3  # tracks live on in that frame
    assert "odometry" not in pipeline.counters


def test_what_refuses_all_changes_no_bit(make, packets):
    """Enabled and off give the same answers where no sweep is accepted: nothing else depends on it."""
    off, blind = make(enabled=False), make(min_points=1_000_000)
    both = [as_bytes(answers(pipeline, packets(0, 1.5, silent_s=1.2))) for pipeline in (off, blind)]
    assert both[0] == both[1]
    assert len(both[0]) == 15
    assert "odometry" not in off.counters
    assert blind.counters["odometry"] == {"few_points": 15}


def test_equal_packets_give_equal_bytes(make, packets):
    one, two = (as_bytes(answers(make(), packets(0, 1.5, silent_s=0.8))) for _ in range(2))
    assert one == two


def test_gnss_and_imu_that_die(make, packets):
    pipeline = make()
    told = answers(pipeline, packets(0, 5, silent_s=1.5))
    sources = [p.ego.source for p in told]
    assert sources[12:15] == ["imu+gnss"] * 3
    assert sources[17:43] == ["gnss+odometry"] * 26  # three seconds long a fix speaks for the place
    assert sources[45:] == ["odometry"] * 5
    assert told[-1].ego.origin_latitude_deg == told[14].ego.origin_latitude_deg is not None
    moved = np.diff([p.ego.position for p in told[12:]], axis=0)
    np.testing.assert_allclose(moved[:, 0], SPEED * SWEEP_S, atol=0.15)
    np.testing.assert_allclose(told[-1].ego.velocity, (SPEED, 0, 0), atol=0.3)
    assert not pipeline.counters.get("ego")


def test_sweeps_without_points(make, packets):
    pipeline = make()
    told = []
    for packet in packets(0, 2):
        if packet.header.seq in (8, 9):
            nothing = {name: getattr(packet, name)[:0] for name in ("xyz", "intensity", "t", "ring")}
            packet = replace(packet, **nothing)
        told += answers(pipeline, [packet])
    assert len(told) == 20
    assert pipeline.counters["odometry"] == {"few_points": 2}
    assert {p.ego.source for p in told[1:]} == {"odometry"}
    assert told[9].ego.extrapolated_s == pytest.approx(0.2)
    assert told[-1].ego.position == pytest.approx((SPEED * 1.9, 0, 0), abs=0.6)


def test_a_log_that_starts_again(make, packets):
    pipeline = make()
    first = answers(pipeline, packets(0, 1.5))
    second = answers(pipeline, packets(0, 1.5))
    assert first[-1].ego.position[0] > 13
    assert [p.ego.source for p in second[:2]] == ["none", "odometry"]
    assert second[1].ego.position[0] < 2
    assert {o.track_id for o in first[-1].objects}.isdisjoint(o.track_id for o in second[-1].objects)
    assert "odometry" not in pipeline.counters


def test_its_time_is_told(make, packets):
    ticks = itertools.count(step=1_000_000)
    told = answers(make(clock=lambda: next(ticks)), packets(0, 0.5))
    assert list(told[-1].certificate.stage_ms)[:3] == ["align", "odometry", "ego"]


def test_a_lidar_that_the_rig_lacks(make):
    with pytest.raises(ConfigError, match="'roof' is none of the rig's lidars: lidar"):
        make(lidar="roof")
