"""A plan as Home Assistant's devices: one for the site, one a room. What is called what never changes."""

from __future__ import annotations

import math
from typing import Any

from fusion_rt import __version__
from fusion_rt.homeassistant.settings import MICROPHONE, RULES, hold_max_s, hold_name, microphone_name
from fusion_rt.homeassistant.topics import Topics
from fusion_rt.plan import Plan, Room
from fusion_rt.scene import ACTIVITIES, EVENTS

NAME_CHARACTERS = 80
# key of a room's state -> kind of sensor -> what Home Assistant calls such a thing
DIRECT = {"motion": "Motion", "smoke": "Smoke", "presence": "Presence"}
# One topic has all of a room's events; each entity leaves out what is the other's. "{}" is no event.
DOORBELL = "doorbell"
ROOM_EVENTS = "{% if value_json.event_type == 'doorbell' %}{}{% else %}{{ value }}{% endif %}"
RINGS = (
    "{% if value_json.event_type == 'doorbell' %}"
    '{{ dict(value_json, event_type="ring") | to_json }}{% else %}{}{% endif %}'
)

Payload = dict[str, Any]


def devices(
    plan: Plan, topics: Topics, *, heartbeat_s: float, health_period_s: float, rules: bool = False
) -> dict[str, Payload]:
    """Object id -> the message of its device, the hub first.

    heartbeat_s, health_period_s  how often states and health are told at least
    rules  whether rules are there to be switched"""
    return {topics.hub: _hub(plan, topics, health_period_s, rules)} | {
        topics.room_device(slug): _room(slug, room, plan, topics, heartbeat_s)
        for slug, room in plan.rooms.items()
    }


def without(device: Payload, gone: dict[str, str]) -> Payload:
    """The device with these components (key -> platform) marked for removal. To be followed by the device
    itself."""
    components = device["components"] | {key: {"platform": platform} for key, platform in gone.items()}
    return device | {"components": components}


def platforms(device: Payload) -> dict[str, str]:
    """Key -> platform of a device's components."""
    return {key: component["platform"] for key, component in device["components"].items()}


def readable(name: str, otherwise: str) -> str:
    """A name without what cannot be printed, and not too long."""
    clean = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    return clean[:NAME_CHARACTERS] or otherwise


def _room(slug: str, room: Room, plan: Plan, topics: Topics, heartbeat_s: float) -> Payload:
    identity = topics.room_device(slug)
    kinds = {sensor.kind for sensor in plan.sensors.values() if sensor.room == slug}
    name = readable(room.name, slug)
    told = {"expire_after": _expire_s(heartbeat_s), "qos": 1}
    components: dict[str, Payload] = {
        "occupancy": {
            "platform": "binary_sensor",
            "unique_id": f"{identity}_occupancy",
            "name": "Occupancy",
            "device_class": "occupancy",
            "value_template": "{{ value_json.occupied }}",
            "payload_on": "ON",
            "payload_off": "OFF",
            "json_attributes_topic": topics.why(slug),
            **told,
        },
        "people": {
            "platform": "sensor",
            "unique_id": f"{identity}_people",
            "name": "People",
            "state_class": "measurement",
            "value_template": "{{ value_json.people }}",
            **told,
        },
        "activity": {
            "platform": "sensor",
            "unique_id": f"{identity}_activity",
            "name": "Activity",
            "device_class": "enum",
            "options": list(ACTIVITIES),
            "value_template": "{{ value_json.activity }}",
            **told,
        },
        "event": {
            "platform": "event",
            "unique_id": f"{identity}_event",
            "name": "Event",
            "state_topic": topics.event(slug),
            "event_types": [kind for kind in EVENTS if kind != DOORBELL],
            "value_template": ROOM_EVENTS,
            "qos": 1,
        },
        "hold": {
            "platform": "number",
            "unique_id": f"{identity}_hold",
            "name": "Hold time",
            "entity_category": "config",
            "command_topic": topics.command(hold_name(slug)),
            "state_topic": topics.setting(hold_name(slug)),
            "min": 0,
            "max": hold_max_s(room),
            "step": 1,
            "unit_of_measurement": "s",
            "qos": 1,
        },
    }
    if MICROPHONE in kinds:
        components["microphone"] = {
            "platform": "switch",
            "unique_id": f"{identity}_mic",
            "name": "Microphone",
            "entity_category": "config",
            "command_topic": topics.command(microphone_name(slug)),
            "state_topic": topics.setting(microphone_name(slug)),
            "qos": 1,
        }
    if kinds & {MICROPHONE, "button"}:
        components["doorbell"] = {
            "platform": "event",
            "unique_id": f"{identity}_doorbell",
            "name": "Doorbell",
            "device_class": "doorbell",
            "state_topic": topics.event(slug),
            "event_types": ["ring"],
            "value_template": RINGS,
            "qos": 1,
        }
    for kind, title in DIRECT.items():
        if kind in kinds:
            components[kind] = {
                "platform": "binary_sensor",
                "unique_id": f"{identity}_{kind}",
                "name": title,
                "device_class": kind,
                "value_template": f"{{{{ value_json.{kind} }}}}",
                "payload_on": "ON",
                "payload_off": "OFF",
                **told,
            }
    about = {"name": f"{name} presence", "model": "Fused room", "suggested_area": name}
    return _device(
        identity,
        about | {"via_device": topics.hub},
        components,
        topics,
        f"{plan.site}_{slug}",
        state_topic=topics.state(slug),
    )


def _hub(plan: Plan, topics: Topics, health_period_s: float, rules: bool) -> Payload:
    told = {"state_topic": topics.health, "expire_after": _expire_s(health_period_s), "qos": 0}
    told |= {"entity_category": "diagnostic"}
    components: dict[str, Payload] = {
        f"latency_{p}": {
            "platform": "sensor",
            "unique_id": f"{topics.hub}_latency_{p}",
            "name": f"Latency {p}",
            "device_class": "duration",
            "unit_of_measurement": "ms",
            "state_class": "measurement",
            "value_template": f"{{{{ value_json.{p}_ms }}}}",
            **told,
        }
        for p in ("p50", "p99")
    }
    components["drops"] = {
        "platform": "sensor",
        "unique_id": f"{topics.hub}_drops",
        "name": "Dropped packets",
        "state_class": "total_increasing",
        "value_template": "{{ value_json.drops }}",
        **told,
    }
    components["missing"] = {
        "platform": "sensor",
        "unique_id": f"{topics.hub}_missing",
        "name": "Missing sensors",
        "state_class": "measurement",
        "value_template": "{{ value_json.sensors_missing | length }}",
        "json_attributes_topic": topics.health,
        **told,
    }
    if rules:
        components["rules"] = {
            "platform": "switch",
            "unique_id": f"{topics.hub}_rules",
            "name": "Rules",
            "entity_category": "config",
            "command_topic": topics.command(RULES),
            "state_topic": topics.setting(RULES),
            "qos": 1,
        }
    about = {"name": f"fusion_rt {plan.site}", "model": "Home"}
    return _device(topics.hub, about, components, topics, plan.site)


def _device(
    identity: str,
    about: Payload,
    components: dict[str, Payload],
    topics: Topics,
    entity_prefix: str,
    **more: Any,
) -> Payload:
    for component in components.values():
        key = component["unique_id"].removeprefix(f"{identity}_")
        component["default_entity_id"] = f"{component['platform']}.{entity_prefix}_{key}"
    return {
        "device": {
            "identifiers": [identity],
            "manufacturer": "fusion_rt",
            "sw_version": __version__,
            **about,
        },
        "origin": {"name": "fusion_rt", "sw_version": __version__},
        "availability": [{"topic": topics.status}],
        **more,
        "components": components,
    }


def _expire_s(period_s: float) -> int:
    return max(math.ceil(3 * period_s), 3)
