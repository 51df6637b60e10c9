"""Packets made here, byte by byte, as the sensors' manuals describe them (cited in the module); the room that
they see is known, so every point can be told."""

import struct
from contextlib import suppress

import dpkt
import numpy as np
import pytest

from fusion_rt import logs
from fusion_rt.errors import FusionError, LogError
from fusion_rt.logs.importing import import_recording
from fusion_rt.logs.velodyne import VelodyneCapture

START_S = 1_700_002_800.0  # 2023-11-14 23:00 UTC: the top of an hour
WALL_M, GROUND_M = 12.0, -1.8  # a round wall, and the ground below the sensor
PUCK = [-15, 1, -13, 3, -11, 5, -9, 7, -7, 9, -5, 11, -3, 13, -1, 15]
PUCK_MM = [11.2, -0.7, 9.7, -2.2, 8.1, -3.7, 6.6, -5.1, 5.1, -6.6, 3.7, -8.1, 2.2, -9.7, 0.7, -11.2]
FIRED = """
    -30.67 -9.33 -29.33 -8.00 -28.00 -6.67 -26.67 -5.33 -25.33 -4.00 -24.00 -2.67 -22.67 -1.33 -21.33 0.00
    -20.00 1.33 -18.67 2.67 -17.33 4.00 -16.00 5.33 -14.67 6.67 -13.33 8.00 -12.00 9.33 -10.67 10.67
"""
HDL_32 = [float(angle) for angle in FIRED.split()]


def seen_m(elevation, height_m=0.0):
    """How far a laser sees."""
    up = np.radians(elevation)
    to_wall = WALL_M / np.cos(up)
    return min(to_wall, (GROUND_M - height_m) / np.sin(up)) if elevation < 0 else to_wall


def packet(blocks, hour_us, mode, product, flags=None):
    """blocks: 12 of (azimuth in degrees, 32 of (metres, reflectivity))."""
    data = b""
    for flag, (azimuth, returns) in zip(flags or [0xEEFF] * 12, blocks, strict=True):
        data += struct.pack("<HH", flag, round(azimuth * 100) % 36000)
        data += b"".join(struct.pack("<HB", round(metres / 0.002), r) for metres, r in returns)
    return data + struct.pack("<IBB", round(hour_us) % 3_600_000_000, mode, product)


def puck(seconds, *, hz=10.0, dual=False, offset_us=0.0, product=0x22, elevations=PUCK, heights=PUCK_MM):
    """(time in s, payload) of a VLP-16: two firings of 16 lasers in a block."""
    once = [(seen_m(e, h * 1e-3), 100 + k) for k, (e, h) in enumerate(zip(elevations, heights))] * 2
    nearer = [(m / 2, 5) for m, _ in once]  # the last return of two: to be passed over
    packets, at_us = [], 0.0
    while at_us < seconds * 1e6:
        blocks = []
        for k in range(12):
            row = k // 2 if dual else k
            azimuth = (at_us + row * 110.592) * 1e-6 * hz * 360
            blocks.append((azimuth, nearer if dual and k % 2 == 0 else once))
        packets.append((at_us * 1e-6, packet(blocks, at_us + offset_us, 0x39 if dual else 0x37, product)))
        at_us += 110.592 * (6 if dual else 12)
    return packets


def hdl_32(seconds):
    """One firing of 32 lasers in a block."""
    returns = [(seen_m(e), 50) for e in HDL_32]
    for k in range(round(seconds * 1e6 / (12 * 46.08))):
        at_us = k * 12 * 46.08
        blocks = [((at_us + b * 46.08) * 1e-6 * 3600, returns) for b in range(12)]
        yield at_us * 1e-6, packet(blocks, at_us, 0x37, 0x21)


def capture(path, packets, *, port=2368, delay_s=0.0008):
    with path.open("wb") as out:
        writer = dpkt.pcap.Writer(out, nano=True)
        for at_s, payload in packets:
            udp = dpkt.udp.UDP(sport=2368, dport=port, data=payload)
            udp.ulen = len(udp)
            ip = dpkt.ip.IP(src=b"\xc0\xa8\x01\xc9", dst=b"\xff" * 4, p=dpkt.ip.IP_PROTO_UDP, data=udp)
            ip.len = len(ip)
            frame = dpkt.ethernet.Ethernet(type=dpkt.ethernet.ETH_TYPE_IP, data=ip)
            writer.writepkt(bytes(frame), START_S + at_s + delay_s)
    return path


def check_room(sweep):
    """Every point is on the wall or on the ground."""
    flat = np.hypot(sweep.xyz[:, 0], sweep.xyz[:, 1])
    on_wall, on_ground = np.abs(flat - WALL_M) < 0.003, np.abs(sweep.xyz[:, 2] - GROUND_M) < 0.003
    assert (on_wall | on_ground).all()
    assert on_wall.any()
    assert on_ground.any()


def test_a_vlp_16(tmp_path):
    recording = VelodyneCapture(capture(tmp_path / "a.pcap", puck(0.25)))
    sweeps = list(recording)
    assert recording.errors == []
    assert len(sweeps) == len(recording) == 3
    assert [s.header.seq for s in sweeps] == [0, 1, 2]
    for sweep in sweeps:
        check_room(sweep)
        assert sweep.t.min() == 0
    whole = sweeps[1]
    assert len(whole.xyz) == pytest.approx(0.1e6 / 55.296 * 16, abs=32)
    assert whole.t.max() == pytest.approx(0.1, abs=2e-4)
    assert whole.header.stamp_ns == pytest.approx(START_S * 1e9 + 1e8, abs=2e5)
    # Each laser's own azimuth, which is its own time's: x ahead at zero, y to the left, the turn clockwise.
    azimuth = np.degrees(np.arctan2(-whole.xyz[:, 1], whole.xyz[:, 0])) % 360
    measured_s = (whole.header.stamp_ns - START_S * 1e9) * 1e-9 + whole.t.astype(np.float64)
    error = (azimuth - measured_s * 3600 + 180) % 360 - 180
    assert np.abs(error).max() < 0.02
    # The lowest laser is ring 0; laser 0, which is the lowest, had reflectivity 100.
    up = np.array([np.median(whole.xyz[whole.ring == k, 2]) for k in range(16)])
    assert (np.diff(up[8:]) > 0).all()
    np.testing.assert_allclose(whole.intensity[whole.ring == 0], 100 / 255, atol=1e-6)
    np.testing.assert_allclose(whole.intensity[whole.ring == 15], 115 / 255, atol=1e-6)
    assert recording.rig.lidars["lidar"].pose.matrix[2, 3] == pytest.approx(1.8, abs=0.01)
    assert "1.80 m above the ground that its first sweep shows" in recording.notes[0]


def test_two_returns(tmp_path):
    """The strongest of each pair; the same points as with one."""
    one = list(VelodyneCapture(capture(tmp_path / "a.pcap", puck(0.25))))
    two = list(VelodyneCapture(capture(tmp_path / "b.pcap", puck(0.25, dual=True))))
    assert len(one) == len(two) == 3
    for a, b in zip(one[:2], two[:2]):
        check_room(b)
        assert abs(len(a.xyz) - len(b.xyz)) <= 32
        np.testing.assert_allclose(np.diff(np.unique(b.t.round(7)))[:15], 2.304e-6, atol=2e-7)


def test_an_hdl_32e_and_a_hi_res(tmp_path):
    sweeps = list(VelodyneCapture(capture(tmp_path / "a.pcap", hdl_32(0.22))))
    assert len(sweeps) == 3
    check_room(sweeps[1])
    assert set(sweeps[1].ring) == set(range(32))
    angles = [-10, 0.67, -8.67, 2, -7.33, 3.33, -6, 4.67, -4.67, 6, -3.33, 7.33, -2, 8.67, -0.67, 10]
    heights = [7.4, -0.9, 6.5, -1.8, 5.5, -2.7, 4.6, -3.7, 3.7, -4.6, 2.7, -5.5, 1.8, -6.5, 0.9, -7.4]
    hi_res = puck(0.25, product=0x24, elevations=angles, heights=heights)
    check_room(list(VelodyneCapture(capture(tmp_path / "b.pcap", hi_res)))[1])


# Table 9-6 of the VLP-32C's manual, from the top: elevation, laser; lasers 4.2 degrees aside, others 1.4.
VLP_32C = [(15, 29), (10.333, 30), (7, 25), (4.667, 26), (3.333, 21), (2.333, 22), (1.667, 17), (1.333, 13)]
VLP_32C += [(1, 18), (0.667, 14), (0.333, 9), (0, 5), (-0.333, 10), (-0.667, 6), (-1, 1), (-1.333, 31)]
VLP_32C += [(-1.667, 2), (-2, 28), (-2.333, 27), (-2.667, 23), (-3, 24), (-3.333, 20), (-3.667, 19), (-4, 15)]
VLP_32C += [(-4.667, 16), (-5.333, 12), (-6.148, 11), (-7.254, 8), (-8.843, 7), (-11.31, 4), (-15.639, 3)]
VLP_32C += [(-25, 0)]
FAR_ASIDE = (6, 12, 14, 20, 28, 1, 9, 17, 19, 27)


def vlp_32c(seconds):
    """A firing of 16 pairs in a block; ranges in units of 4 mm."""
    returns = [(seen_m(elevation) / 2, laser) for elevation, laser in VLP_32C]
    returns.sort(key=lambda one: one[1])
    for k in range(round(seconds * 1e6 / (12 * 55.296))):
        at_us = k * 12 * 55.296
        blocks = [((at_us + b * 55.296) * 1e-6 * 3600, returns) for b in range(12)]
        yield at_us * 1e-6, packet(blocks, at_us, 0x37, 0x28)


def test_a_vlp_32c(tmp_path):
    """Even lasers look ahead of the block's azimuth, odd ones behind it; two fire at once."""
    sweeps = list(VelodyneCapture(capture(tmp_path / "a.pcap", vlp_32c(0.22))))
    assert len(sweeps) == 3
    sweep = sweeps[1]
    flat = np.hypot(sweep.xyz[:, 0], sweep.xyz[:, 1])
    assert (np.minimum(np.abs(flat - WALL_M), np.abs(sweep.xyz[:, 2] - GROUND_M)) < 0.006).all()
    azimuth = np.degrees(np.arctan2(-sweep.xyz[:, 1], sweep.xyz[:, 0]))
    turned = ((sweep.header.stamp_ns - START_S * 1e9) * 1e-9 + sweep.t.astype(np.float64)) * 3600
    laser = np.round(sweep.intensity * 255).astype(int)
    aside = np.where(np.isin(laser, FAR_ASIDE), 4.2, 1.4) * np.where(laser % 2, -1, 1)
    assert np.abs((azimuth - turned - aside + 180) % 360 - 180).max() < 0.02
    from_the_top = np.array([laser for _, laser in VLP_32C])
    np.testing.assert_array_equal(from_the_top[31 - sweep.ring], laser)
    after_us = (sweep.t[laser == 31][0] - sweep.t[laser == 0][0]) * 1e6
    assert after_us % 55.296 == pytest.approx(15 * 2.304, abs=0.1)


def test_into_a_log(tmp_path):
    recording = VelodyneCapture(capture(tmp_path / "a.pcap", puck(0.25)), lidar_height_m=2.0)
    result = import_recording(recording, tmp_path / "a.mcap")
    assert result.errors == ()
    with logs.open(tmp_path / "a.mcap") as log:
        assert [len(p.xyz) for p in log] == [len(p.xyz) for p in recording]
        assert log.rig.lidars["lidar"].pose.matrix[2, 3] == 2.0


def test_the_hour(tmp_path):
    """A capture over the top of an hour, the capture's clock a little slow: stamps run on."""
    packets = puck(0.35, offset_us=3_600_000_000 - 150_000)
    recording = VelodyneCapture(capture(tmp_path / "a.pcap", packets, delay_s=-0.15 - 0.002))
    stamps = [s.header.stamp_ns for s in recording]
    np.testing.assert_allclose(np.diff(stamps), 1e8, atol=3e5)
    assert stamps[0] == pytest.approx((START_S - 0.15) * 1e9, abs=3e5)
    assert len(recording.notes) == 1  # of the height alone


def test_a_clock_without_gps(tmp_path):
    """It counts from its start: the quickest packet tells, and the others' delays do not show."""
    packets = [(at + 0.003 * (k % 7), p) for k, (at, p) in enumerate(puck(0.35, offset_us=1_234_567_890.0))]
    recording = VelodyneCapture(capture(tmp_path / "a.pcap", sorted(packets), delay_s=0.0))
    stamps = [s.header.stamp_ns for s in recording]
    assert stamps[0] == pytest.approx(START_S * 1e9, abs=3e5)
    np.testing.assert_allclose(np.diff(stamps), 1e8, atol=3e5)
    assert "clock is not set by GPS" in recording.notes[0]


def test_packets_twice_and_out_of_order(tmp_path):
    """As a network may do; nothing of it is seen in the sweeps."""
    packets = puck(0.25)
    rng = np.random.default_rng(0)
    sent = [(k + rng.uniform(0, 8), payload) for k, (_, payload) in enumerate(packets)]
    sent += [(k + rng.uniform(0, 8), payload) for k, (_, payload) in enumerate(packets[50:90], 50)]
    mixed = [(0.00133 * order, payload) for order, payload in sorted(sent, key=lambda one: one[0])]
    before = list(VelodyneCapture(capture(tmp_path / "a.pcap", packets)))
    recording = VelodyneCapture(capture(tmp_path / "b.pcap", mixed))
    for a, b in zip(before, recording, strict=True):
        for field in ("xyz", "intensity", "t", "ring"):
            np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
    assert recording.errors == []


def test_lost_packets_are_said(tmp_path):
    packets = puck(0.25)
    del packets[100:110]
    recording = VelodyneCapture(capture(tmp_path / "a.pcap", packets))
    assert len(list(recording)) == 3
    assert recording.errors == [f"{tmp_path / 'a.pcap'}: sweep 1 lacks 10 packets"]
    silent = [(at if at < 0.15 else at + 1.0, p) for at, p in puck(0.15)]
    silent += [(at + 1.0, p) for at, p in puck(0.15, offset_us=1_000_000)]
    recording = VelodyneCapture(capture(tmp_path / "b.pcap", silent))
    assert len(list(recording)) == 4  # half a turn is not sewn to another, a second later


def calibration(path, **corrections):
    """A db.xml in which every laser has its own angle, and `corrections` cm."""
    lasers = ""
    for k in range(64):
        fields = {
            "id_": k,
            "rotCorrection_": 0.5 * (k % 4),
            "vertCorrection_": 2.0 - k / 2.5,
            "distCorrection_": 0,
            "distCorrectionX_": 0,
            "distCorrectionY_": 0,
            "vertOffsetCorrection_": 0,
            "horizOffsetCorrection_": 0,
        } | corrections
        lasers += "<item><px>" + "".join(f"<{n}>{v}</{n}>" for n, v in fields.items()) + "</px></item>"
    path.write_text(
        '<?xml version="1.0"?><boost_serialization><DB><distLSB_>0.2</distLSB_>'
        f"<points_>{lasers}</points_></DB></boost_serialization>"
    )
    return path


def hdl_64(seconds, metres=None):
    """Pairs of blocks, the upper lasers and the lower, six of them in 288 us."""
    all_lasers = [(metres or seen_m(2.0 - k / 2.5), k) for k in range(64)]
    banks, flags = (all_lasers[:32], all_lasers[32:]), [0xEEFF, 0xDDFF] * 6
    for k in range(round(seconds * 1e6 / 288)):
        blocks = []
        for b in range(12):
            azimuth = (k * 288 + b // 2 * 48) * 1e-6 * 3600
            blocks.append((azimuth, banks[b % 2]))
        yield k * 288e-6, packet(blocks, k * 288, 0, 0, flags)


def test_an_hdl_64e(tmp_path):
    path = capture(tmp_path / "a.pcap", hdl_64(0.22))
    with pytest.raises(LogError, match=r"an HDL-64E, .*--calibration FILE"):
        VelodyneCapture(path)
    sweeps = list(VelodyneCapture(path, calibration=calibration(tmp_path / "db.xml")))
    assert len(sweeps) == 3
    check_room(sweeps[1])
    assert sweeps[1].t.max() == pytest.approx(0.1, abs=3e-4)
    laser_63 = sweeps[1].ring == 0  # the lowest
    np.testing.assert_allclose(sweeps[1].intensity[laser_63], 63 / 255, atol=1e-6)


def test_the_corrections_of_an_hdl_64e(tmp_path):
    """Worked out by hand for laser 5, level, at azimuth 0, of which its own is 0.5 degrees less."""
    path = capture(tmp_path / "a.pcap", hdl_64(0.005, metres=20.0))
    corrections = {
        "rotCorrection_": 0.5,
        "vertCorrection_": 0.0,
        "distCorrection_": 130.0,
        "distCorrectionX_": 120.0,
        "distCorrectionY_": 110.0,
        "vertOffsetCorrection_": 20.0,
        "horizOffsetCorrection_": 2.6,
    }
    (sweep,) = VelodyneCapture(path, calibration=calibration(tmp_path / "db.xml", **corrections))
    sin, cos = np.sin(np.radians(-0.5)), np.cos(np.radians(-0.5))
    x, y = abs(21.3 * sin - 0.026 * cos), abs(21.3 * cos + 0.026 * sin)
    for_x = 20 + 1.2 + 0.1 * (x - 2.4) / (25.04 - 2.4)
    for_y = 20 + 1.1 + 0.2 * (y - 1.93) / (25.04 - 1.93)
    expected = [for_y * cos + 0.026 * sin, -(for_x * sin - 0.026 * cos), 0.2]
    np.testing.assert_allclose(sweep.xyz[5], expected, atol=1e-5)


@pytest.mark.parametrize("text", ["", "<a/>", "not xml", "<DB><px><id_>99</id_></px></DB>", "<DB><px/></DB>"])
def test_a_calibration_that_is_none(tmp_path, text):
    path = capture(tmp_path / "a.pcap", hdl_64(0.01))
    (tmp_path / "db.xml").write_text(text)
    with pytest.raises(LogError, match=r"db\.xml: not an HDL-64E's db\.xml"):
        VelodyneCapture(path, calibration=tmp_path / "db.xml")
    with pytest.raises(LogError, match="cannot be read"):
        VelodyneCapture(path, calibration=tmp_path / "absent.xml")


def test_captures_of_others(tmp_path):
    with pytest.raises(
        LogError, match=r"packets of a Velarray; read are those of VLP-16, .* velodyne_driver"
    ):
        VelodyneCapture(capture(tmp_path / "a.pcap", puck(0.01, product=0x31)))
    with pytest.raises(LogError, match=r"no Velodyne packets \(1206 bytes\) to port 2368; --port"):
        VelodyneCapture(capture(tmp_path / "b.pcap", puck(0.01), port=2370))
    assert len(VelodyneCapture(tmp_path / "b.pcap", port=2370)) == 1
    dark = [(at, packet([(0, [(0, 0)] * 32)] * 12, 0, 0x37, 0x22)) for at, _ in puck(0.01)]
    with pytest.raises(LogError, match="no packet holds a return"):
        VelodyneCapture(capture(tmp_path / "c.pcap", dark))


def test_damage(tmp_path):
    path = capture(tmp_path / "a.pcap", puck(0.15))
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(5):
        data = bytearray(whole)
        for at in rng.integers(24, len(data), 100):
            data[at] = rng.integers(0, 256)
        path.write_bytes(data)
        with suppress(FusionError):
            for sweep in VelodyneCapture(path):
                assert np.isfinite(sweep.xyz).all()
