import json
import os
import shlex
import subprocess
from pathlib import Path

import msgspec
import pytest

from fusion_rt.homeassistant import discovery, states
from fusion_rt.plan import Plan, Sensor
from fusion_rt.scene import ACTIVITIES

HOME_ASSISTANT = "FUSION_RT_HOME_ASSISTANT"  # a command that is a Python with Home Assistant


def devices(plan, topics, **changes):
    return discovery.devices(plan, topics, **({"heartbeat_s": 30.0, "health_period_s": 10.0} | changes))


def every(found):
    return [component for device in found.values() for component in device["components"].values()]


def test_the_kitchen_is_announced_as_agreed(plan, topics):
    found = devices(plan, topics)
    assert next(iter(found)) == "fusion_rt_home"  # the hub, which the others refer to
    assert list(found)[1:] == [f"fusion_rt_home_{room}" for room in plan.rooms]
    kitchen = found["fusion_rt_home_kitchen"]
    assert kitchen["device"]["identifiers"] == ["fusion_rt_home_kitchen"]
    assert kitchen["device"]["name"] == "Kitchen presence"
    assert kitchen["device"]["via_device"] == "fusion_rt_home"
    assert kitchen["device"]["suggested_area"] == "Kitchen"
    assert kitchen["availability"] == [{"topic": "fusion_rt/home/status"}]
    assert kitchen["state_topic"] == "fusion_rt/home/room/kitchen/state"
    parts = kitchen["components"]
    assert set(parts) == {
        *("occupancy", "people", "activity", "event", "hold", "microphone", "doorbell", "motion", "smoke")
    }
    assert parts["occupancy"] == {
        "platform": "binary_sensor",
        "unique_id": "fusion_rt_home_kitchen_occupancy",
        "default_entity_id": "binary_sensor.home_kitchen_occupancy",
        "name": "Occupancy",
        "device_class": "occupancy",
        "value_template": "{{ value_json.occupied }}",
        "payload_on": "ON",
        "payload_off": "OFF",
        "expire_after": 90,
        "qos": 1,
        "json_attributes_topic": "fusion_rt/home/room/kitchen/why",
    }
    assert parts["activity"]["options"] == list(ACTIVITIES)
    assert "unit_of_measurement" not in parts["activity"]
    assert "state_class" not in parts["activity"]
    assert parts["hold"]["command_topic"] == "fusion_rt/home/set/kitchen_hold"
    assert parts["microphone"]["unique_id"] == "fusion_rt_home_kitchen_mic"
    assert parts["event"]["state_topic"] == "fusion_rt/home/room/kitchen/event"
    assert "doorbell" not in parts["event"]["event_types"]
    assert parts["doorbell"]["event_types"] == ["ring"]
    # A room has what its sensors can tell, and no more.
    assert set(found["fusion_rt_home_bedroom"]["components"]) == {
        *("occupancy", "people", "activity", "event", "hold")
    }


def test_names_are_for_one_thing_each_and_never_change(plan, topics):
    found = devices(plan, topics, rules=True)
    identities = [component["unique_id"] for component in every(found)]
    assert len(set(identities)) == len(identities)
    assert len({component["default_entity_id"] for component in every(found)}) == len(identities)
    renamed = {
        slug: msgspec.structs.replace(room, name="Other", hold_s=77.0) for slug, room in plan.rooms.items()
    }
    other = devices(msgspec.structs.replace(plan, rooms=renamed), topics, rules=True, heartbeat_s=5.0)
    assert [component["unique_id"] for component in every(other)] == identities
    assert all(set(object_id) <= set("abcdefghijklmnopqrstuvwxyz0123456789_") for object_id in found)


def test_what_is_told_expires_only_after_three_beats(plan, topics):
    for component in every(devices(plan, topics, heartbeat_s=20.5, health_period_s=7.0)):
        if component["platform"] in ("sensor", "binary_sensor"):
            hub = component["unique_id"].removeprefix("fusion_rt_home_") in (
                *("latency_p50", "latency_p99", "drops", "missing"),
            )
            assert component["expire_after"] == (21 if hub else 62)
        else:
            assert "expire_after" not in component


def test_a_room_with_a_presence_sensor(plan, topics):
    sensors = plan.sensors | {"bed": Sensor(kind="presence", room="bedroom")}
    found = devices(msgspec.structs.replace(plan, sensors=sensors), topics)
    assert found["fusion_rt_home_bedroom"]["components"]["presence"]["device_class"] == "presence"


def test_a_name_that_is_an_attack_is_only_a_name(plan, topics):
    name = "Kü\x00che\n{{ states('lock.door') }}\u202e<script>" + "x" * 500
    rooms = plan.rooms | {
        "kitchen": msgspec.structs.replace(plan.rooms["kitchen"], name=name),
        "hall": msgspec.structs.replace(plan.rooms["hall"], name="\x00\n"),
    }
    found = devices(msgspec.structs.replace(plan, rooms=rooms), topics)
    shown = found["fusion_rt_home_kitchen"]["device"]["name"]
    assert shown.isprintable()
    assert len(shown) <= discovery.NAME_CHARACTERS + len(" presence")
    assert found["fusion_rt_home_hall"]["device"]["name"] == "hall presence"
    templates = [v for c in every(found) for k, v in c.items() if k.endswith("template")]
    assert not [text for text in templates if "lock.door" in text]  # templates are ours alone


def test_without_some_components(plan, topics):
    device = devices(plan, topics)["fusion_rt_home_kitchen"]
    gone = discovery.without(device, {"window": "binary_sensor"})
    assert gone["components"]["window"] == {"platform": "binary_sensor"}
    assert gone["components"]["people"] == device["components"]["people"]
    assert "window" not in device["components"]


@pytest.fixture(scope="session")
def home_assistant():
    """What Home Assistant itself makes of our messages."""
    command = os.environ.get(HOME_ASSISTANT)
    if not command:
        pytest.skip(f"{HOME_ASSISTANT} names no Python with Home Assistant (docs/homeassistant.md)")
    script = (Path(__file__).parent / "check_by_home_assistant.py").read_text(encoding="utf-8")

    def ask(found, topics, messages):
        asked = {
            "devices": {topics.config(object_id): device for object_id, device in found.items()},
            "messages": {topic: [p.decode() for p in payloads] for topic, payloads in messages.items()},
        }
        done = subprocess.run(
            [*shlex.split(command), "-c", script],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)["components"]

    return ask


def test_home_assistants_own_schemas_and_templates(home_assistant, plan, topics, make):
    sensors = plan.sensors | {"bed": Sensor(kind="presence", room="kitchen")}
    full = msgspec.structs.replace(plan, sensors=sensors)
    assert isinstance(full, Plan)
    found = devices(full, topics, rules=True)
    direct = [{"motion": True, "smoke": None, "presence": False}]
    messages = {
        topics.state("kitchen"): [
            states.encode(states.room_state(make.room("kitchen", True), make.START_NS, said))
            for said in direct
        ],
        topics.event("kitchen"): [
            states.encode(states.event(make.event(kind))) for kind in ("fall", "doorbell")
        ],
        topics.health: [
            states.encode({"p50_ms": 1.5, "p99_ms": 7.0, "drops": 3, "sensors_missing": ["a", "b"]})
        ],
    }
    seen = home_assistant(found, topics, messages)
    assert set(seen) == {component["unique_id"] for component in every(found)}
    rendered = {key.removeprefix("fusion_rt_home_"): value["rendered"] for key, value in seen.items()}
    assert rendered["kitchen_occupancy"] == ["ON"]
    assert rendered["kitchen_people"] == ["1"]
    assert rendered["kitchen_activity"] == ["other"]
    assert rendered["kitchen_motion"] == ["ON"]
    assert rendered["kitchen_smoke"] == ["None"]  # unknown, to Home Assistant
    assert rendered["kitchen_presence"] == ["OFF"]
    assert rendered["missing"] == ["2"]
    assert rendered["latency_p99"] == ["7.0"]
    fall, ring = rendered["kitchen_event"]
    assert json.loads(fall)["event_type"] == "fall"
    assert ring == "{}"  # Home Assistant's word for no event
    fall, ring = rendered["kitchen_doorbell"]
    assert fall == "{}"
    assert json.loads(ring)["event_type"] == "ring"
    assert json.loads(ring)["id"] == "fall-1"
