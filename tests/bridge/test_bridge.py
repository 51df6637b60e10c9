"""Two buses of this machine with bridges between them, over loopback, with keys."""

import contextlib
import threading
import time

import msgspec
import numpy as np
import psutil
import pytest
import zmq

from fusion_rt.bridge import BridgeConfig, control
from fusion_rt.bus import Bus, Curve, KeyPair
from fusion_rt.config import convert
from fusion_rt.errors import BusError, ConfigError

PORT = 39540
ADDRESS = f"tcp://127.0.0.1:{PORT}"


def fetching(car, *topics, **more):
    return {"fetch": {"car": {"address": ADDRESS, "keys": [car.pair.public], "topics": topics, **more}}}


def serving(**topics):
    return {"serve": {"address": ADDRESS, "topics": topics}}


@contextlib.contextmanager
def ends(car, desk, outputs, inputs):
    """Publishers on the car's bus, a subscriber on the desk's."""
    with Bus(car.bus) as here, Bus(desk.bus) as there:
        yield {topic: here.publisher(topic) for topic in outputs}, there.subscriber(inputs)


def first(publisher, subscriber, make, tries=400):
    """Send until something arrives; it, and the next seq."""
    for seq in range(tries):
        publisher.send(make(seq))
        message = subscriber.recv(0.05)
        if message is not None:
            return message, seq + 1
    raise AssertionError("nothing arrived")


def test_every_payload(hosts, run_bridge, samples, helpers):
    pytest.importorskip("av")
    car, desk = hosts
    served = run_bridge(
        car, serving(cam={"codec": "h264", "crf": 10}, lidar={"codec": "points"}, imu={"codec": "raw"})
    )
    fetched = run_bridge(desk, fetching(car, "cam", "lidar", "imu", rename={"cam": "front"}))
    with ends(car, desk, ["cam", "lidar", "imu"], ["front", "lidar", "imu"]) as (outputs, inputs):
        image, _ = first(outputs["cam"], inputs, lambda seq: samples.image(seq, 90))
        assert np.abs(image.data.astype(int) - 90).max() <= 5  # colours in limited range
        assert image.header.stamp_ns == 1_000_000 * image.header.seq  # never rewritten
        assert [point.stage for point in image.header.trace] == ["published", "received"] * 3
        cloud, _ = first(outputs["lidar"], inputs, lambda seq: samples.cloud(seq, 3000))
        while cloud.header.sensor_id != "lidar":  # images that were on their way
            cloud = inputs.recv(10)
        sent = samples.cloud(cloud.header.seq, 3000)
        assert np.abs(cloud.xyz - sent.xyz).max() <= 0.0025 + 1e-5
        imu, following = first(outputs["imu"], inputs, samples.imu)
        while imu.header.sensor_id != "imu":
            imu = inputs.recv(10)
        for seq in range(following, following + 500):  # an event: every one, in order
            outputs["imu"].send(samples.imu(seq))
        seqs = []
        while not seqs or seqs[-1] != following + 499:
            message = inputs.recv(10)
            assert message is not None
            if message.header.sensor_id == "imu":
                seqs.append(message.header.seq)
        assert seqs[-500:] == list(range(following, following + 500))
        hop = helpers.until(lambda: fetched.received.get("imu@car"))
        assert (hop.lost, hop.malformed) == (0, 0)
        name = next(name for name in served.sent if name.startswith("imu@"))
        assert served.sent[name].published >= hop.received  # the first ones, before the desk was connected
        helpers.until(lambda: served.received[name].received == hop.received)  # the desk has told the car
        assert served.detail["peers"] == 1


def test_nobody_fetches_so_nothing_is_coded(hosts, run_bridge, samples):
    car, _ = hosts
    served = run_bridge(car, serving(cam={"codec": "jpeg"}))
    with Bus(car.bus) as bus, bus.publisher("cam") as output:
        assert output.wait_for_subscribers(1, 10)
        for seq in range(20):
            output.send(samples.image(seq))
        time.sleep(0.5)
    assert served.sent == {}


def test_a_stranger_gets_nothing_until_it_is_let_in(hosts, run_bridge, samples, capfd, monkeypatch, helpers):
    monkeypatch.setattr(control, "SILENT_S", 1.0)
    car, desk = hosts
    car.allow()
    served = run_bridge(car, serving(imu={"codec": "raw"}))
    run_bridge(desk, fetching(car, "imu"))
    helpers.until(lambda: served.detail.get("refused"))
    said = ""

    def look():
        nonlocal said
        said += capfd.readouterr().out
        return "no answer from" in said

    helpers.until(look)
    assert served.detail["peers"] == 0
    car.allow(desk)
    with ends(car, desk, ["imu"], ["imu"]) as (outputs, inputs):
        first(outputs["imu"], inputs, samples.imu)


def test_a_server_that_changes_its_key(hosts, run_bridge, samples, monkeypatch, helpers):
    """It comes back with a new pair: a peer that was told both goes on, and counts go on."""
    monkeypatch.setattr(control, "SILENT_S", 1.0)
    car, desk = hosts
    new = KeyPair.generate()
    served = run_bridge(car, serving(imu={"codec": "raw"}))
    fetched = run_bridge(
        desk,
        {"fetch": {"car": {"address": ADDRESS, "keys": [new.public, car.pair.public], "topics": ["imu"]}}},
    )
    with ends(car, desk, ["imu"], ["imu"]) as (outputs, inputs):
        first(outputs["imu"], inputs, samples.imu)
        before = helpers.until(lambda: fetched.received.get("imu@car")).received
        served.stop()
        helpers.until(lambda: not any(t.name.startswith("bridge: control") for t in threading.enumerate()))
        served.close()
        new.replace(car.folder / "pair.json")
        while inputs.recv(0) is not None:
            pass
        run_bridge(car, serving(imu={"codec": "raw"}))
        first(outputs["imu"], inputs, samples.imu)
        assert fetched.received["imu@car"].received > before


def test_a_topic_that_is_not_served(hosts, run_bridge, capfd, helpers):
    car, desk = hosts
    run_bridge(car, serving(camera={"codec": "jpeg"}))
    run_bridge(desk, fetching(car, "camra"))
    said = ""

    def look():
        nonlocal said
        said += capfd.readouterr().out
        return "does not serve camra: did you mean 'camera'? there are camera" in said

    helpers.until(look)


def test_a_peer_that_never_reads_costs_little(hosts, run_bridge, samples, helpers):
    """It subscribes as the desk does, and reads nothing; the desk is not kept waiting, nothing piles up."""
    car, desk = hosts
    run_bridge(car, serving(cam={"codec": "raw"}))
    run_bridge(desk, fetching(car, "cam"))
    big = samples.image(0)
    big = msgspec.structs.replace(big, height=1000, width=2000, data=np.zeros((1000, 2000, 3), np.uint8))

    def image(seq):
        return msgspec.structs.replace(big, header=samples.header("cam", seq))

    endpoint = f"tcp://127.0.0.1:{PORT + 1}"
    context = zmq.Context()
    idle = context.socket(zmq.SUB)
    idle.rcvhwm, idle.rcvbuf = 1, 1 << 16
    idle.subscribe(b"cam\0")
    Curve(pair=desk.pair, servers={endpoint: car.pair.public}).join(idle, endpoint)
    idle.connect(endpoint)
    try:
        with ends(car, desk, ["cam"], ["cam"]) as (outputs, inputs):
            _, following = first(outputs["cam"], inputs, image)
            for _ in range(100):  # what was sent before it had subscribed never comes
                if idle.poll(100):
                    break
                outputs["cam"].send(image(following))
                following += 1
            assert idle.poll(0)  # connected: the first one waits there
            before = psutil.Process().memory_info().rss
            for seq in range(following, following + 60):
                outputs["cam"].send(image(seq))
                message = inputs.recv(10)
            while message is not None and message.header.seq < seq:
                message = inputs.recv(10)
            assert message.header.seq == seq  # the newest came
            assert psutil.Process().memory_info().rss - before < 30 * big.data.nbytes  # 60 were sent
    finally:
        idle.close(0)
        context.term()


@pytest.mark.parametrize(
    ("bridge", "message"),
    [
        ({}, "nothing to bridge"),
        ({"serve": {"address": "10.0.0.1:7400", "topics": {}}}, "expected tcp://ADDRESS:PORT"),
        ({"serve": {"address": ADDRESS, "topics": {"a/b": {"codec": "raw"}}}}, "a/b"),
        ({"serve": {"address": ADDRESS, "topics": {"a": {"codec": "jpg"}}}}, "'jpg' is not one of"),
        (
            {"serve": {"address": ADDRESS, "topics": {"a": {"codec": "jpeg", "qualty": 3}}}},
            "did you mean 'qua",
        ),
        ({"serve": {"address": ADDRESS, "topics": {"a": {"codec": "jpeg", "quality": 300}}}}, "quality"),
        ({"fetch": {"car": {"address": ADDRESS, "topics": ["a"], "keys": ["short"]}}}, "40 characters"),
        ({"fetch": {"car": {"address": ADDRESS, "topics": ["a"], "rename": {"b": "c"}}}}, "not among"),
        (
            {"fetch": {n: {"address": ADDRESS, "topics": ["a"]} for n in ("x", "y")}},
            "fetch.y: 'a' comes from 'x' already",
        ),
    ],
)
def test_configurations_that_are_refused(bridge, message):
    with pytest.raises(ConfigError, match=message):
        convert(bridge, BridgeConfig, "test")


def test_other_hosts_need_keys(folder):
    from fusion_rt.nodes import bridge as node

    from fusion_rt.bus import BusConfig

    plain = BusConfig(run_dir=str(folder / "run"))
    for config in (
        {"serve": {"address": "tcp://0.0.0.0:39560", "topics": {"a": {"codec": "raw"}}}},
        {"fetch": {"car": {"address": "tcp://192.0.2.1:7400", "topics": ["a"]}}},
    ):
        with Bus(plain) as bus, pytest.raises(ConfigError, match="CURVE keys only"):
            node.run(msgspec.convert(config, BridgeConfig), bus)
    with pytest.raises(BusError, match="no `keys` of our own"):
        Bus(BusConfig(run_dir=str(folder / "run"), allow="somewhere"))


def test_hostile_talk():
    """What is no question is counted; what is one of another version is answered, and not remembered."""
    context = zmq.Context()
    server = control.Server(context, ADDRESS, {"a": PORT + 1}, None)
    server.start()
    asker = context.socket(zmq.DEALER)
    asker.connect(ADDRESS)
    ask = control.Ask(99, "x", 5, {})
    for data in (b"", b"\xc1", msgspec.msgpack.encode([1]), bytes(1000), msgspec.msgpack.encode(ask)):
        asker.send(data)
    assert asker.poll(10_000)
    answer = msgspec.msgpack.decode(asker.recv(), type=control.Answer)
    assert (answer.asked_ns, answer.ports, server.malformed) == (5, {"a": PORT + 1}, 4)
    assert server.peers() == []
    asker.close(0)
    server.stop()
    context.term()
