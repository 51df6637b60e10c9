"""Each fault's packets, and a drive that goes on with them."""

import itertools

import cv2
import numpy as np
import pytest
from msgspec.structs import replace

from fusion_rt import logs
from fusion_rt.errors import ConfigError
from fusion_rt.images import decode_image
from fusion_rt.messages import GnssFix, Header, Image, ImuSample, PointCloud, pack
from fusion_rt.pipeline import FusionPipeline, PipelineConfig
from fusion_rt.scenario import locate
from fusion_rt.sim.fault_kinds import (
    Bias,
    ClockOffset,
    Corrupt,
    Dark,
    Dirty,
    Frozen,
    Jump,
    Late,
    LostRings,
    LostSector,
    Noisy,
    Overexposed,
    Silent,
)
from fusion_rt.sim.faults import faulted
from fusion_rt.sim.gnss import LocalMap

MODALITIES = {"camera": "camera", "lidar": "lidar", "gnss": "gnss", "imu": "imu"}


def header(sensor, seq, t_s):
    return Header(sensor_id=sensor, frame_id=sensor, seq=seq, stamp_ns=1_000_000_000 + round(t_s * 1e9))


def cloud(seq, t_s, n=4000):
    rng = np.random.default_rng(seq)
    return PointCloud(
        header=header("lidar", seq, t_s),
        xyz=rng.normal(0, 15, (n, 3)).astype(np.float32),
        intensity=rng.random(n, np.float32),
        t=np.zeros(n, np.float32),
        ring=rng.integers(0, 64, n).astype(np.uint16),
    )


def image(seq, t_s, encoding="jpeg"):
    pixels = np.random.default_rng(seq).integers(60, 120, (48, 160, 3)).astype(np.uint8)
    data = cv2.imencode(".jpg", pixels)[1].reshape(-1) if encoding == "jpeg" else pixels
    return Image(header=header("camera", seq, t_s), height=48, width=160, encoding=encoding, data=data)


def drive():
    """Two seconds: a sweep, an image and a fix ten times a second, the IMU fifty times."""
    for tick in range(100):
        t = tick / 50
        yield ImuSample(
            header=header("imu", tick, t), specific_force=(0.0, 0.0, 9.81), angular_rate=(0.0, 0.0, 0.1)
        )
        if tick % 5 == 0:
            yield image(tick // 5, t)
            yield GnssFix(
                header=header("gnss", tick // 5, t),
                latitude_deg=49.0,
                longitude_deg=8.4,
                altitude_m=115.0,
                position_covariance=(1.0,) * 9,
            )
            yield cloud(tick // 5, t)


def hit(fault, sensor, packets=None):
    """The sensor's packets before the fault and after it, of the second from 0.5 to 1.5 alone; all others
    must be what they were."""
    packets = list(drive()) if packets is None else packets
    told = list(faulted(packets, (fault,), MODALITIES, seed=4))
    inside = {id(p) for p in packets if p.header.sensor_id == sensor and 0.5 <= seconds(p) < 1.5}
    untouched = [p for p in packets if id(p) not in inside]
    kept = {id(p) for p in told}
    assert all(id(p) in kept for p in untouched)
    mine = {id(p) for p in untouched}
    return [p for p in packets if id(p) in inside], [p for p in told if id(p) not in mine]


def seconds(packet):
    return (packet.header.stamp_ns - 1_000_000_000) / 1e9


WHEN = {"from_s": 0.5, "to_s": 1.5}


@pytest.mark.parametrize("sensor", MODALITIES)
def test_silent(sensor):
    before, after = hit(Silent(sensor=sensor, **WHEN), sensor)
    assert len(before) in (10, 50)
    assert after == []


def test_late_packets_come_in_the_order_of_their_coming():
    fault = Late(sensor="lidar", delay_s=0.25, **WHEN)
    before, after = hit(fault, "lidar")
    assert [id(p) for p in after] == [id(p) for p in before]
    now = -1.0
    for packet in faulted(drive(), (fault,), MODALITIES):
        if isinstance(packet, PointCloud) and 0.5 <= seconds(packet) < 1.5:
            assert seconds(packet) + 0.25 <= now + 0.021  # the IMU ticks every 20 ms
            assert seconds(packet) + 0.25 >= now
        else:
            now = max(now, seconds(packet))


def test_what_is_still_on_its_way_comes_at_the_end():
    told = list(faulted(drive(), (Late(sensor="camera", delay_s=60.0),), MODALITIES))
    assert [p.header.sensor_id for p in told[-20:]] == ["camera"] * 20
    assert [p.header.seq for p in told[-20:]] == list(range(20))


def test_clock_offset():
    before, after = hit(ClockOffset(sensor="gnss", offset_s=0.04, **WHEN), "gnss")
    assert [p.header.stamp_ns - b.header.stamp_ns for b, p in zip(before, after)] == [40_000_000] * 10
    assert after[0].latitude_deg == before[0].latitude_deg


@pytest.mark.parametrize(
    ("sector", "inside"), [((-30, 30), lambda a: abs(a) < 30), ((150, 210), lambda a: abs(a) > 150)]
)
def test_lost_sector(sector, inside):
    before, after = hit(LostSector(sensor="lidar", azimuth_deg=sector, **WHEN), "lidar")
    for b, a in zip(before, after):
        azimuth = np.degrees(np.arctan2(b.xyz[:, 1], b.xyz[:, 0]))
        kept = np.array([not inside(v) for v in azimuth])
        np.testing.assert_array_equal(a.xyz, b.xyz[kept])
        np.testing.assert_array_equal(a.ring, b.ring[kept])


def test_lost_rings_are_the_same_ones_all_the_time():
    before, after = hit(LostRings(sensor="lidar", share=0.5, **WHEN), "lidar")
    left = [set(a.ring.tolist()) for a in after]
    assert 16 < len(left[0]) < 48
    assert all(rings == left[0] for rings in left)
    np.testing.assert_array_equal(after[0].xyz, before[0].xyz[np.isin(before[0].ring, list(left[0]))])
    # A sweep whose rings are not known loses steps of elevation.
    unknown = [replace(p, ring=p.ring * 0) if isinstance(p, PointCloud) else p for p in drive()]
    before, after = hit(LostRings(sensor="lidar", share=0.5, **WHEN), "lidar", unknown)
    assert 0.3 < len(after[0].xyz) / len(before[0].xyz) < 0.7


def test_noisy_ranges():
    before, after = hit(Noisy(sensor="lidar", range_m=0.3, **WHEN), "lidar")
    off = np.linalg.norm(after[0].xyz, axis=1) - np.linalg.norm(before[0].xyz, axis=1)
    np.testing.assert_allclose([off.mean(), off.std()], [0.0, 0.3], atol=0.02)
    assert after[0].xyz.dtype == np.float32


def test_frozen():
    before, after = hit(Frozen(sensor="camera", **WHEN), "camera")
    assert [a.header for a in after] == [b.header for b in before]
    assert all(a.data is before[0].data for a in after)


@pytest.mark.parametrize("encoding", ["jpeg", "bgr8"])
@pytest.mark.parametrize(
    ("fault", "low", "high"), [(Dark, 5, 12), (Overexposed, 240, 256), (Dirty, 40, 85)], ids=str
)
def test_other_pixels(encoding, fault, low, high):
    packets = [image(p.header.seq, seconds(p), encoding) if isinstance(p, Image) else p for p in drive()]
    before, after = hit(fault(sensor="camera", **WHEN), "camera", packets)
    for b, a in zip(before, after):
        assert (a.encoding, a.height, a.width) == (b.encoding, b.height, b.width)
        assert low < decode_image(a).mean() < high
        assert decode_image(b).mean() > 85


def test_dirt_stays_in_its_place():
    _, after = hit(Dirty(sensor="camera", share=0.4, **WHEN), "camera")
    shade = [decode_image(a).astype(float).mean(axis=2) for a in after]
    hidden = [cv2.blur(s, (9, 9)) < 60 for s in shade]
    assert 0.2 < hidden[0].mean() < 0.6
    assert np.mean(hidden[0] == hidden[-1]) > 0.9


def test_corrupt_images_do_not_decode_and_a_fault_on_top_leaves_them():
    _, after = hit(Corrupt(sensor="camera", **WHEN), "camera")
    assert all(cv2.imdecode(a.data, cv2.IMREAD_COLOR) is None for a in after)
    both = (Corrupt(sensor="camera"), Dark(sensor="camera"))
    told = [p for p in faulted(drive(), both, MODALITIES) if isinstance(p, Image)]
    assert all(cv2.imdecode(p.data, cv2.IMREAD_COLOR) is None for p in told)


def test_jump():
    before, after = hit(Jump(sensor="gnss", offset_m=(12.0, -5.0), **WHEN), "gnss")
    here = LocalMap(49.0, 8.4, 115.0)
    for b, a in zip(before, after):
        moved = here.enu(a.latitude_deg, a.longitude_deg, a.altitude_m)
        np.testing.assert_allclose(moved, (12.0, -5.0, 0.0), atol=1e-3)
        assert a.position_covariance == b.position_covariance


def test_bias():
    fault = Bias(sensor="imu", specific_force=(0.5, 0.0, 0.0), angular_rate=(0.0, 0.0, 0.02), **WHEN)
    _, after = hit(fault, "imu")
    assert after[0].specific_force == pytest.approx((0.5, 0.0, 9.81))
    assert after[0].angular_rate == pytest.approx((0.0, 0.0, 0.12))


def test_no_fault_no_change_and_the_same_seed_the_same_bits():
    packets = list(drive())
    assert list(faulted(packets, (), MODALITIES)) == packets
    several = (
        Noisy(sensor="lidar", range_m=0.1),
        LostRings(sensor="lidar", share=0.3),
        Dirty(sensor="camera"),
    )
    first, again, other = (
        [pack(p)[1] for p in faulted(drive(), several, MODALITIES, seed=s)] for s in (1, 1, 2)
    )
    flat = [[x.tobytes() for arrays in each for x in arrays] for each in (first, again, other)]
    assert flat[0] == flat[1] != flat[2]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Silent(sensor="lidar2"), r"faults\[0\].sensor: 'lidar2' is not one of camera, gnss, imu, lidar"),
        (Frozen(sensor="lidar"), r"'frozen' does not fit lidar \(lidar\); allowed are silent, .*noisy$"),
        (
            Jump(sensor="imu", offset_m=(1.0, 1.0)),
            r"'jump' does not fit imu .* silent, late, clock_offset, bias$",
        ),
    ],
)
def test_a_fault_that_a_sensor_cannot_have(fault, message):
    with pytest.raises(ConfigError, match=message):
        faulted([], (fault,), MODALITIES)


@pytest.fixture(scope="module")
def recorded():
    """The rig and the first two seconds of the bundled drive."""
    with logs.open(locate("bundled:drive.mcap")) as log:
        end_ns = log.start_ns + 2_000_000_000
        return log.rig, list(itertools.takewhile(lambda p: p.header.stamp_ns < end_ns, log))


@pytest.mark.parametrize(
    ("fault", "rung", "reason"),
    [
        (Silent(sensor="lidar", from_s=1.0), "camera_only", "lidar stale"),
        (Silent(sensor="camera", from_s=1.0), "lidar_only", "camera stale"),
        (Corrupt(sensor="camera", from_s=1.0), "lidar_only", "camera missing"),
        (Silent(sensor="imu", from_s=1.0), "in_time", "imu stale"),
        (Late(sensor="camera", delay_s=0.3, from_s=1.0), "lidar_only", "camera stale"),
        (ClockOffset(sensor="camera", offset_s=-60.0, from_s=1.0), "lidar_only", "camera stale"),
        (LostRings(sensor="lidar", share=0.5, from_s=1.0), "all", ""),
        (Frozen(sensor="camera", from_s=1.0), "all", ""),
        (Jump(sensor="gnss", offset_m=(20.0, 0.0), from_s=1.0), "all", ""),
        (Bias(sensor="imu", angular_rate=(0.0, 0.0, 0.1), from_s=1.0), "all", ""),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value or "whole",
)
def test_a_faulted_drive_goes_on(recorded, fault, rung, reason):
    """Every sweep that comes is answered, every 0.1 s; the certificate names what is missing."""
    rig, packets = recorded
    pipeline = FusionPipeline.from_config(PipelineConfig(), rig)
    told = [a for p in faulted(packets, (fault,), rig.modalities()) if (a := pipeline.push(p)) is not None]
    start_ns = min(p.header.stamp_ns for p in packets)
    gaps = np.diff([a.header.stamp_ns for a in told]) / 1e9
    assert gaps.max() <= (0.5 if rung == "camera_only" else 0.101)
    assert told[-1].header.stamp_ns - start_ns > 1_800_000_000
    last = told[-1].certificate
    assert (last.rung, reason in last.reason) == (rung, True)
    assert told[5].certificate.rung == "all"
