"""What a modality brings: a packet type, and an encoder of it. Registered, it is known to training, to the
pipeline and to the bus.

    class Waveform(Struct, frozen=True, kw_only=True, tag="waveform"): ...
    class VitalsEncoder(Encoder): ...
    register(VitalsEncoder())

An installed package declares the class in the entry-point group `fusion_rt.modalities` instead; then every
process knows it, the recorder and `fusion-rt echo` as well.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fusion_rt.errors import ConfigError
from fusion_rt.messages import MODALITIES, register_packet

if TYPE_CHECKING:
    from torch import nn

_REGISTRY: dict[str, Encoder] = {}


class Encoder(ABC):
    """E(x) of one modality, in two halves: what numpy makes of a packet, everywhere; and what the network
    makes of that, where it is trained. The exported model holds the second half.

    name       of the modality, in models and in reasons
    packet     the type of its packets
    shape      of its features
    max_age_s  older packets are not used
    """

    name: ClassVar[str]
    packet: ClassVar[type]
    shape: ClassVar[tuple[int, ...]]
    max_age_s: ClassVar[float]

    @abstractmethod
    def features(self, packet: Any) -> NDArray[np.float32]:
        """`shape` float32, finite, about -1..1. Raises MessageError where the packet cannot be used."""

    @abstractmethod
    def module(self, width: int) -> nn.Module:
        """(B, *shape) -> (B, width). Import torch here: what runs the model does not have it."""


def register(encoder: Encoder) -> None:
    """Make a modality known in this process. Raises ConfigError where another has its name or its tag."""
    known = _REGISTRY.get(encoder.name)
    if known is not None and type(known) is not type(encoder):
        raise ConfigError(f"modality {encoder.name!r}: {type(known).__qualname__} has this name already")
    register_packet(encoder.packet)
    _REGISTRY[encoder.name] = encoder


def encoders(*names: str) -> tuple[Encoder, ...]:
    """The modalities of these names: registered, or declared by installed packages. Raises ConfigError."""
    for entry in entry_points(group=MODALITIES):
        if entry.name in names and entry.name not in _REGISTRY:
            register(entry.load()())
    missing = [name for name in names if name not in _REGISTRY]
    if missing:
        known = ", ".join(_REGISTRY) or "none"
        raise ConfigError(f"no modality {missing[0]!r}: known are {known}; register its encoder first")
    return tuple(_REGISTRY[name] for name in names)
