"""The shapes that devices really send, and what they send when they are broken."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_rt.errors import ConfigError
from fusion_rt.home_packets import READINGS
from fusion_rt.plan import Plan
from fusion_rt.sensors.household import BURST, UNKNOWN_AGE_S, Household, Source
from fusion_rt.sensors.values import RANGES

NOW = 1_800_000_000 * 10**9
DAY_NS = round(UNKNOWN_AGE_S * 1e9)
KINDS = list(READINGS)


def plan():
    sensors = "\n".join(f"  {kind}: {{kind: {kind}, room: r}}" for kind in KINDS)
    return Plan.from_yaml(
        f"rooms: {{r: {{name: R, polygon: [[0, 0], [4, 0], [4, 4], [0, 4]]}}}}\nsensors:\n{sensors}\n"
        "  cam_radar: {kind: radar, room: r}"
    )


PLAN = plan()


def one(kind, payload, *, retained=False, arrival_ns=NOW, sent_to=None, **source):
    """(readings, counts) of one message to one sensor."""
    source = {"topic": "zigbee2mqtt/thing", "shape": "zigbee2mqtt"} | source
    household = Household({kind: Source(**source)}, PLAN)
    payload = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    readings = household.push(sent_to or source["topic"], payload, retained=retained, arrival_ns=arrival_ns)
    return readings, dict(household.counts[kind])


ESP = {"topic": "desk/sensor/air/state", "shape": "esphome"}
TAS = {"topic": "tele/plug/SENSOR", "shape": "tasmota"}
AM2301 = {"Time": "2026-01-02T03:04:05", "AM2301": {"Temperature": 68.0, "Humidity": 41.5}, "TempUnit": "F"}
ENERGY = {"Time": "2026-01-02T03:04:05", "ENERGY": {"Total": 3.185, "Power": 84, "Voltage": 230}}


@pytest.mark.parametrize(
    ("kind", "payload", "source", "expected"),
    [
        ("temperature", {"temperature": 21.4, "humidity": 40, "linkquality": 90}, {}, 21.4),
        ("humidity", {"temperature": 21.4, "humidity": 40.0}, {}, 40.0),
        ("contact", {"contact": True, "battery": 100}, {}, 0.0),  # closed
        ("contact", {"contact": False}, {}, 1.0),
        ("contact", {"contact": False}, {"inverted": True}, 0.0),
        ("motion", {"occupancy": True, "illuminance": 3}, {}, 1.0),
        ("presence", {"presence": False}, {}, 0.0),
        ("smoke", {"smoke": True}, {}, 1.0),
        ("button", {"action": "single"}, {}, 1.0),
        ("co2", {"co2": 615}, {}, 615.0),
        ("illuminance", {"illuminance": 20_000, "illuminance_lux": 99}, {}, 99.0),
        ("illuminance", {"illuminance": 120}, {}, 120.0),
        ("power", {"power": 0.25}, {"unit": "kW"}, 250.0),
        ("energy", {"energy": 12.5}, {}, 12.5),
        ("temperature", {"sub": {"t": "71.6"}}, {"field": "sub.t", "unit": "°F"}, 22.0),
        ("temperature", b"21.37", ESP, 21.37),
        ("temperature", b"70.5 \xc2\xb0F", ESP, 21.388889),
        ("motion", b"ON", {"topic": "desk/binary_sensor/pir/state", "shape": "esphome"}, 1.0),
        ("contact", b"OFF", {"topic": "desk/binary_sensor/door/state", "shape": "esphome"}, 0.0),
        ("power", b"1.5", ESP | {"scale": 1000.0}, 1500.0),
        ("temperature", AM2301, TAS, 20.0),
        ("humidity", AM2301, TAS, 41.5),
        ("power", ENERGY, TAS, 84.0),
        ("energy", ENERGY, TAS, 3.185),
        ("distance", {"SR04": {"Distance": 145.2}}, TAS, 1.452),
        ("presence", b"ON", {"topic": "stat/plug/POWER", "shape": "tasmota"}, 1.0),
        ("contact", {"state": "open"}, {"shape": "json", "field": "state"}, 1.0),
        ("sound_level", b"41", {"shape": "plain", "unit": "dB"}, 41.0),
        ("humidity_ratio", b"7.1", {"shape": "plain", "unit": "g/kg"}, 0.0071),
    ],
)
def test_what_devices_say(kind, payload, source, expected):
    (reading,), counts = one(kind, payload, **source)
    assert reading.value == pytest.approx(expected)
    assert (reading.kind, reading.unit, reading.entity) == (kind, READINGS[kind], kind)
    assert reading.header.stamp_ns == NOW
    assert counts == {}


def test_a_beacon_is_the_entity():
    source = {"topic": "espresense/devices/+/hall", "shape": "espresense"}
    payload = {"id": "phone:anna", "distance": 2.45, "rssi": -71}
    (reading,), _ = one("distance", payload, sent_to="espresense/devices/phone:anna/hall", **source)
    assert (reading.entity, reading.value, reading.unit) == ("phone:anna", 2.45, "m")
    assert one("distance", payload, sent_to="espresense/devices/phone:anna/kitchen", **source)[0] == []


@pytest.mark.parametrize("word", ["unavailable", "unknown", "nan", "None", "NaN", "", " unknown "])
def test_what_a_sensor_does_not_know_is_nan(word):
    for payload, source in (({"temperature": word}, {}), (word.encode(), ESP), ({"temperature": None}, {})):
        (reading,), counts = one("temperature", payload, **source)
        assert math.isnan(reading.value)
        assert counts == {"unknown": 1}


@pytest.mark.parametrize(
    ("kind", "payload", "cause"),
    [
        ("temperature", {"temperature": "warm"}, "type"),
        ("temperature", {"temperature": True}, "type"),
        ("temperature", {"temperature": [21]}, "type"),
        ("temperature", {"temperature": "21,5"}, "type"),
        ("temperature", {"temperature": 2100}, "range"),
        ("temperature", {"temperature": "1e999"}, "range"),
        ("temperature", {"temperature": 10**400}, "range"),
        ("temperature", {"temperature": 10**300}, "range"),
        ("temperature", {"temperature": "45 %"}, "unit"),
        ("humidity", {"humidity": 130}, "range"),
        ("co2", {"co2": 0}, "range"),
        ("contact", {"contact": 3}, "range"),
        ("contact", {"contact": "ajar"}, "type"),
        ("temperature", {"humidity": 40}, "no_field"),
        ("temperature", b'{"temperature": 21', "malformed"),
        ("temperature", b"[1]", "malformed"),
        ("temperature", b"\xff\xfe{}", "malformed"),
        ("temperature", b"[" * 5000, "malformed"),
        ("temperature", b'{"a":' * 5000, "malformed"),
        ("temperature", b" " * 70_000, "too_large"),
    ],
)
def test_what_cannot_be_is_left_out_and_counted(kind, payload, cause):
    readings, counts = one(kind, payload)
    assert readings == []
    assert counts == {cause: 1}


def test_after_a_press_the_empty_action_is_none():
    assert one("button", {"action": ""}) == ([], {"no_field": 1})
    assert one("button", {"action": None})[0] == []
    assert one("button", {"action": "hold"}, on=("single",))[0] == []
    assert len(one("button", {"action": "single"}, on=("single",))[0]) == 1


@pytest.mark.parametrize(
    "seen", ["2027-01-15T07:00:00Z", "2027-01-15T09:00:00+02:00", 1_799_996_400_000, 1_799_996_400]
)
def test_retained_messages_are_as_old_as_they_say(seen):
    (reading,), counts = one("temperature", {"temperature": 20, "last_seen": seen}, retained=True)
    assert NOW - reading.header.stamp_ns == 3600 * 10**9
    assert counts == {}


@pytest.mark.parametrize("time", [{}, {"Time": "2026-01-02T03:04:05"}, {"last_seen": "2099-01-01T00:00:00Z"}])
def test_retained_messages_that_do_not_say_are_stale(time):
    (reading,), counts = one("contact", {"contact": True} | time, retained=True)
    assert NOW - reading.header.stamp_ns == DAY_NS
    assert reading.told_ns == NOW
    assert counts["retained"] == 1


def test_what_was_retained_does_not_replace_what_was_heard():
    household = Household({"contact": Source(topic="t", shape="zigbee2mqtt")}, PLAN)
    assert household.push("t", b'{"contact":true}', retained=False, arrival_ns=NOW)
    assert household.push("t", b'{"contact":true}', retained=True, arrival_ns=NOW + 1) == []
    assert one("button", {"action": "single"}, retained=True) == ([], {"retained": 1})


def test_a_state_that_is_said_again_after_a_restart_keeps_its_time():
    seen = {"temperature": 20, "last_seen": NOW // 10**6 - 60_000}
    (reading,), counts = one("temperature", seen)
    assert NOW - reading.header.stamp_ns == 60 * 10**9
    assert counts == {"replayed": 1}
    (reading,), counts = one("temperature", {"temperature": 20, "last_seen": NOW // 10**6 - 200})
    assert reading.header.stamp_ns == NOW  # the two clocks, and the way
    assert reading.told_ns == 0


@pytest.mark.parametrize(
    ("shape", "topic", "where", "payload"),
    [
        ("zigbee2mqtt", "zigbee2mqtt/a", "zigbee2mqtt/a/availability", b'{"state":"offline"}'),
        ("zigbee2mqtt", "zigbee2mqtt/a", "zigbee2mqtt/bridge/state", b"offline"),
        ("esphome", "desk/sensor/air/state", "desk/status", b"offline"),
        ("tasmota", "tele/plug/SENSOR", "tele/plug/LWT", b"Offline"),
    ],
)
def test_a_device_that_is_gone(shape, topic, where, payload):
    household = Household({"temperature": Source(topic=topic, shape=shape)}, PLAN)
    assert where in household.topics
    (reading,) = household.push(where, payload, retained=True, arrival_ns=NOW)
    assert math.isnan(reading.value)
    assert household.push(where, b"online", retained=False, arrival_ns=NOW) == []
    assert household.push(where, b"\xff{", retained=False, arrival_ns=NOW) == []
    silent = Household({"temperature": Source(topic=topic, shape=shape, availability="")}, PLAN)
    assert silent.topics == (topic,)


def test_a_flood_is_held_down_and_the_newest_is_told():
    household = Household({"temperature": Source(topic="t", shape="plain", max_rate_hz=10)}, PLAN)
    told = []
    for i in range(5000):
        now = NOW + i * 10**5  # 10 kHz for half a second
        told += household.push("t", f"{20 + i / 1000}".encode(), retained=False, arrival_ns=now)
        told += household.due(now)
    assert len(told) <= BURST + 6
    assert len(household._held) <= 1
    (last,) = household.due(NOW + 10**9)
    assert last.value == pytest.approx(24.999)
    assert household.counts["temperature"]["flood"] == 5000 - len(told) - 1
    assert [r.header.seq for r in [*told, last]] == list(range(len(told) + 1))


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", *KINDS, "action", "last_seen"]), inner)
    ),
    max_leaves=8,
)
PAYLOADS = st.binary(max_size=60) | JSON.map(lambda data: json.dumps(data).encode())


@given(
    payload=PAYLOADS,
    kind=st.sampled_from(KINDS),
    shape=st.sampled_from(["zigbee2mqtt", "tasmota", "esphome", "espresense", "json", "plain"]),
    retained=st.booleans(),
)
def test_whatever_comes_is_a_sound_reading_or_counted(payload, kind, shape, retained):
    household = Household({kind: Source(topic="t", shape=shape, field="a")}, PLAN)
    readings = household.push("t", payload, retained=retained, arrival_ns=NOW)
    for reading in readings:
        low, high = RANGES.get(kind, (0.0, 1.0))
        assert math.isnan(reading.value) or low <= reading.value <= high
        assert 0 <= reading.header.stamp_ns <= NOW + 5 * 10**9
    assert readings or household.counts[kind] or kind == "button"


@pytest.mark.parametrize(
    ("slug", "source", "what"),
    [
        ("temperatur", {}, r"not a sensor of the plan; did you mean 'temperature'"),
        ("cam_radar", {}, r"radar, which does not speak by MQTT"),
        ("temperature", {"topic": "zigbee2mqtt/#"}, r"name one topic"),
        ("temperature", {"unit": "kW"}, r"temperature in 'kW'\? Known are °C, °F, K"),
        ("contact", {"unit": "W"}, r"none: it is 0 or 1"),
        ("humidity_ratio", {}, r"no usual field for humidity_ratio"),
    ],
)
def test_mappings_that_cannot_be(slug, source, what):
    with pytest.raises(ConfigError, match=what):
        Household({slug: Source(**({"topic": "a/b", "shape": "zigbee2mqtt"} | source))}, PLAN)
