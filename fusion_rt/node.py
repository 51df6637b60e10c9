"""One node in this process: find it, check its configuration, open the bus, run it until it is told to stop.

The supervisor starts its children here, through `main`."""

from __future__ import annotations

import sys

import msgspec
from msgspec import Struct

from fusion_rt import scenario
from fusion_rt.bus import Bus, BusConfig
from fusion_rt.errors import ConfigError, FusionError
from fusion_rt.scenario import Node

EXIT_ERROR = 1  # may go better next time
EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h: will not


class Assignment(Struct, frozen=True, kw_only=True):
    """What the supervisor tells a child."""

    node: Node
    bus: BusConfig
    parent_pid: int


def run(node: Node, bus: BusConfig, *, parent_pid: int | None = None) -> None:
    """Until the node's work is done, SIGTERM or SIGINT comes, or the parent is gone. Main thread only.

    Raises ConfigError, and whatever the node raises."""
    with Bus(bus, node.name, parent_pid=parent_pid) as opened:
        opened.stop_on_signals()
        function = scenario.find(node.use)
        settings = scenario.settings(function, node)
        if not opened._stop.is_set():
            function(settings, opened)


def main() -> None:
    """The assignment is the only argument, as JSON. The exit code says whether to try again."""
    assignment = msgspec.json.decode(sys.argv[1], type=Assignment)
    try:
        run(assignment.node, assignment.bus, parent_pid=assignment.parent_pid)
    except ConfigError as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_CONFIG)
    except FusionError as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_ERROR)
