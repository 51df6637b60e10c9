"""Streaming, real-time multi-sensor fusion: sensor packets in, tracked objects out.

The few names that a program needs; everything else is imported from its own module.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fusion_rt.client import subscribe
    from fusion_rt.pipeline import FusionPipeline, PipelineConfig
    from fusion_rt.rig import Rig

__version__ = "0.1.0"
__all__ = ["FusionPipeline", "PipelineConfig", "Rig", "subscribe"]

_HOMES = {"FusionPipeline": "pipeline", "PipelineConfig": "pipeline", "Rig": "rig", "subscribe": "client"}


def __getattr__(name: str) -> Any:
    # On demand: a node that only sends images need not load an inference engine.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
