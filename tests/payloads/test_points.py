import msgspec
import numpy as np
import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fusion_rt import payloads
from fusion_rt.errors import MessageError
from fusion_rt.messages import Header, PointCloud
from fusion_rt.payloads import points

HEADER = Header(sensor_id="lidar", frame_id="lidar", seq=7, stamp_ns=1)


def cloud(xyz, intensity=None, t=None, ring=None):
    n = len(xyz)
    return PointCloud(
        header=HEADER,
        xyz=np.asarray(xyz, np.float32),
        intensity=np.zeros(n, np.float32) if intensity is None else np.asarray(intensity, np.float32),
        t=np.zeros(n, np.float32) if t is None else np.asarray(t, np.float32),
        ring=np.zeros(n, np.uint16) if ring is None else np.asarray(ring, np.uint16),
    )


def through(sweep, **settings):
    coded = payloads.Encoder(payloads.Points(**settings), 0).encode(sweep)
    return coded, payloads.Decoder().decode(payloads.unpack(*payloads.pack(coded)))


@given(
    arrays.arrays(np.float32, st.tuples(st.integers(0, 50), st.just(3)), elements=st.floats(width=32)),
    st.sampled_from([0.001, 0.005, 0.1]),
)
@example(np.full((1, 3), np.finfo(np.float32).max), 0.001)
def test_the_error_is_within_half_the_resolution(xyz, resolution_m):
    _, got = through(cloud(xyz), resolution_m=resolution_m)
    finite = np.isfinite(xyz)
    with np.errstate(over="ignore"):  # beyond the largest number
        bound = resolution_m / 2 + np.spacing(np.abs(xyz[finite]))
    assert (np.abs(got.xyz[finite].astype(np.float64) - xyz[finite]) <= bound).all()
    np.testing.assert_array_equal(got.xyz[~finite], xyz[~finite])


def test_a_sweep():
    rng = np.random.default_rng(5)
    n = 20_000
    azimuth = np.linspace(0, 2 * np.pi, n)
    distance = 20 + 10 * np.sin(5 * azimuth)
    xyz = np.column_stack([distance * np.cos(azimuth), distance * np.sin(azimuth), np.full(n, -1.7)])
    sweep = cloud(
        xyz + rng.normal(0, 0.01, (n, 3)), rng.random(n), np.linspace(-0.1, 0, n), np.arange(n) % 64
    )
    coded, got = through(sweep)
    assert (coded.xyz, coded.intensity, coded.t) == ("<i2", "|u1", "<u2")
    assert np.abs(got.xyz - sweep.xyz).max() <= 0.0025 + 1e-5
    assert np.abs(got.intensity - sweep.intensity).max() <= 1 / 510 + 1e-6
    assert np.abs(got.t - sweep.t).max() <= 0.1 / 131070 + 1e-8
    np.testing.assert_array_equal(got.ring, sweep.ring)
    assert got.header == sweep.header
    raw = sum(getattr(sweep, name).nbytes for name in ("xyz", "intensity", "t", "ring"))
    assert len(coded.data) < raw / 3


@pytest.mark.parametrize(
    ("xyz", "form"),
    [([[1, 2, np.nan]], "<i2"), ([[500, 0, 0]], "<i4"), ([[1e30, 0, 0]], "<f4"), ([[np.inf, 0, 0]], "<f4")],
)
def test_points_that_are_far_or_missing(xyz, form):
    coded, got = through(cloud(xyz))
    assert coded.xyz == form
    np.testing.assert_allclose(got.xyz, xyz, atol=0.0026)


def test_what_is_out_of_its_range_is_sent_as_it_is():
    sweep = cloud(np.zeros((3, 3)), [0, 300, np.nan], [0, np.inf, -1])
    _, got = through(sweep)
    np.testing.assert_array_equal(got.intensity, sweep.intensity)
    np.testing.assert_array_equal(got.t, sweep.t)


def test_hostile_data():
    coded = points.encode(cloud(np.ones((100, 3))), 0.005)
    bomb = zstandard.ZstdCompressor().compress(bytes(50_000_000))
    for wrong in (
        {"data": np.frombuffer(bomb, np.uint8)},
        {"data": coded.data[:-5]},
        {"data": np.zeros(0, np.uint8)},
        {"data": np.zeros(40, np.uint8)},
        {"count": 99},
        {"xyz": "<i4"},
    ):
        with pytest.raises(MessageError):
            points.decode(msgspec.structs.replace(coded, **wrong))
    header, _ = payloads.pack(coded)
    with pytest.raises(MessageError, match="0 arrays"):
        payloads.unpack(header, [])
    broken = msgspec.msgpack.decode(header) | {"count": -1}
    with pytest.raises(MessageError, match="count"):
        payloads.unpack(msgspec.msgpack.encode(broken), [coded.data])
