import json
from pathlib import Path

import yaml

from fusion_rt import config
from fusion_rt.plan import Plan
from fusion_rt.sensors.discovery import as_yaml, propose
from fusion_rt.sensors.household import Household, Source

FLAT = Path(__file__).parents[2] / "configs" / "home" / "flat.yaml"
HEARD = {
    "zigbee2mqtt/kitchen climate": {"temperature": 21.4, "humidity": 44, "linkquality": 90},
    "zigbee2mqtt/hall_motion": {"occupancy": True, "illuminance": 12, "battery": 80},
    "zigbee2mqtt/Front Door": {"contact": False},
    "zigbee2mqtt/bridge": {"state": "online"},
    "bedroom-node/sensor/air_quality/state": "640",
    "homeassistant/sensor/bedroom-node/air_quality/config": {
        "stat_t": "bedroom-node/sensor/air_quality/state",
        "dev_cla": "carbon_dioxide",
    },
    "bedroom-node/sensor/uptime/state": "640",
    "bathroom-node/binary_sensor/door/state": "OFF",
    "tele/tv_plug/SENSOR": {"ENERGY": {"Power": 84, "Total": 3.1}},
    "espresense/devices/phone:anna/hall": {"distance": 2.5},
    "espresense/devices/watch:ben/hall": {"distance": 3.5},
    "tele/broken/SENSOR": "{",
}
HEARD = {t: (p if isinstance(p, str) else json.dumps(p)).encode() for t, p in HEARD.items()}


def test_what_speaks_is_found_with_its_kind():
    found = {one.slug: (one.kind, one.source.shape, one.value) for one in propose(HEARD)}
    assert found == {
        "kitchen_climate_temperature": ("temperature", "zigbee2mqtt", 21.4),
        "kitchen_climate_humidity": ("humidity", "zigbee2mqtt", 44.0),
        "hall_motion": ("motion", "zigbee2mqtt", 1.0),
        "hall_motion_illuminance": ("illuminance", "zigbee2mqtt", 12.0),
        "front_door_contact": ("contact", "zigbee2mqtt", 1.0),
        "bedroom_node_air_quality": ("co2", "esphome", 640.0),
        "bathroom_node_door": ("contact", "esphome", 0.0),
        "tv_plug_power": ("power", "tasmota", 84.0),
        "tv_plug_energy": ("energy", "tasmota", 3.1),
        "hall_beacon": ("distance", "espresense", 2.5),
    }


def test_the_plans_names_are_given_and_the_proposal_runs():
    plan = Plan.load(FLAT)
    found = propose(HEARD, plan)
    planned = {one.slug for one in found if one.planned}
    assert planned >= {"kitchen_climate_temperature", "kitchen_climate_humidity", "front_door", "tv_power"}
    assert planned >= {"bathroom_door", "hall_beacon"}
    text = as_yaml(found, plan, "broker:1884")
    assert "in the plan and not heard: " in text
    part = yaml.safe_load(text)["household"]
    assert (part["host"], part["port"]) == ("broker", 1884)
    sources = {slug: config.convert(source, Source, slug) for slug, source in part["sensors"].items()}
    household = Household({slug: sources[slug] for slug in planned}, plan)
    (reading,) = household.push(
        "tele/tv_plug/SENSOR", HEARD["tele/tv_plug/SENSOR"], retained=False, arrival_ns=1
    )
    assert (reading.header.sensor_id, reading.value) == ("tv_power", 84.0)


def test_two_of_one_name_are_told_apart():
    twins = {f"a/sensor/{n}/state": b"20" for n in ("temperature", "temperature!")}
    assert [one.slug for one in propose(twins)] == ["a_temperature", "a_temperature_2"]
