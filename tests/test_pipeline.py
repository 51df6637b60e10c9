"""The pipeline on a drive at 10 m/s due east: what it answers, from what, and what it survives."""

import itertools

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from msgspec.structs import replace

from fusion_rt.align.aligner import AlignConfig
from fusion_rt.device import CpuDevice
from fusion_rt.ego.geodesy import LocalMap
from fusion_rt.errors import ConfigError
from fusion_rt.kernels.span import Span
from fusion_rt.messages import SWEEP_S, GnssFix, Header, Image, ImuSample, PointCloud, Prediction
from fusion_rt.pipeline import SWEEP_KNOTS, FusionPipeline, PipelineConfig, sweep_knots
from fusion_rt.rig import Rig, Vehicle
from fusion_rt.transforms import inverse

SPEED = 10.0
START_NS = 1_700_000_000_000_000_000
MAP = LocalMap(49.0, 8.4, 115.0)
DEFAULT = AlignConfig()
ALL = ("camera", "lidar", "gnss", "imu")


@pytest.fixture
def packets(street):
    """The drive's packets from one second to another, of the sensors that `keep(sensor, t_s)` says live."""

    def header(sensor, seq, t_s):
        return Header(sensor_id=sensor, frame_id=sensor, seq=seq, stamp_ns=START_NS + round(t_s * 1e9))

    def generate(first_s, last_s, keep=lambda sensor, t: True):
        for tick in range(round(first_s * 100), round(last_s * 100)):
            t = tick / 100
            yield ImuSample(
                header=header("imu", tick, t), specific_force=(0.0, 0.0, 9.81), angular_rate=(0.0, 0.0, 0.0)
            )
            if tick % 10:
                continue
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
            cloud, image = street(START_NS + round(t * 1e9), seq=tick // 10)
            yield image
            yield cloud

    def filtered(first_s, last_s, keep=lambda sensor, t: True):
        for packet in generate(first_s, last_s):
            if keep(packet.header.sensor_id, (packet.header.stamp_ns - START_NS) / 1e9):
                yield packet

    return filtered


@pytest.fixture
def make(rig, model_package):
    def build(*, align=DEFAULT, rig=rig, clock=None):
        config = PipelineConfig(threads=1, align=align)
        return FusionPipeline(config, rig, CpuDevice(1), model_package, clock)

    return build


def answers(pipeline, packets):
    return [p for p in map(pipeline.push, packets) if p is not None]


def without(*gone, after_s=0.0):
    return lambda sensor, t: sensor not in gone or t < after_s


def test_everything_at_work(make, packets, rig):
    pipeline = make()
    told = answers(pipeline, packets(0, 1.5))
    assert [p.header.stamp_ns for p in told] == [START_NS + k * 100_000_000 for k in range(15)]
    assert [p.header.seq for p in told] == list(range(15))
    last = told[-1]
    certificate = last.certificate
    assert (certificate.rung, certificate.reason) == ("all", "")
    assert [(s.sensor_id, s.modality, s.status) for s in certificate.sensors] == [(s, s, "used") for s in ALL]
    assert [s.age_s for s in certificate.sensors] == pytest.approx([0, 0, 0, 0])
    assert [s.seq for s in certificate.sensors] == [14, 14, 14, 140]
    assert certificate.motion_compensation == last.ego.source == "imu+gnss"
    assert certificate.points_in == 3720
    assert certificate.points_dropped == {}
    assert certificate.model == pipeline._engines.perception.package.identity
    assert certificate.engine.startswith("openvino-")
    assert (certificate.precision, certificate.device) == ("f32", "cpu, 1 thread")
    assert (certificate.deadline_s, certificate.deadline_met, certificate.stage_ms) == (0.05, None, {})
    assert last.ego.velocity == pytest.approx((SPEED, 0, 0), abs=0.1)
    assert last.objects
    for thing in last.objects:
        assert sum(thing.contributions.values()) == pytest.approx(1)
        assert thing.latitude_deg == pytest.approx(49.0, abs=0.01)
        assert len(thing.forecast) == 5
    assert pipeline.counters == {
        s: {"accepted": n} for s, n in (("camera", 15), ("gnss", 15), ("imu", 150), ("lidar", 15))
    }


def test_what_stands_in_our_own_footprint_is_counted_and_no_object(make, packets, rig):
    everywhere = replace(rig, vehicle=Vehicle(front_m=200, rear_m=200, width_m=400))
    pipeline = make(rig=everywhere)
    assert not any(p.objects for p in answers(pipeline, packets(0, 0.8)))
    assert pipeline.counters["tracker"]["own_vehicle"] > 0
    assert pipeline.counters["lidar"] == {"accepted": 8}


@pytest.mark.parametrize(
    ("gone", "rung", "reason"),
    [
        (("gnss",), "in_time", "gnss missing"),
        (("imu", "gnss"), "in_time", "gnss missing, imu missing"),
        (("camera",), "lidar_only", "camera missing"),
        (("lidar",), "camera_only", "lidar missing"),
        (("lidar", "camera"), "coasting", "camera missing, lidar missing"),
    ],
)
def test_every_rung_of_the_ladder(make, packets, gone, rung, reason):
    told = answers(make(), packets(0, 0.8, without(*gone)))
    assert len(told) >= 3
    assert {(p.certificate.rung, p.certificate.reason) for p in told} == {(rung, reason)}
    assert bool(told[-1].objects) == (rung != "coasting")
    assert (told[-1].certificate.points_in > 0) == ("lidar" not in gone)


def test_a_lidar_that_dies(make, packets):
    """The cameras take over, the objects stay; with the cameras gone, too, the tracks coast and end."""
    pipeline = make()
    told = answers(
        pipeline,
        packets(0, 3, lambda s, t: not (s == "lidar" and t >= 1.0) and not (s == "camera" and t >= 2.0)),
    )
    rungs = [(p.header.stamp_ns - START_NS, p.certificate.rung) for p in told]
    assert [r for r, _ in itertools.groupby(r for _, r in rungs)] == ["all", "camera_only", "coasting"]
    handover = next(t for t, r in rungs if r == "camera_only") - 900_000_000
    assert handover <= 500_000_000  # lost_after_s and one image
    seeing = [p for p in told if p.certificate.rung == "camera_only"]
    assert all("lidar stale" in p.certificate.reason for p in seeing)
    assert seeing[-1].certificate.points_in == 0
    assert seeing[-1].objects
    assert all(o.contributions["lidar"] < 0.01 for o in seeing[-1].objects if o.age_s < 0.5)
    coasting = [p for p in told if p.certificate.rung == "coasting"]
    assert "camera stale" in coasting[0].certificate.reason
    assert all(o.coasting_s > 0 for p in coasting for o in p.objects)
    assert coasting[-1].objects == ()
    assert all(b.header.seq - a.header.seq == 1 for a, b in itertools.pairwise(told))


def test_without_a_pose_there_is_no_place_and_no_memory(make, packets):
    last = answers(make(), packets(0, 0.5, without("gnss", "imu")))[-1]
    assert last.ego.source == last.certificate.motion_compensation == "none"
    assert last.objects
    for thing in last.objects:
        assert thing.latitude_deg is None
        assert thing.contributions["memory"] == 0


def test_a_pose_that_comes_late_leaves_no_ghosts(make, packets):
    """Objects followed in the ego frame are not taken for objects of the map."""
    told = answers(make(), packets(0, 1.5, lambda s, t: s in ("lidar", "camera") or t >= 0.5))
    known = next(i for i, p in enumerate(told) if p.ego.source != "none")
    assert 5 <= known < 10
    assert told[known - 1].objects
    assert told[known].objects == ()
    before = {o.track_id for p in told[:known] for o in p.objects}
    after = {o.track_id for p in told[known:] for o in p.objects}
    assert after
    assert before.isdisjoint(after)


def test_an_image_that_does_not_decode(make, packets):
    def damaged():
        for packet in packets(0, 1.0):
            if isinstance(packet, Image) and packet.header.seq == 5:
                packet = replace(packet, encoding="jpeg", data=np.arange(100, dtype=np.uint8))
            yield packet

    pipeline = make()
    told = answers(pipeline, damaged())
    assert [p.certificate.rung for p in told] == ["all"] * 5 + ["lidar_only"] + ["all"] * 4
    camera = told[-1].certificate.sensors[0]
    assert (camera.sensor_id, camera.dropped) == ("camera", {"malformed": 1})
    assert pipeline.counters["camera"] == {"accepted": 9, "malformed": 1}


def test_an_image_of_another_size(make, packets):
    def changed():
        for packet in packets(0, 0.5):
            if isinstance(packet, Image):
                packet = replace(packet, height=144, data=np.ascontiguousarray(packet.data[::2]))
            yield packet

    pipeline = make()
    told = answers(pipeline, changed())
    assert {p.certificate.rung for p in told} == {"lidar_only"}
    assert pipeline.counters["camera"] == {"accepted": 0, "malformed": 5}


def test_points_that_are_not_finite(make, packets):
    def hostile():
        for packet in packets(0, 0.4):
            if isinstance(packet, PointCloud):
                packet.xyz[::10] = np.nan
                packet.t[::7] = np.inf
            yield packet

    told = answers(make(), hostile())
    assert told[-1].certificate.points_in == 3720
    assert told[-1].certificate.points_dropped == {"not_finite": 372}
    assert all(np.isfinite(o.center).all() for o in told[-1].objects)


def test_who_does_not_belong_is_counted(make, packets):
    pipeline = make()
    told = answers(pipeline, packets(0, 0.5))
    stray = next(p for p in packets(0.5, 0.6) if isinstance(p, PointCloud))
    header = stray.header
    assert pipeline.push(replace(stray, header=replace(header, sensor_id="radar"))) is None
    assert (
        pipeline.push(replace(stray, header=replace(header, stamp_ns=header.stamp_ns + 3600 * 10**9))) is None
    )
    assert pipeline.counters["?"] == {"accepted": 0, "unknown_sensor": 1}
    assert pipeline.counters["lidar"] == {"accepted": 5, "future": 1}
    told += answers(pipeline, packets(0.5, 1.0))
    assert len(told) == 10
    assert told[-1].certificate.rung == "all"


def test_a_log_that_starts_again(make, packets):
    pipeline = make()
    first = answers(pipeline, packets(0, 1.5))
    second = answers(pipeline, packets(0, 1.2))
    assert len(second) >= 8
    assert second[0].header.seq == first[-1].header.seq + 1
    assert {o.track_id for o in first[-1].objects}.isdisjoint(o.track_id for o in second[-1].objects)
    assert max(o.age_s for p in second for o in p.objects) < 1.2
    assert all(o.contributions["memory"] == 0 for o in second[0].objects)
    # The map begins anew with the first fix after the restart, not with the first of the log.
    assert second[-1].ego.position[0] < 11.5


def test_no_clock_and_the_same_bytes(make, packets):
    one, two = (b"\n".join(msgspec.json.encode(p) for p in answers(make(), packets(0, 1))) for _ in range(2))
    assert one == two
    assert msgspec.json.decode(one.split(b"\n")[0], type=Prediction).certificate.stage_ms == {}


def test_stages_are_timed_where_there_is_a_clock(make, packets):
    ticks = itertools.count(step=1_000_000)
    told = answers(make(clock=lambda: next(ticks)), packets(0, 1))
    stages = told[-1].certificate.stage_ms
    image = ["align", "image_decode", "image", "camera_encode", "lift"]  # in step: lifted when it comes
    sweep = ["ego", "deskew", "pillars", "warp", "fuse", "decode", "refine", "track", "forecast"]
    assert list(stages) == image + sweep
    twice = {"align", "decode"}  # of image and sweep; before and after the second look
    assert stages == {stage: 2.0 if stage in twice else 1.0 for stage in stages}  # one tick each
    assert told[-1].certificate.deadline_met is True
    camera_only = answers(make(clock=lambda: next(ticks)), packets(0, 0.6, without("lidar")))
    assert {"image_decode", "image", "camera_encode"} <= set(camera_only[-1].certificate.stage_ms)


def test_a_deadline_that_does_not_hold(make, packets):
    slow = itertools.count(step=20_000_000)
    told = answers(make(clock=lambda: next(slow)), packets(0, 0.3))
    assert told[-1].certificate.deadline_met is False


@pytest.fixture
def seen(make, monkeypatch):
    """A pipeline, and what its perception is given at each answer."""
    pipeline, given_ = make(), []
    detect = pipeline._engines.perception.detect
    monkeypatch.setattr(
        pipeline._engines.perception, "detect", lambda *args: given_.append(args) or detect(*args)
    )
    return pipeline, given_


def test_sensors_are_moved_to_the_answer_s_time(seen, packets, rig):
    """The ends of a sweep, and an image that is 50 ms old, seen from where the car is at the answer."""
    pipeline, given_ = seen

    def shifted():
        for packet in packets(0, 1):
            if isinstance(packet, PointCloud):
                packet.t[:] = np.linspace(-0.05, 0.05, len(packet.t))
            if isinstance(packet, Image):
                packet = replace(
                    packet, header=replace(packet.header, stamp_ns=packet.header.stamp_ns - 50_000_000)
                )
            yield packet

    answers(pipeline, shifted())
    (sweep,), (view,), motion = given_[-1]
    np.testing.assert_allclose(sweep.knots_t, np.linspace(-0.05, 0.05, SWEEP_KNOTS), atol=1e-7)
    still = rig.lidars["lidar"].T_ego_lidar
    for t, T in zip(sweep.knots_t, sweep.knots_T):
        np.testing.assert_allclose(T[:, 3] - still[:3, 3], (SPEED * t, 0, 0), atol=0.02)
        np.testing.assert_allclose(T[:, :3], still[:3, :3], atol=0.01)
    T_then_now = inverse(rig.cameras["camera"].T_camera_ego) @ view.T_camera_ego
    np.testing.assert_allclose(T_then_now[:3, 3], (SPEED * 0.05, 0, 0), atol=0.02)
    assert motion.known
    assert motion.speed == pytest.approx(SPEED, abs=0.1)
    assert abs(motion.acceleration) < 0.5
    np.testing.assert_allclose(motion.T_prev_now, [[1, 0, SPEED * 0.1], [0, 1, 0]], atol=0.02)
    assert motion.since_prev_s == pytest.approx(0.1)


def test_the_memory_is_as_old_as_the_last_look(seen, packets):
    """Both eyes closed for 0.4 s: tracks coast meanwhile, and the canvas is warped over the whole gap."""
    pipeline, given_ = seen
    told = answers(
        pipeline, packets(0, 1.6, lambda s, t: s not in ("lidar", "camera") or not 1.0 <= t < 1.35)
    )
    assert "coasting" in {p.certificate.rung for p in told}
    gaps = [round(motion.since_prev_s, 3) for *_, motion in given_]
    assert max(gaps) == pytest.approx(0.5)
    over = given_[gaps.index(max(gaps))][2]
    assert over.T_prev_now[0, 2] == pytest.approx(SPEED * over.since_prev_s, abs=0.05)


def test_an_old_memory_is_not_used(seen, packets):
    pipeline, given_ = seen
    answers(pipeline, packets(0, 2.3, lambda s, t: s not in ("lidar", "camera") or not 1.0 <= t < 2.0))
    unremembered = [i for i, (*_, motion) in enumerate(given_) if motion.T_prev_now is None]
    # Until the first pose is known, then once after the gap.
    assert unremembered[:-1] == list(range(len(unremembered) - 1))
    assert 5 < unremembered[-1] < len(given_) - 1
    assert given_[unremembered[-1]][2].known


def test_a_rig_that_sees_nothing_is_refused(make, rig):
    with pytest.raises(ConfigError, match="neither a lidar nor a camera"):
        make(rig=Rig(imus=rig.imus, gnss=rig.gnss))
    with pytest.raises(ConfigError, match=r"align.triggers: radar not in the rig"):
        make(align=AlignConfig(triggers=("radar",)))


@given(arrays(np.float32, st.integers(0, 40), elements=st.floats(width=32)))
def test_knots_always_increase(t):
    knots = sweep_knots(*Span(2)(t, SWEEP_S))
    assert len(knots) in (1, SWEEP_KNOTS)
    assert np.all(np.diff(knots) > 0)
    assert np.all(np.abs(knots) <= SWEEP_S)
    good = t[np.abs(t) <= SWEEP_S]
    if len(good):
        assert (knots[0], knots[-1]) == pytest.approx((good.min(), good.max()), abs=2e-6)


@given(st.floats(-SWEEP_S, SWEEP_S, width=32), st.integers(1, 8))
def test_times_that_are_almost_one(t, steps):
    other = np.float32(t)
    for _ in range(steps):
        other = np.nextafter(other, np.float32(1))
    assert np.all(np.diff(sweep_knots(*Span(2)(np.array([t, other], np.float32), SWEEP_S))) > 0)
