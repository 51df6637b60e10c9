import os
import signal
import threading

import pytest

from fusion_rt.bus import Bus, BusConfig, endpoints, health
from fusion_rt.errors import BusError, MessageError


@pytest.fixture
def config(run_dir):
    return BusConfig(run_dir=str(run_dir / "run"))


def test_nodes_find_each_other_by_topic(config, samples):
    with (
        Bus(config) as one,
        Bus(config) as other,
        one.publisher("cam") as output,
        other.subscriber(["cam"]) as inputs,
    ):
        assert output.wait_for_subscribers(1, 10)
        output.send(samples.image(1))
        assert inputs.recv(10).header.seq == 1


def test_the_last_one_out_removes_the_folder(config):
    one, other = Bus(config), Bus(config)
    folder = one.run_dir
    one.publisher("cam")
    assert folder.stat().st_mode & 0o777 == 0o700
    one.close()
    assert folder.is_dir()
    other.close()
    assert not folder.exists()
    other.close()


def test_folders_of_dead_runs_are_removed(run_dir):
    dead = run_dir / "dead"
    dead.mkdir(mode=0o700)
    (dead / endpoints.RUN_LOCK).touch(0o600)
    (dead / "cam").touch()
    alive = endpoints.RunFolder(run_dir / "alive")
    stranger = run_dir / "stranger"
    stranger.mkdir()
    endpoints.RunFolder(run_dir / "new").close()
    assert sorted(p.name for p in run_dir.iterdir()) == ["alive", "stranger"]
    alive.close()


def test_a_node_reports_its_health(config, samples):
    with Bus(config) as observer, observer.health(["fusion"]) as reports:
        with Bus(config, "fusion") as bus, bus.publisher("imu") as output:
            first = reports.recv(10)
            assert (first.node, first.pid, first.state) == ("fusion", os.getpid(), "starting")
            assert not bus.stopping
            bus.detail["tracks"] = 3
            output.send(samples.imu(0))
            report = reports.recv(10)
            while report.state != "running" or report.sent["imu"].published != 1:
                report = reports.recv(10)
            assert report.detail == {"tracks": 3}
            assert report.rss_bytes > 1 << 20
            assert report.loop_s >= 0
        report = reports.recv(10)
        while report.state != "stopping":
            report = reports.recv(10)


def test_two_nodes_of_one_name(config):
    with Bus(config, "fusion"), pytest.raises(BusError, match=r"health.fusion' is already published"):
        Bus(config, "fusion")


def test_signals_end_the_loop_and_are_given_back(config):
    before = signal.getsignal(signal.SIGTERM)
    with Bus(config) as bus:
        bus.stop_on_signals()
        assert not bus.stopping
        os.kill(os.getpid(), signal.SIGTERM)
        assert bus.stopping
        assert bus.wait(10)
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_orphan_stops(config):
    with Bus(config, "node", parent_pid=1 << 30) as bus:
        assert bus.wait(10)


def test_nothing_runs_on(config):
    before = threading.active_count()
    with Bus(config, "node") as bus:
        bus.publisher("a")
        bus.subscriber(["a"])
    assert threading.active_count() == before


def test_a_run_dir_too_long_for_a_socket(run_dir):
    config = BusConfig(run_dir=str(run_dir / ("x" * 100)))
    with Bus(config) as bus, pytest.raises(BusError, match="shorter run_dir"):
        bus.publisher("cam")


def test_a_configured_endpoint(run_dir):
    with Bus(BusConfig(run_dir=str(run_dir / "r"), topics={"cam": "tcp://127.0.0.1:39520"})) as bus:
        assert bus.publisher("cam").endpoint == "tcp://127.0.0.1:39520"


def test_health_that_is_none():
    with pytest.raises(MessageError, match="health"):
        health.unpack(b"\x80", [])
