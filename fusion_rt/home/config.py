"""The settings of the home's engine."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from fusion_rt.errors import ConfigError

Probability = Annotated[float, Meta(gt=0, lt=1)]
Seconds = Annotated[float, Meta(gt=0, le=86400)]


class HomeConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """model      a bundled network by name, or a folder
    runtime    of the network; threads: that it may use
    period_s   between scenes, in the packets' time
    gap_s      at least between two scenes where a sensor of events (contact, motion, button, smoke) asks for
               one at once
    on, off    a room is occupied from p >= on, and no longer where p <= off for its hold_s
    future_s   a packet so far after the newest is not believed, unless others say the same
    stuck_s    motion or presence without a pause for so long is not believed
    event_p    smallest probability of a sound that is told, of all microphones in a second together
    why        tell which modality each answer rests on: once a second another look, without one of them
    """

    model: str = "home-s"
    runtime: str = "openvino"
    threads: Annotated[int, Meta(ge=1, le=64)] = 1
    period_s: Annotated[float, Meta(ge=0.05, le=10)] = 0.2
    gap_s: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.02
    on: Probability = 0.7
    off: Probability = 0.3
    future_s: Seconds = 5.0
    stuck_s: Seconds = 3600.0
    event_p: Probability = 0.9
    why: bool = True

    def __post_init__(self) -> None:
        if self.off >= self.on:
            raise ConfigError(f"off {self.off:g} is not below on {self.on:g}: a room would flap between them")
