"""Topics for the routers that a fleet has already: MQTT, Zenoh."""

from fusion_rt.sinks.forms import Form, from_raw, to_json, to_raw
from fusion_rt.sinks.pump import Outgoing, Pump, Sender

__all__ = ["Form", "Outgoing", "Pump", "Sender", "from_raw", "to_json", "to_raw"]
