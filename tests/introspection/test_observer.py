"""A run with a node, a program that is no node, and readers; the observer beside them."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

from fusion_rt.bus import Bus, BusConfig, Publisher, endpoints
from fusion_rt.introspection import Observer, nearest
from fusion_rt.messages import Header, Image, ImuSample


@pytest.fixture
def config():
    folder = Path(tempfile.mkdtemp(prefix="frt-"))
    yield BusConfig(run_dir=str(folder / "run"))
    assert list(folder.iterdir()) == []
    shutil.rmtree(folder)


def header(seq):
    return Header(sensor_id="s", frame_id="s", seq=seq, stamp_ns=seq)


def imu(seq):
    return ImuSample(header=header(seq), specific_force=(0.0, 0.0, 9.81), angular_rate=(0.0, 0.0, 0.0))


def image(seq):
    return Image(header=header(seq), height=100, width=200, encoding="mono8", data=np.zeros((100, 200), "u1"))


def looked(observer, condition, work=lambda: None):
    for _ in range(400):
        work()
        observer.look(0.02)
        found = {view.topic: view for view in observer.topics()}
        if condition(found):
            return found
    raise AssertionError(f"not seen: {found}")


def test_what_runs_is_seen(config):
    with (
        Bus(config, "camera") as bus,
        Bus(config, "fusion") as other,
        Publisher(endpoints.ipc_endpoint(other.run_dir, "mine"), "mine") as mine,
        Observer(config) as observer,
    ):
        output, inputs = bus.publisher("cam"), other.subscriber(["cam", "mine"])
        stranger = Bus(config)
        listener = stranger.subscriber(["cam"])
        assert output.wait_for_subscribers(2, 10)
        seq = 0

        def work():
            nonlocal seq
            output.send(image(seq))
            mine.send(imu(seq))
            seq += 1
            while inputs.recv(0) is not None:
                pass
            while listener.recv(0) is not None:
                pass

        found = looked(
            observer,
            lambda f: (
                {"cam", "mine"} <= f.keys()
                and f["cam"].bytes_s
                and f["cam"].other_readers == 1
                and f["mine"].rate_hz
                and f["mine"].readers
                and f["cam"].readers[0].received > 0
            ),
            work,
        )
        assert set(found) == {"cam", "mine"}
        assert (found["cam"].node, found["mine"].node) == ("camera", None)
        assert found["mine"].pid == found["cam"].pid
        assert [reader.node for reader in found["cam"].readers] == ["fusion"]
        assert found["cam"].bytes_s == pytest.approx(found["cam"].rate_hz * 20_000, rel=0.5)
        assert observer.nodes().keys() == {"camera", "fusion"}
        stranger.close()
        looked(observer, lambda f: f["cam"].other_readers == 0, lambda: output.send(image(0)))


def test_an_observer_that_stands_still_holds_up_nobody(config):
    """Not even a `log` topic, whose publisher waits for its readers, and holds no slot."""
    with Bus(config) as bus, Observer(config) as observer:
        log, cam = bus.publisher("log", "log"), bus.publisher("cam", slots=2)
        observer.look(0.1)
        assert log.wait_for_subscribers(1, 10)
        assert cam.wait_for_subscribers(1, 10)
        for seq in range(5000):
            assert log.send(imu(seq))
            assert cam.send(image(seq))
        found = looked(
            observer,
            lambda f: f["cam"].rate_hz and f["log"].rate_hz,
            lambda: cam.send(image(0)) and log.send(imu(0)),
        )
        assert found["log"].readers == ()


def test_a_publisher_that_is_dead_is_not_shown(config):
    with Bus(config) as bus:
        (bus.run_dir / "old.lock").write_text("99999")
        publisher = bus.publisher("new")
        assert endpoints.published(bus.run_dir).keys() == {"new"}
        publisher.close()
        assert endpoints.published(bus.run_dir) == {}


def test_the_nearest_names():
    assert "did you mean 'camera'? there are: camera, imu" in str(nearest("camra", ["imu", "camera"], "/r"))
    assert "nothing is published in /r" in str(nearest("x", [], "/r"))
