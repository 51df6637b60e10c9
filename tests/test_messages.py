import contextlib

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_rt.errors import MessageError
from fusion_rt.messages import (
    AudioChunk,
    Command,
    GnssFix,
    Header,
    HomeReading,
    Image,
    ImuSample,
    PointCloud,
    RadarPoints,
    Sight,
    Sound,
    TracePoint,
    WheelSpeed,
    complete_ns,
    kind,
    pack,
    unpack,
    with_trace,
)

HEADER = Header(sensor_id="s", frame_id="f", seq=3, stamp_ns=1_700_000_000_123_456_789)


def a_cloud(n: int = 5) -> PointCloud:
    rng = np.random.default_rng(n)
    return PointCloud(
        header=HEADER,
        xyz=rng.normal(size=(n, 3)).astype(np.float32),
        intensity=rng.random(n, dtype=np.float32),
        t=rng.random(n, dtype=np.float32),
        ring=rng.integers(0, 64, n, dtype=np.uint16),
    )


MESSAGES = [
    a_cloud(),
    a_cloud(0),
    Image(
        header=HEADER, height=2, width=3, encoding="bgr8", data=np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    ),
    Image(header=HEADER, height=2, width=3, encoding="mono8", data=np.zeros((2, 3), np.uint8)),
    Image(header=HEADER, height=2, width=3, encoding="jpeg", data=np.zeros(7, np.uint8)),
    GnssFix(
        header=HEADER,
        latitude_deg=49.0,
        longitude_deg=8.4,
        altitude_m=115.0,
        position_covariance=(1.0, 0, 0, 0, 1.0, 0, 0, 0, 4.0),
        velocity_enu=(1.0, 2.0, 0.0),
    ),
    ImuSample(header=HEADER, specific_force=(0.0, 0.1, 9.81), angular_rate=(0.0, 0.0, 0.01)),
    WheelSpeed(header=HEADER, speed=-1.25, std=0.05),
    AudioChunk(header=HEADER, rate=16000, pcm=np.arange(320, dtype=np.int16)),
    RadarPoints(
        header=HEADER,
        xyz=np.ones((4, 3), np.float32),
        velocity=np.arange(4, dtype=np.float32),
        snr_db=np.zeros(4, np.float32),
    ),
    Sight(
        header=HEADER,
        width=640,
        height=480,
        boxes=np.ones((2, 4), np.float32),
        scores=np.ones(2, np.float32),
        keypoints=np.zeros((2, 17, 3), np.float32),
    ),
    Sound(
        header=HEADER,
        duration_s=0.08,
        level_dba=41.0,
        speech=0.1,
        events={"knock": 0.9},
        embedding=np.zeros(96, np.float32),
    ),
    HomeReading(header=HEADER, entity="hall_pir", kind="motion", value=1.0, unit=""),
    Command(header=HEADER, text="turn off the light", slots={"room": "kitchen"}),
]


@pytest.mark.parametrize("message", MESSAGES, ids=kind)
def test_pack_then_unpack_is_exact_and_does_not_copy(message):
    data, arrays = pack(message)
    buffers = [a.tobytes() for a in arrays]
    again = unpack(data, buffers)
    assert type(again) is type(message)
    for field in msgspec.structs.fields(message):
        before, after = getattr(message, field.name), getattr(again, field.name)
        if isinstance(before, np.ndarray):
            np.testing.assert_array_equal(before, after)
            assert before.dtype == after.dtype
            assert not after.flags.writeable  # a view of the immutable buffer
        else:
            assert before == after


def test_trace_grows():
    traced = with_trace(with_trace(a_cloud(), "captured", 5), "published", 9, "car")
    assert traced.header.trace == (TracePoint("captured", 5), TracePoint("published", 9, "car"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"xyz": np.zeros((5, 4), np.float32)}, r"s: PointCloud\.xyz is float32 \(5, 4\), expected float32"),
        ({"xyz": np.zeros((5, 3))}, "float64"),
        ({"t": np.zeros(4, np.float32)}, r"PointCloud\.t is float32 \(4,\), expected float32 \(5\)"),
        ({"ring": None}, "NoneType"),
    ],
)
def test_wrong_arrays_are_refused(change, says):
    with pytest.raises(MessageError, match=says):
        msgspec.structs.replace(a_cloud(), **change)


def test_wrong_encoding_and_covariance_are_refused():
    with pytest.raises(MessageError, match="encoding 'yuv'"):
        Image(header=HEADER, height=2, width=2, encoding="yuv", data=np.zeros((2, 2), np.uint8))
    with pytest.raises(MessageError, match="expected 9"):
        GnssFix(header=HEADER, latitude_deg=0, longitude_deg=0, altitude_m=0, position_covariance=(1.0,))


def test_out_of_range_numbers_are_refused_on_receipt():
    data, _ = pack(
        GnssFix(
            header=HEADER, latitude_deg=91.0, longitude_deg=0, altitude_m=0, position_covariance=(0.0,) * 9
        )
    )
    with pytest.raises(MessageError, match="latitude_deg"):
        unpack(data, [])


def test_a_stamp_beyond_64_bits_is_refused_on_receipt():
    header = msgspec.structs.replace(HEADER, stamp_ns=1 << 63)
    data, arrays = pack(msgspec.structs.replace(a_cloud(), header=header))
    with pytest.raises(MessageError, match="stamp_ns"):
        unpack(data, arrays)


@pytest.mark.parametrize("keep", range(4))
def test_missing_buffers_are_refused(keep):
    data, arrays = pack(a_cloud())
    with pytest.raises(MessageError, match="referred to"):
        unpack(data, arrays[:keep])


@given(st.data())
def test_damaged_bytes_never_do_worse_than_message_error(data):
    message = data.draw(st.sampled_from(MESSAGES))
    header, arrays = pack(message)
    damaged = bytearray(header)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)))
    for hostile in (bytes(damaged), bytes(header[:cut])):
        with contextlib.suppress(MessageError):
            assert kind(unpack(hostile, arrays))


@pytest.mark.parametrize(
    ("t", "after_ns"),
    [
        ([], 0),
        ([0.0, 0.0], 0),
        ([-0.05, 0.05], 50_000_000),
        ([-0.05, -0.01], 0),  # never before its stamp
        ([0.02, np.nan, np.inf, -np.inf, 0.6], 20_000_000),
        ([np.nan], 0),
        ([3e38, -3e38], 0),
    ],
)
def test_a_sweep_is_complete_when_its_last_point_is(t, after_ns):
    n = len(t)
    cloud = PointCloud(
        header=Header(sensor_id="lidar", frame_id="lidar", seq=0, stamp_ns=1_700_000_000_000_000_000),
        xyz=np.zeros((n, 3), np.float32),
        intensity=np.zeros(n, np.float32),
        t=np.array(t, np.float32),
        ring=np.zeros(n, np.uint16),
    )
    assert complete_ns(cloud) - cloud.header.stamp_ns == pytest.approx(after_ns, abs=10)
