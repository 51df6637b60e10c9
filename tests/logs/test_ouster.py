"""Real captures of two sensors; expected numbers are those of the vendor's library (ouster-sdk 1.0.1)."""

import json
import random
from contextlib import suppress

import dpkt
import numpy as np
import pytest

from fusion_rt.errors import FusionError, LogError
from fusion_rt.logs.importing import import_recording
from fusion_rt.logs.ouster import OusterCapture
from fusion_rt.messages import ImuSample, PointCloud

OS1, OS0 = "OS-1-128_v2.3.0_1024x10_lb_n3", "OS-0-32-U1_v2.2.0_1024x10"


@pytest.fixture
def captures(shared_data):
    folder = shared_data / "lidar_packets"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    return folder


def sweeps(capture):
    return [p for p in capture if isinstance(p, PointCloud)]


@pytest.mark.parametrize(
    ("name", "counts", "mean", "reflectivity", "samples"),
    [
        (OS1, [107647, 107357, 107532], [0.14147609, 1.90636699, 0.6000999], 0.055210, 30),
        (OS0, [21631], [-0.17944908, -1.12636784, 0.07302724], 0.076065, 10),
    ],
)
def test_a_real_capture(captures, name, counts, mean, reflectivity, samples):
    capture = OusterCapture(captures / f"{name}.pcap")
    packets = list(capture)
    found = sweeps(packets)
    assert [len(s.xyz) for s in found] == counts
    np.testing.assert_allclose(found[0].xyz.mean(axis=0, dtype=np.float64), mean, atol=1e-6)
    np.testing.assert_allclose(found[0].intensity.mean(dtype=np.float64), reflectivity, atol=1e-6)
    assert 0.0999 > found[0].t.max() > 0.0997  # ten turns a second
    assert found[0].t.min() == 0
    np.testing.assert_allclose(np.diff([s.header.stamp_ns for s in found]), 1e8, rtol=1e-3)
    assert capture.errors == []
    imu = [p for p in packets if isinstance(p, ImuSample)]
    assert len(imu) == samples
    assert 9 < np.linalg.norm(imu[0].specific_force) < 12
    # Within the 0.3 s that were captured, as the capture's own clock has it.
    with (captures / f"{name}.pcap").open("rb") as file:
        times = [t for t, _ in dpkt.pcap.UniversalReader(file)]
    assert times[0] - 0.2 < found[0].header.stamp_ns * 1e-9 < times[-1]


def rewritten(source, target, change):
    """The capture with its packets changed by `change`, its metadata beside it."""
    target.with_suffix(".json").write_bytes(source.with_suffix(".json").read_bytes())
    with source.open("rb") as file, target.open("wb") as out:
        reader = dpkt.pcap.UniversalReader(file)
        writer = dpkt.pcap.Writer(out, linktype=reader.datalink())
        for t, packet in change(list(reader)):
            writer.writepkt(packet, t)
    return target


def test_packets_twice_and_out_of_order(captures, tmp_path):
    """As a network may do; nothing of it is seen in the sweeps."""

    def shuffle(packets):
        rng = random.Random(0)
        stream = [(k + rng.uniform(0, 8), p) for k, p in enumerate(packets)]
        stream += [(k + rng.uniform(0, 8), p) for k, p in enumerate(packets[:40])]
        times = [t for t, _ in packets]
        mixed = [p for _, p in sorted(stream, key=lambda entry: entry[0])]
        return [(times[min(k, len(times) - 1)], p) for k, (_, p) in enumerate(mixed)]

    before = sweeps(OusterCapture(captures / f"{OS1}.pcap"))
    capture = OusterCapture(rewritten(captures / f"{OS1}.pcap", tmp_path / "a.pcap", shuffle))
    after = sweeps(capture)
    assert capture.errors == []
    for a, b in zip(before, after, strict=True):
        for field in ("xyz", "intensity", "t", "ring"):
            np.testing.assert_array_equal(getattr(a, field), getattr(b, field))


def test_lost_packets_are_said(captures, tmp_path):
    capture = OusterCapture(
        rewritten(captures / f"{OS1}.pcap", tmp_path / "a.pcap", lambda p: p[:20] + p[30:])
    )
    assert len(sweeps(capture)[0].xyz) < 107647
    (fault,) = capture.errors
    assert "sweep 0 has" in fault
    assert "of 1024 columns" in fault


def test_a_capture_cut_off_or_damaged(captures, tmp_path):
    source = captures / f"{OS0}.pcap"
    whole = source.read_bytes()
    path = tmp_path / "a.pcap"
    path.with_suffix(".json").write_bytes(source.with_suffix(".json").read_bytes())
    for size in (0, 10, 24, 30, 5000, 200_000, len(whole) - 1):
        path.write_bytes(whole[:size])
        with suppress(LogError):
            capture = OusterCapture(path)
            list(capture)
            assert capture.errors
    path.write_bytes(whole[:10])
    with pytest.raises(LogError, match=r"a\.pcap: not a packet capture"):
        OusterCapture(path)
    rng = np.random.default_rng(0)
    for _ in range(10):
        data = bytearray(whole)
        for at in rng.integers(0, len(data), 300):
            data[at] = rng.integers(0, 256)
        path.write_bytes(data)
        with suppress(FusionError):
            list(OusterCapture(path))


def test_metadata(captures, tmp_path):
    path = tmp_path / "a.pcap"
    path.write_bytes((captures / f"{OS0}.pcap").read_bytes())
    with pytest.raises(LogError, match=r"a\.json: cannot be read: .*--metadata FILE"):
        OusterCapture(path)
    whole = json.loads((captures / f"{OS0}.json").read_text())
    for change, said in (
        ({"beam_azimuth_angles": [0.0]}, "contradict each other"),
        ({"lidar_to_sensor_transform": "none"}, "not the metadata of an Ouster sensor"),
        ({"data_format": whole["data_format"] | {"columns_per_packet": 10**9}}, "is no sensor's"),
        ({"data_format": whole["data_format"] | {"columns_per_packet": 8}}, "no lidar packets of 4256 bytes"),
        ({"udp_port_lidar": 1}, "to port 1; is the metadata of another sensor?"),
        (
            {"data_format": whole["data_format"] | {"udp_profile_lidar": "NEW"}},
            "udp_profile_lidar NEW is not one",
        ),
    ):
        (tmp_path / "other.json").write_text(json.dumps(whole | change))
        with pytest.raises(LogError, match=said):
            OusterCapture(path, tmp_path / "other.json")


def test_into_a_log(captures, tmp_path):
    capture = OusterCapture(captures / f"{OS0}.pcap", lidar_height_m=1.5)
    result = import_recording(capture, tmp_path / "a.mcap")
    assert result.logs[0].packets == len(capture) == 11
    assert capture.rig.lidars["lidar"].pose.translation == (0.0, 0.0, 1.5)
    np.testing.assert_allclose(capture.rig.imus["imu"].pose.translation, (0.006253, -0.011775, 1.507645))
