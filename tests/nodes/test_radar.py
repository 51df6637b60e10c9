"""Over real pseudo terminals and sockets."""

import os
import socket
import struct
import threading
import tty
from contextlib import contextmanager, suppress

import numpy as np
import pytest
from fusion_rt.nodes.radar import RadarConfig, run

from fusion_rt.errors import ConfigError, NodeError

LD2450 = bytes.fromhex("AAFF0300 0E03B18610004001 0000000000000000 0000000000000000 55CC")
LD2410 = bytes.fromhex("F4F3F2F1 0D00 02AA 02 5100 00 3C00 3B 0000 5500 F8F7F6F5")
NOBODY = LD2410[:8] + b"\0" + LD2410[9:]


def ti_frame(number):
    head = struct.pack("<8I", 0x03050004, 64, 0xA6843, number, 0, 1, 1, 0)
    points = struct.pack("<II4f", 1, 16, 1, 2, 0.5, -0.3)
    return b"\x02\x01\x04\x03\x06\x05\x08\x07" + head + points


@pytest.fixture(autouse=True)
def _needs_pyserial():
    pytest.importorskip("serial", reason="pyserial is not installed (extra home)")


@pytest.fixture
def terminal():
    """(our end, the path that a driver opens)"""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    yield ours, os.ttyname(theirs)
    for end in (ours, theirs):
        with suppress(OSError):
            os.close(end)


@contextmanager
def running(config, bus):
    failed = []

    def guarded():
        try:
            run(config, bus)
        except Exception as error:
            failed.append(error)

    node = threading.Thread(target=guarded)
    node.start()
    try:
        yield failed
    finally:
        bus.stop()
        node.join()


def test_targets_from_a_port(bus, terminal):
    ours, path = terminal
    with (
        bus.subscriber(["living_radar"], keep_all=True) as inputs,
        running(RadarConfig(sensor_id="living_radar", model="ld2450", port=path, mirrored=True), bus),
    ):
        packet = None
        while packet is None:
            os.write(ours, b"\x17noise" + LD2450)
            packet = inputs.recv(0.1)
    np.testing.assert_allclose(packet.xyz, [[1.713, -0.782, 0]], rtol=1e-6)  # mirrored
    assert packet.header.frame_id == "living_radar"
    assert bus.detail["garbage_bytes"] >= 6


def test_a_port_that_is_unplugged_and_comes_back(bus, tmp_path, capfd):
    link = tmp_path / "radar"
    config = RadarConfig(sensor_id="r", model="ld2450", port=str(link))
    seqs = []
    with bus.subscriber(["r"], keep_all=True) as inputs, running(config, bus):
        for _ in range(2):
            ours, theirs = os.openpty()
            tty.setraw(theirs)
            link.symlink_to(os.ttyname(theirs))
            packet = None
            while packet is None:
                os.write(ours, LD2450)
                packet = inputs.recv(0.1)
            seqs.append(packet.header.seq)
            os.close(ours)
            os.close(theirs)
            link.unlink()
            before = bus.detail.get("reopened", 0)
            while bus.detail.get("reopened", 0) <= before:
                bus.wait(0.02)
    assert seqs[1] > seqs[0]
    assert "trying again" in capfd.readouterr().err


def test_points_over_a_network(bus):
    """As ser2net gives them; numbers of frames that the device counts go into the stamps."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        config = RadarConfig(
            sensor_id="r", model="ti_mmwave", port=f"tcp://127.0.0.1:{server.getsockname()[1]}"
        )
        with bus.subscriber(["r"], keep_all=True) as inputs, running(config, bus):
            client, _ = server.accept()
            with client:
                stamps, number = [], 0
                while len(stamps) < 30:
                    client.sendall(ti_frame(number))
                    number += 1
                    packet = inputs.recv(0.05)
                    if packet is not None:
                        stamps.append(packet.header.stamp_ns)
                        np.testing.assert_allclose(packet.xyz, [[2, -1, 0.5]])
    assert (np.diff(stamps) > 0).all()


def test_presence_and_its_changes(bus, terminal):
    ours, path = terminal
    config = RadarConfig(
        sensor_id="desk", model="ld2410", port=path, motion_id="desk_motion", distance_id="desk_distance"
    )
    with (
        bus.subscriber(["desk", "desk_motion", "desk_distance"], keep_all=True) as inputs,
        running(config, bus),
    ):
        heard = {}
        while len(heard) < 3:
            os.write(ours, LD2410)
            packet = inputs.recv(0.1)
            if packet is not None:
                heard[packet.header.sensor_id] = (packet.kind, packet.value, packet.unit)
        while (packet := inputs.recv(0.1)) is None or packet.value != 0 or packet.kind != "presence":
            os.write(ours, NOBODY)
    assert heard == {
        "desk": ("presence", 1.0, ""),
        "desk_motion": ("motion", 0.0, ""),
        "desk_distance": ("distance", 0.6, "m"),
    }


def test_a_file_of_captured_bytes_ends_the_node(bus, tmp_path):
    path = tmp_path / "capture.bin"
    path.write_bytes(LD2450 * 5)
    with bus.subscriber(["r"], keep_all=True) as inputs:
        run(RadarConfig(sensor_id="r", model="ld2450", port=str(path)), bus)
        while inputs.recv(0.2) is not None:
            pass
    assert bus.detail["frames"] == 5


def test_a_radar_is_set_up_by_its_command_port(bus, terminal, tmp_path):
    ours, path = terminal
    config_file, capture = tmp_path / "room.cfg", tmp_path / "capture.bin"
    config_file.write_text("% room\nsensorStop\n\nframeCfg 0 2 % three\n")
    capture.write_bytes(ti_frame(1))
    config = RadarConfig(
        sensor_id="r", model="ti_mmwave", port=str(capture), setup=str(config_file), setup_port=path
    )
    with running(config, bus) as failed:
        for expected, answer in ((b"sensorStop\n", b"Done\n"), (b"frameCfg 0 2\n", b"Error -1: bad\n")):
            got = b""
            while not got.endswith(b"\n"):
                got += os.read(ours, 100)
            assert got == expected
            os.write(ours, answer + b"mmwDemo:/>")
        while not failed:
            bus.wait(0.02)
    assert isinstance(failed[0], NodeError)
    assert "refuses 'frameCfg 0 2'" in str(failed[0])


@pytest.mark.parametrize(
    "wrong", [{"setup": "x.cfg"}, {"targets": True}, {"motion_id": "m"}, {"distance_id": "d"}], ids=str
)
def test_settings_that_do_not_fit_the_model(wrong):
    with pytest.raises(ConfigError, match=r"r: (setup|targets|motion_id|distance_id)"):
        RadarConfig(sensor_id="r", model="ld2450", port="p", **wrong)
