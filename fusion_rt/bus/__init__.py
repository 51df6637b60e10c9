"""Processes talk here: ZeroMQ for small things, a shared-memory ring for large arrays."""

from fusion_rt.bus.bus import Bus, BusConfig
from fusion_rt.bus.counters import Received, Sent
from fusion_rt.bus.health import NodeHealth
from fusion_rt.bus.keys import Curve, KeyPair
from fusion_rt.bus.lease import detach, release
from fusion_rt.bus.loan import Loan
from fusion_rt.bus.publisher import Publisher
from fusion_rt.bus.subscriber import Subscriber

__all__ = [
    "Bus",
    "BusConfig",
    "Curve",
    "KeyPair",
    "Loan",
    "NodeHealth",
    "Publisher",
    "Received",
    "Sent",
    "Subscriber",
    "detach",
    "release",
]
