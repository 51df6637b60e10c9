import shutil

import pytest

from fusion_rt.bench.home import measure, table
from fusion_rt.errors import ConfigError, NodeError


def test_every_event_comes_through():
    pytest.importorskip("paho.mqtt")
    if shutil.which("mosquitto") is None:
        pytest.skip("mosquitto is not installed (Debian: apt install mosquitto)")
    result = measure.measure(seconds=1.5, rate_hz=20.0, home="stand-in")
    total = result.tails[0]
    assert total.sent > 10
    assert total.ms.count == total.sent == sum(tail.sent for tail in result.tails[1:])
    assert {tail.kind for tail in result.tails} == {"all", "contact", "motion", "radar"}
    assert set(result.cpu) == {"home", "homeassistant"}
    assert "| contact |" in table.markdown(result)


def test_without_a_broker(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match="apt install mosquitto"):
        measure.measure(seconds=1.0)


def test_a_broker_that_is_not_there(brokers, monkeypatch):
    pytest.importorskip("paho.mqtt")
    from fusion_rt.sinks.mqtt import Broker

    monkeypatch.setattr(measure, "STARTS_S", 1.0)
    with pytest.raises(NodeError, match="no state came"):
        measure.measure(
            seconds=1.0, broker=Broker(host="127.0.0.1", port=brokers.free_port()), home="stand-in"
        )
