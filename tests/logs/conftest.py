"""One message of every kind, and the real recordings unpacked."""

import cv2
import numpy as np
import pytest

from fusion_rt.home_truth import HomeTruth, TrueEvent, TruePerson
from fusion_rt.messages import (
    AudioChunk,
    Certificate,
    Command,
    EgoState,
    ForecastPoint,
    GnssFix,
    Header,
    HomeReading,
    Image,
    ImuSample,
    PointCloud,
    Prediction,
    RadarPoints,
    SensorUse,
    Sight,
    Sound,
    TracePoint,
    TrackedObject,
    WheelSpeed,
)
from fusion_rt.plan import Plan
from fusion_rt.rig import Camera, Gnss, Imu, Lidar, Pose, Rig, Wheels
from fusion_rt.scene import (
    HomeEvent,
    HomeSensorUse,
    Person,
    RoomState,
    Scene,
    SceneCertificate,
    Why,
)

HOME = """
site: small
rooms:
  hall: {name: Hall, polygon: [[0, 0], [4, 0], [4, 3], [0, 3]], raw: true}
doors:
  front: {rooms: [hall, outside], at: [[0, 1], [0, 2]], contact: front_door}
sensors:
  front_door: {kind: contact, room: hall}
  radar: {kind: radar, room: hall, pose: {translation: [0.1, 0.2, 1.5], rpy_deg: [0, 0, 30]}, period_s: 0.1}
  hall_camera:
    {kind: camera, room: hall, width: 640, height: 480, K: [[400, 0, 320], [0, 400, 240], [0, 0, 1]]}
  ear: {kind: microphone, room: hall}
"""
START_NS = 1_700_000_000_123_456_789


def header(sensor, seq=0, stamp_ns=START_NS):
    trace = (TracePoint("captured", 12, "car"), TracePoint("published", 34))
    return Header(sensor_id=sensor, frame_id=sensor, seq=seq, stamp_ns=stamp_ns, trace=trace)


def imu(seq, stamp_ns):
    return ImuSample(
        header=header("imu", seq, stamp_ns), specific_force=(0.1, -0.2, 9.81), angular_rate=(1e-17, 0.1, 0.3)
    )


def cloud(n, seq=0, stamp_ns=START_NS):
    """A sweep that ends at its stamp."""
    rng = np.random.default_rng(n)
    return PointCloud(
        header=header("lidar", seq, stamp_ns),
        xyz=rng.normal(0, 20, (n, 3)).astype(np.float32),
        intensity=rng.random(n, dtype=np.float32),
        t=rng.uniform(-0.1, 0.0, n).astype(np.float32),
        ring=rng.integers(0, 1 << 16, n, dtype=np.uint16),
    )


def images():
    rng = np.random.default_rng(1)
    colour = rng.integers(0, 256, (12, 20, 3), np.uint8)
    pixels = {"bgr8": colour, "rgb8": colour[:, ::-1], "mono8": colour[..., 0]}  # the latter two are views
    for encoding in ("jpeg", "png"):
        pixels[encoding] = cv2.imencode(f".{encoding}", colour)[1].reshape(-1)
    return [
        Image(header=header("camera", i), height=12, width=20, encoding=encoding, data=data)
        for i, (encoding, data) in enumerate(pixels.items())
    ]


def hostile_cloud():
    """Every bit pattern that a float has a name for, NaN payloads among them."""
    bits = np.array([0x7FC00001, 0x7F800001, 0xFF800000, 0x80000000, 1, 0x7F7FFFFF], np.uint32)
    floats = bits.view(np.float32)
    return PointCloud(
        header=header("lidar", 9),
        xyz=np.stack([floats, floats[::-1], floats], axis=1),
        intensity=floats,
        t=floats[::-1].copy(),
        ring=np.arange(6, dtype=np.uint16),
    )


def prediction(stamp_ns=START_NS):
    thing = TrackedObject(
        track_id=7,
        label="car",
        class_probabilities={"car": 0.9, "cyclist": 0.1},
        existence=0.97,
        center=(10.0, -2.0, 0.8),
        size=(4.2, 1.8, 1.6),
        yaw=0.5,
        box_covariance=tuple(float(i) for i in range(16)),
        velocity=(3.0, 4.0),
        velocity_covariance=(1.0, 0.0, 0.0, 1.0),
        yaw_rate=0.01,
        age_s=1.5,
        hits=15,
        coasting_s=0.0,
        contributions={"camera": 0.4, "lidar": 0.6},
        forecast=(ForecastPoint(0.5, 11.5, 0.0, 0.5, 0.3), ForecastPoint(1.0, 13.0, 2.0, 0.5, 0.6)),
        time_to_collision_s=None,
    )
    ego = EgoState(
        stamp_ns=stamp_ns,
        position=(100.0, 200.0, 3.0),
        orientation=(0.0, 0.0, 0.6, 0.8),
        velocity=(5.0, 0.0, 0.0),
        angular_rate=(0.0, 0.0, 0.1),
        covariance=(0.1,) * 36,
        velocity_covariance=(0.2,) * 9,
        extrapolated_s=0.01,
        source="imu+gnss",
        origin_latitude_deg=49.0,
        origin_longitude_deg=8.4,
        origin_altitude_m=115.0,
    )
    certificate = Certificate(
        sensors=(SensorUse(sensor_id="lidar", modality="lidar", status="used", age_s=0.0, seq=3),),
        motion_compensation="imu+gnss",
        points_in=1000,
        points_dropped={"outside_grid": 3},
        model="m",
        engine="openvino",
        precision="int8",
        device="cpu",
        stage_ms={"encode": 1.25},
        deadline_s=0.05,
        deadline_met=None,
        rung="all",
    )
    return Prediction(
        header=header("fusion", 3, stamp_ns), objects=(thing,), ego=ego, certificate=certificate
    )


def radar(n):
    zeros = np.zeros(n, np.float32)
    return RadarPoints(
        header=header("radar", n), xyz=np.zeros((n, 3), np.float32), velocity=zeros, snr_db=zeros
    )


def sight(n, score):
    rng = np.random.default_rng(n)
    return Sight(
        header=header("hall_camera", n),
        width=640,
        height=480,
        boxes=rng.uniform(0, 480, (n, 4)).astype(np.float32),
        scores=np.full(n, score, np.float32),
        keypoints=rng.normal(0, 1e-3, (n, 17, 3)).astype(np.float32),
    )


def sound(n, level_dba):
    embedding = np.random.default_rng(n).normal(0, 1, n).astype(np.float32)
    return Sound(
        header=header("ear"),
        duration_s=0.5,
        level_dba=level_dba,
        speech=0.1,
        events={"knock": 1 / 3, '"exact":': 0.0},
        embedding=embedding,
    )


def scene(stamp_ns=START_NS):
    why = Why(shares={"radar": 1.0}, missing=("hall_pir",), ages_ms={"radar": 1 / 3})
    state = RoomState(
        room="hall", p_occupied=0.9, occupied=True, people=1, people_p=(0.1, 0.9), activity="walking",
        activity_p={"walking": 0.8}, since_ns=stamp_ns, why=why,
    )  # fmt: skip
    person = Person(
        track_id=3, position=(1.0, 2.0), covariance=(0.1, 0.0, 0.0, 0.1), velocity=(0.5, -0.0),
        existence=0.9, posture="standing", posture_p={"standing": 1.0}, room="hall", age_s=3.0,
        coasting_s=0.0, why=why,
    )  # fmt: skip
    event = HomeEvent(kind="fall", room="hall", p=0.9, id="fall-1", onset_ns=stamp_ns, why=why)
    certificate = SceneCertificate(
        sensors=(HomeSensorUse(sensor_id="radar", modality="radar", status="used", age_s=0.1),),
        model="home-s", engine="openvino", precision="fp32", stage_ms={}, rung="in_time",
    )  # fmt: skip
    return Scene(
        header=header("home", 3, stamp_ns), rooms=(state,), people=(person,), events=(event,), intents=(),
        certificate=certificate,
    )  # fmt: skip


def truth(stamp_ns=START_NS):
    event = TrueEvent(kind="fall", room="hall", position=(1.0, 2.0), onset_ns=stamp_ns, end_ns=stamp_ns + 1)
    return HomeTruth(
        header=header("truth", 9, stamp_ns),
        people=(TruePerson("p1", 1.0, 2.0, "hall", "lying", "other"),),
        counts={"hall": 1},
        activities={"hall": "other"},
        events=(event,),
    )


def packets():
    """One of each kind and encoding, of one stamp."""
    return [
        *images(),
        cloud(1000),
        cloud(0),
        hostile_cloud(),
        GnssFix(
            header=header("gnss", 1 << 40),
            latitude_deg=49.011212804408,
            longitude_deg=-8.4228850417969,
            altitude_m=112.8,
            position_covariance=(0.25, 0.0, 0.0, 0.0, 0.25, 0.0, 0.0, 0.0, 1.0),
            fix_type="rtk_float",
            satellites=10,
            velocity_enu=(1.0, 2.0, 0.5),
            velocity_std=0.07,
        ),
        imu(3, START_NS),
        ImuSample(
            header=header("imu", 4),
            specific_force=(float("nan"), float("inf"), -float("inf")),
            angular_rate=(0.0, -0.0, 5e-324),
        ),
        WheelSpeed(header=header("wheels", 7), speed=-1 / 3, std=5e-324),
        WheelSpeed(header=header("wheels", 8), speed=float("nan")),
        AudioChunk(header=header("microphone"), rate=16000, pcm=np.arange(-300, 300, dtype=np.int16)),
        HomeReading(
            header=header("hall"), entity='"exact":"null', kind="motion", value=float("nan"), unit=""
        ),
        RadarPoints(
            header=header("radar"),
            xyz=np.arange(9, dtype=np.float32).reshape(3, 3),
            velocity=np.array([-0.5, np.nan, 1e-40], np.float32),
            snr_db=np.array([0.1, np.inf, -0.0], np.float32),
        ),
        radar(0),
        sight(2, float("nan")),
        sight(2, 0.1),
        sight(0, 0.0),
        sound(0, 41.5),
        sound(3, float("-inf")),
        Command(header=header("voice"), text="turn off", intent="off", slots={"exact": "null"}),
    ]


@pytest.fixture
def rig():
    camera = Camera(
        width=20,
        height=12,
        K=((15.0, 0.0, 10.0), (0.0, 15.0, 6.0), (0.0, 0.0, 1.0)),
        pose=Pose(translation=(0.3, 0.1, 1.6), rpy_deg=(-90.0, 0.0, -90.0)),
        distortion=(0.1, 0.2, 0.3, 0.4, 0.5),
    )
    return Rig(
        cameras={"camera": camera},
        lidars={"lidar": Lidar(pose=Pose(translation=(0.0, 0.0, 1.73)))},
        gnss={"gnss": Gnss()},
        imus={"imu": Imu()},
        wheels={"wheels": Wheels()},
    )


@pytest.fixture
def plan():
    return Plan.from_yaml(HOME)


@pytest.fixture
def make():
    """Functions that make messages; the tests are no package that could import them."""

    class Make:
        pass

    for function in (packets, prediction, scene, truth, imu, cloud, images):
        setattr(Make, function.__name__, staticmethod(function))
    Make.START_NS = START_NS
    return Make
