"""Scenes on the bus, orders at a real broker."""

import json
import threading
import time

import pytest
from fusion_rt.nodes import control as node

from fusion_rt import telling
from fusion_rt.bus import Bus, BusConfig
from fusion_rt.control import audit
from fusion_rt.errors import ConfigError

RULES = """
rules:
  voice: {when: {intent: [turn_on, turn_off]}, then: [{device: asked, command: asked}]}
  lamp: {when: {room: living, occupied: true}, then: [{device: living_lamp, command: on}]}
"""


@pytest.fixture
def broker(brokers, tmp_path):
    found = brokers.any_broker(brokers.free_port(), tmp_path)
    yield found
    found.stop()


@pytest.fixture
def start(bus, tmp_path):
    """Settings of the node -> what it has told of itself."""
    (tmp_path / "rules.yaml").write_text(RULES)
    running, errors = [], []

    def begin(port, **more):
        config = node.ControlConfig(
            host="127.0.0.1",
            port=port,
            plan="flat",
            rules=str(tmp_path / "rules.yaml"),
            audit=str(tmp_path / "audit.jsonl"),
            **more,
        )
        own = Bus(BusConfig(run_dir=str(bus.run_dir)), "control")

        def guarded():
            try:
                node.run(config, own)
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=guarded)
        thread.start()
        running.append((own, thread))
        return own

    yield begin
    for own, thread in running:
        own.stop()
        thread.join()
        own.close()
    assert errors == []


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_from_a_scene_to_the_broker(bus, broker, brokers, start, tmp_path, make_scene):
    make = make_scene
    with bus.publisher("scene") as scenes:
        control = start(broker.port)
        scenes.wait_for_subscribers(1, 10)
        seq = 0

        def say(*rooms, **more):
            nonlocal seq
            seq += 1
            scenes.send(make.scene(*rooms, seq=seq, **more))

        say(make.room("living", False))
        say(make.room("living", True))
        until(lambda: control.detail.get("failed") == 1)  # no broker: not done, and not done later
        broker.start()
        listener = brokers.Listener(broker.port, "zigbee2mqtt/#", "fusion_rt/#")
        say(make.room("living", False))
        until(lambda: say(make.room("living", False)) or control.detail.get("connected"))
        say(make.room("living", True))
        topic, payload, retained = listener.until(lambda *_: True)
        assert (topic, json.loads(payload), retained) == (
            "zigbee2mqtt/living_lamp/set",
            {"state": "ON"},
            False,
        )
        # The lamp's own report is nobody's order, and starts nothing.
        listener.say("zigbee2mqtt/living_lamp", '{"state": "ON"}')
        asked = make.intent("turn_off", "living", kind="light", stamp_ns=make.START_NS + seq * make.S // 5)
        say(make.room("living", True), intents=[asked])
        say(make.room("living", True), intents=[asked])
        sent = [m for m in listener.all(0.5) if m[0].endswith("/set")]
        assert [json.loads(payload) for _, payload, _ in sent] == [{"state": "OFF"}]
        # Rules can be told to rest.
        telling.tell(bus, "control", "pause")
        until(lambda: say(make.room("living", False)) or control.detail["paused"])
        say(make.room("living", True))
        assert listener.all(0.5) == []
        listener.close()
    records = list(audit.read(tmp_path / "audit.jsonl"))
    assert [(r["rule"], r["command"], r["result"]) for r in records] == [
        ("lamp", "on", "failed"),
        ("lamp", "on", "sent"),
        ("voice", "off", "sent"),
    ]
    assert records[0]["reason"]
    assert records[2]["why"]["intent"] == "turn_off"
    assert records[2]["topic"] == "zigbee2mqtt/living_lamp/set"


def test_dry_run(bus, broker, brokers, start, tmp_path, make_scene):
    broker.start()
    listener = brokers.Listener(broker.port)
    with bus.publisher("scene") as scenes:
        control = start(broker.port, dry_run=True)
        scenes.wait_for_subscribers(1, 10)
        for seq, occupied in enumerate([False, True]):
            scenes.send(make_scene.scene(make_scene.room("living", occupied), seq=seq))
        until(lambda: control.detail.get("dry_run") == 1)
        assert listener.all(0.3) == []
    listener.close()
    assert [r["result"] for r in audit.read(tmp_path / "audit.jsonl")] == ["dry_run"]


def test_a_broker_elsewhere_asks_who_we_are():
    with pytest.raises(ConfigError, match="password_file"):
        node.ControlConfig(host="mqtt.example", plan="flat", rules="rules")
