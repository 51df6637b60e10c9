"""What Home Assistant hears of a home, and what it may ask: MQTT discovery, states, commands."""

from fusion_rt.homeassistant.edge import Edge
from fusion_rt.homeassistant.topics import Topics

__all__ = ["Edge", "Topics"]
