"""Topics of this host for others, and of others for this one."""

from __future__ import annotations

from contextlib import ExitStack, closing

from fusion_rt.bridge import BridgeConfig, Fetching, Serving
from fusion_rt.bus import Bus


def run(config: BridgeConfig, bus: Bus) -> None:
    """Until told to stop. Raises BusError and ConfigError: keys, addresses, libraries."""
    with ExitStack() as opened:
        parts: list[Serving | Fetching] = []
        if config.serve is not None:
            parts.append(opened.enter_context(closing(Serving(config.serve, bus))))
        for name, peer in config.fetch.items():
            parts.append(opened.enter_context(closing(Fetching(name, peer, bus))))
        while not bus.wait(0.2):
            for part in parts:
                part.watch()
