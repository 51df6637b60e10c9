"""A real Zenoh router, in this process: the library has one inside."""

import json
import queue

import numpy as np
import pytest
from fusion_rt.nodes import zenoh as node

from fusion_rt.bus import Bus
from fusion_rt.errors import ConfigError
from fusion_rt.sinks import Outgoing, from_raw

zenoh = pytest.importorskip("zenoh", reason="eclipse-zenoh is not installed (extra zenoh)")


@pytest.fixture
def router(port):
    """Starts one; the last is closed."""
    opened = []

    def start():
        config = zenoh.Config()
        config.insert_json5("mode", '"router"')
        config.insert_json5("listen/endpoints", json.dumps([f"tcp/127.0.0.1:{port}"]))
        config.insert_json5("scouting/multicast/enabled", "false")
        heard = queue.Queue()
        session = zenoh.open(config)
        session.declare_subscriber("cars/7/**", lambda s: heard.put((str(s.key_expr), s.payload.to_bytes())))
        opened.append(session)
        return session, heard

    yield start
    for session in opened:
        session.close()


def until(work, condition, tries=1500):
    for _ in range(tries):
        work()
        if condition():
            return
    raise AssertionError("it did not happen")


def test_a_router_gets_messages_and_comes_back(router, port, run_node, config, samples):
    bus = run_node(
        node.run,
        node.ZenohConfig(
            endpoints=(f"tcp/127.0.0.1:{port}",),
            prefix="cars/7",
            topics={"imu": Outgoing(), "lidar": Outgoing(forms=("raw",))},
        ),
    )
    with Bus(config) as car:
        imu, lidar = car.publisher("imu"), car.publisher("lidar")

        def work():
            imu.send(samples.imu(1))
            car.wait(0.02)

        until(work, lambda: bus.detail.get("imu.left_out"))  # no router yet
        session, heard = router()
        until(work, lambda: not heard.empty())
        key, payload = heard.get()
        assert (key, json.loads(payload)["header"]["sensor_id"]) == ("cars/7/imu", "imu")
        found = {}

        def cloud():
            lidar.send(samples.cloud(5, 2000))
            car.wait(0.02)
            while not heard.empty():
                found.update([heard.get()])

        until(cloud, lambda: "cars/7/lidar/raw" in found)
        np.testing.assert_array_equal(from_raw(found["cars/7/lidar/raw"]).xyz, samples.cloud(5, 2000).xyz)
        session.close()
        until(work, lambda: not bus.detail["connected"])
        _, heard = router()
        until(work, lambda: not heard.empty())


def test_an_endpoint_that_is_none(config):
    with Bus(config) as bus, pytest.raises(ConfigError, match="zenoh"):
        node.run(node.ZenohConfig(endpoints=("nonsense",), topics={}), bus)
