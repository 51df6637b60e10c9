"""Runs where Home Assistant is installed: its own schemas and templates over our messages.

In:  {"devices": {topic: message}, "messages": {topic: [payload, ...]}}
Out: {"version": ..., "components": {unique_id: {"platform": ..., "rendered": [what it makes of each]}}}
"""

import asyncio
import importlib
import json
import sys

import voluptuous as vol
from homeassistant.components.mqtt.models import MqttValueTemplate
from homeassistant.components.mqtt.schemas import DEVICE_DISCOVERY_SCHEMA, SHARED_OPTIONS
from homeassistant.const import __version__
from homeassistant.core import HomeAssistant
from homeassistant.helpers.template import Template


def refuse_extra(schema):
    """HA drops what it does not know without a word; a typo of ours is to be seen."""
    for part in schema.validators if isinstance(schema, vol.All) else [schema]:
        if isinstance(part, vol.Schema):
            yield {str(key) for key in part.schema}


async def main():
    asked = json.load(sys.stdin)
    hass = HomeAssistant("/tmp")
    found = {}
    for topic, message in asked["devices"].items():
        DEVICE_DISCOVERY_SCHEMA(json.loads(json.dumps(message)))
        for key, component in message["components"].items():
            config = dict(component)
            platform = config.pop("platform")
            module = importlib.import_module(f"homeassistant.components.mqtt.{platform}")
            known = set().union(*refuse_extra(module.DISCOVERY_SCHEMA))
            assert set(config) <= known, f"{topic}: {key}: {sorted(set(config) - known)}"
            config |= {k: message[k] for k in SHARED_OPTIONS if k in message and k not in config}
            if platform != "event" and "command_topic" not in component:
                assert "state_topic" in config, f"{topic}: {key}: no state"
            config["device"] = message["device"]
            checked = module.DISCOVERY_SCHEMA(config)
            template = MqttValueTemplate(
                Template(component["value_template"], hass) if "value_template" in component else None
            )
            payloads = asked["messages"].get(checked.get("state_topic"), [])
            found[component["unique_id"]] = {
                "platform": platform,
                "rendered": [str(template.async_render_with_possible_json_value(p)) for p in payloads],
            }
    print(json.dumps({"version": __version__, "components": found}))
    await hass.async_stop(force=True)


asyncio.run(main())
