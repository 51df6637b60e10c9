import shutil

import cv2
import pytest

from fusion_rt.bench.home import furnished, measure, table, whole, whole_table
from fusion_rt.bench.home.film import film
from fusion_rt.errors import ConfigError, NodeError
from fusion_rt.sensors.people import PeopleFinder


def test_every_event_comes_through():
    pytest.importorskip("paho.mqtt")
    if shutil.which("mosquitto") is None:
        pytest.skip("mosquitto is not installed (Debian: apt install mosquitto)")
    result = measure.measure(seconds=1.5, rate_hz=20.0)
    total = result.tails[0]
    assert total.sent > 10
    assert total.ms.count == total.sent == sum(tail.sent for tail in result.tails[1:])
    assert {tail.kind for tail in result.tails} == {"all", "contact", "motion", "radar"}
    assert set(result.cpu) == {"stand-in", "homeassistant"}
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
        measure.measure(seconds=1.0, broker=Broker(host="127.0.0.1", port=brokers.free_port()))


def test_a_whole_home_answers_and_says_what_it_takes():
    """Without cameras; the film that they are shown has a test of its own."""
    pytest.importorskip("paho.mqtt")
    if shutil.which("mosquitto") is None:
        pytest.skip("mosquitto is not installed (Debian: apt install mosquitto)")
    result = whole.measure(cameras=(0,), seconds=2.0, rate_hz=10.0)
    (setup,) = result.setups
    assert {"mosquitto", "home", "household", "homeassistant"} <= {process.name for process in setup.taken}
    assert all(process.rss_mb > 1 for process in setup.taken)
    everything = setup.answers[0]
    assert everything.sent == sum(answer.sent for answer in setup.answers[1:]) > 5
    assert everything.ms.count > 0
    assert {f.what for f in whole_table.figures(result)} == {"event p50, 0 cameras", "event p99, 0 cameras"}
    assert "| 0 | events: contact |" in whole_table.markdown(result)


def test_the_home_that_is_measured_is_the_one_of_the_issue():
    plan = furnished.whole_home(4)
    plan.check("whole")
    kinds = [sensor.kind for sensor in plan.sensors.values()]
    assert (len(plan.rooms), kinds.count("camera"), kinds.count("microphone")) == (10, 4, 2)
    assert len(kinds) - 6 == 40


def test_a_network_for_people_finds_who_walks_in_the_film(tmp_path):
    try:
        finder = PeopleFinder.load(None, variant="lite", threads=1, score=0.5, most=4)
    except ConfigError as error:
        pytest.skip(str(error))
    film(tmp_path / "film.avi")
    capture = cv2.VideoCapture(str(tmp_path / "film.avi"))
    found = []
    for i in range(60):
        _, frame = capture.read()
        if i % 20 == 10:
            found.append(len(finder.find(frame).scores))
    assert found == [1, 1, 1]
