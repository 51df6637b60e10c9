import json

import pytest

from fusion_rt.control import payloads
from fusion_rt.errors import ConfigError
from fusion_rt.plan import Device


def order(topic, kind, command, value=None, shape=None):
    device = Device(kind=kind, room="r", name="n", topic=topic)
    found = payloads.render(device, shape or payloads.shape_of(topic), command, value, "here")
    return found.topic, found.payload


@pytest.mark.parametrize(
    ("kind", "command", "value", "said"),
    [
        ("light", "on", None, {"state": "ON"}),
        ("light", "toggle", None, {"state": "TOGGLE"}),
        ("light", "brightness", 50.0, {"brightness": 127}),
        ("cover", "open", None, {"state": "OPEN"}),
        ("cover", "position", 30.0, {"position": 30.0}),
        ("lock", "unlock", None, {"state": "UNLOCK"}),
        ("heater", "temperature", 20.5, {"current_heating_setpoint": 20.5}),
    ],
)
def test_zigbee2mqtt(kind, command, value, said):
    topic, payload = order("zigbee2mqtt/x/set", kind, command, value)
    assert topic == "zigbee2mqtt/x/set"
    assert json.loads(payload) == said


@pytest.mark.parametrize(
    ("kind", "command", "value", "said"),
    [
        ("light", "on", None, ("cmnd/x/POWER", "ON")),
        ("light", "brightness", 50.0, ("cmnd/x/Dimmer", "50")),
        ("cover", "close", None, ("cmnd/x/ShutterClose1", "")),
        ("cover", "position", 30.0, ("cmnd/x/ShutterPosition1", "30")),
    ],
)
def test_tasmota(kind, command, value, said):
    assert order("cmnd/x/POWER", kind, command, value) == said


def test_tasmota_with_several_outputs():
    assert order("cmnd/x/POWER2", "switch", "off") == ("cmnd/x/POWER2", "OFF")
    with pytest.raises(ConfigError, match="Tasmota has no 'lock'"):
        order("cmnd/x/POWER", "lock", "lock")


def test_plain():
    assert order("garden/pump", "switch", "on") == ("garden/pump", "ON")
    assert order("garden/lamp", "light", "brightness", 12.5) == ("garden/lamp", "12.5")
    assert order("zigbee2mqtt/x/set", "light", "on", shape="plain") == ("zigbee2mqtt/x/set", "ON")


@pytest.mark.parametrize(
    ("intent", "slots", "kind", "said"),
    [
        ("turn_on", {}, "light", ("on", None)),
        ("turn_off", {}, "heater", ("off", None)),
        ("open", {}, "cover", ("open", None)),
        ("open", {}, "lock", ("unlock", None)),
        ("close", {}, "lock", ("lock", None)),
        ("set", {"brightness": "40"}, "light", ("brightness", 40.0)),
        ("set", {"temperature": "21"}, "heater", ("temperature", 21.0)),
        ("set", {}, "light", ("set", None)),
        ("dance", {}, "light", ("dance", None)),
    ],
)
def test_what_an_intent_means(intent, slots, kind, said):
    command, value = payloads.asked(intent, slots, kind)
    assert command == said[0]
    if said[0] == "set":
        assert value != value
    else:
        assert value == said[1]
