"""The node `homeassistant`, which tells the reasons of every scene: each event has an answer that says by its
stamp what it knew. No configuration may ask for that: Home Assistant would keep every one.

    python -m fusion_rt.bench.home.talkative RUN_DIR CONFIG"""

from __future__ import annotations

import sys

import msgspec
from msgspec.structs import replace

from fusion_rt.bus import Bus, BusConfig
from fusion_rt.nodes import homeassistant


def main() -> None:
    """The arguments: the folder of the run's sockets, the node's configuration as JSON."""
    run_dir, content = sys.argv[1:]
    config = msgspec.json.decode(content, type=homeassistant.HomeAssistantConfig)
    with Bus(BusConfig(run_dir=run_dir), "homeassistant") as bus:
        bus.stop_on_signals()
        homeassistant.run(replace(config, why_s=0.0), bus)


if __name__ == "__main__":
    main()
