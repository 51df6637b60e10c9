import struct

import numpy as np
import pytest

from fusion_rt.sensors.ti_mmwave import TiMmwave

MAGIC = b"\x02\x01\x04\x03\x06\x05\x08\x07"


def tlv(kind, value, includes=0):
    return struct.pack("<II", kind, len(value) + includes) + value


def padded(frame, to=32):
    return frame + bytes(-len(frame) % to)


def frame(*tlvs, number=7, sub_frame=True, count=None, pad=True):
    """As SDK 2 and 3 send it; without the sub-frame as SDK 1."""
    size = 40 if sub_frame else 36
    body = b"".join(tlvs)
    total = size + len(body)
    total += (-total % 32) if pad else 0
    words = [0x03050004, total, 0xA6843, number, 12345, 0, len(tlvs) if count is None else count, 0]
    head = MAGIC + struct.pack(f"<{len(words)}I", *words)
    return (head[:size] + body).ljust(total, b"\0")


def old_frame(*tlvs, number=3, checksum=None):
    """As the Industrial Toolbox's people counting."""
    body = b"".join(tlvs)
    head = MAGIC + struct.pack("<9IH", 0, 48 + len(body), 0xA6843, number, 0, 0, 0, 0, 0, len(tlvs))
    total = int(np.frombuffer(head, "<u2").sum(dtype=np.uint32))
    total = (total & 0xFFFF) + (total >> 16)
    return head + struct.pack("<H", 0xFFFF - total if checksum is None else checksum) + body


def compressed(points, units=(0.01, 0.01, 0.02, 0.005, 0.04)):
    rows = b"".join(struct.pack("<bbhHH", *p) for p in points)
    return struct.pack("<5f", *units) + rows


def target(tid, position, velocity):
    return struct.pack("<I27f", tid, *position, *velocity, *[0] * 21)


POINTS = struct.pack("<8f", 1, 2, 0.5, -0.3, -1, 4, 0.1, 0.2)


@pytest.mark.parametrize("sub_frame", [True, False])
def test_points_with_their_side_info(sub_frame):
    side = struct.pack("<4h", 155, 300, 80, 310)
    data = frame(tlv(1, POINTS), tlv(7, side), tlv(6, bytes(24)), sub_frame=sub_frame)
    decoder = TiMmwave()
    (cut,) = decoder.feed(data)
    got = cut.frame
    assert got.number == 7
    np.testing.assert_allclose(got.xyz, [[2, -1, 0.5], [4, 1, 0.1]])  # TI: x right, y forward
    np.testing.assert_allclose(got.velocity, [-0.3, 0.2], rtol=1e-6)
    np.testing.assert_allclose(got.snr_db, [15.5, 8.0], rtol=1e-6)
    assert decoder.counts == {"unknown_tlvs": 1}  # statistics


def test_points_alone():
    (cut,) = TiMmwave().feed(frame(tlv(1, POINTS), pad=False))
    assert cut.frame.snr_db.tolist() == [0, 0]


@pytest.mark.parametrize("old", [False, True])
def test_the_people_counting_demos(old):
    """A point 3 m ahead, 30 degrees to the right and up a little; a target that walks away to the left."""
    azimuth, elevation = 52, 10
    points = compressed([(elevation, azimuth, -25, 600, 250)])
    targets = target(4, (-1.0, 1.0, 0.2), (-1.0, 1.0, 0.0))
    includes = 8 if old else 0
    kinds = (6, 7) if old else (1020, 1010)
    tlvs = [tlv(kinds[0], points, includes), tlv(kinds[1], targets, includes)]
    (cut,) = TiMmwave().feed(old_frame(*tlvs) if old else frame(*tlvs))
    got = cut.frame
    ground = 3.0 * np.cos(0.1)
    expected = [[ground * np.cos(0.52), -ground * np.sin(0.52), 3.0 * np.sin(0.1)]]
    np.testing.assert_allclose(got.xyz, expected, rtol=1e-5)
    np.testing.assert_allclose(got.velocity, [-0.5], rtol=1e-5)
    np.testing.assert_allclose(got.snr_db, [10.0], rtol=1e-5)
    np.testing.assert_allclose(got.targets, [[1, 1, 0.2]], rtol=1e-6)
    distance = np.sqrt(1 + 1 + 0.04)
    np.testing.assert_allclose(got.target_velocity, [2 / distance], rtol=1e-5)


def test_an_empty_frame():
    (cut,) = TiMmwave().feed(frame())
    assert cut.frame.xyz.shape == (0, 3)


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (frame(tlv(1, POINTS), count=1_000_000), "absurd_count"),
        (frame(tlv(1, POINTS), count=2), "bad_tlv"),
        (frame(tlv(1, POINTS[:-1])), "bad_points"),
        (frame(tlv(1, POINTS), tlv(7, bytes(4))), "bad_points"),
        (frame(tlv(1020, bytes(10))), "bad_points"),
        (frame(tlv(1010, bytes(50))), "bad_targets"),
        (frame(struct.pack("<II", 1, 0xFFFFFFF0)), "bad_tlv"),
        (old_frame(tlv(6, compressed([(1, 1, 1, 1, 1)]), 8), checksum=0x1234), "checksum"),
        (MAGIC + struct.pack("<8I", 3, 1 << 30, 0, 0, 0, 0, 0, 0), "absurd_length"),
        (MAGIC + struct.pack("<8I", 3, 8, 0, 0, 0, 0, 0, 0), "absurd_length"),
    ],
)
def test_damage_is_counted_by_cause(data, cause):
    decoder = TiMmwave()
    assert decoder.feed(data) == []
    assert {k: v for k, v in decoder.counts.items() if k != "garbage_bytes"} == {cause: 1}
    assert len(decoder.feed(frame(tlv(1, POINTS)))) == 1


def test_numbers_that_cannot_be_are_left_out_and_counted():
    wild = struct.pack("<16f", np.nan, 1, 0, 0, 1, np.inf, 0, 0, 1, 2e6, 0, 0, 1, 2, 3, 4)
    (cut,) = TiMmwave().feed(frame(tlv(1, wild)))
    np.testing.assert_allclose(cut.frame.xyz, [[2, -1, 3]])
    assert cut.frame.refused == 3
    units = (np.nan, 0.01, 0.02, 0.005, 0.04)
    (cut,) = TiMmwave().feed(frame(tlv(1020, compressed([(1, 1, 1, 1, 1)], units))))
    assert (len(cut.frame.xyz), cut.frame.refused) == (0, 1)
