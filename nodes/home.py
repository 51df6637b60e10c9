"""Packets of a home in, scenes out; all thinking is in HomePipeline."""

from __future__ import annotations

import sys
import time

from msgspec.structs import replace

from fusion_rt.bus import Bus
from fusion_rt.header import Header, TracePoint
from fusion_rt.home.config import HomeConfig
from fusion_rt.home.pipeline import HomePipeline
from fusion_rt.messages import Command
from fusion_rt.scenario import load_plan
from fusion_rt.scene import Scene
from fusion_rt.telling import topic

ORDERS = topic("home")  # holds that were set for a room: intent `hold`, slots `room` and `s`
QUIET_S = 0.1  # without a packet, time goes on by our own clock


class HomeNodeConfig(HomeConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The engine's own settings (`HomeConfig`), and where they meet the bus.

    plan    of the home: a YAML file, or a recording that holds it
    inputs  topics to listen to; empty: every sensor of the plan
    voice   topics of commands: a microphone each; empty: none
    output  where scenes go
    """

    plan: str
    inputs: tuple[str, ...] = ()
    voice: tuple[str, ...] = ("voice",)
    output: str = "scene"


def run(config: HomeNodeConfig, bus: Bus) -> None:
    """Until told to stop. Raises ConfigError, RigError or EngineError before the first packet."""
    plan = load_plan(config.plan)
    topics = config.inputs or tuple(plan.sensors)
    topics += (*config.voice, ORDERS)
    # The output first: whoever wants scenes finds it while the model loads.
    with bus.publisher(config.output) as output:
        pipeline = HomePipeline.from_config(config, plan, clock=time.monotonic_ns)
        wall = PacketTime()
        with bus.subscriber(topics) as inputs:
            while not bus.stopping:
                packet = inputs.recv(wall.until(pipeline.asked_ns))
                if packet is None:
                    now_ns = wall.now_ns()
                    scene = None if now_ns is None else pipeline.tick(now_ns)
                elif isinstance(packet, Command) and packet.header.frame_id == ORDERS:
                    obey(packet, pipeline, bus)
                    scene = None
                else:
                    scene = pipeline.push(packet)
                    wall.heard(pipeline.now_ns)
                if scene is not None:
                    output.send(scene if packet is None else traced(scene, packet.header))
                    bus.detail.update(counted(pipeline))


class PacketTime:
    """What the packets' time is while none comes: the latest stamp, and how long ago that was."""

    def __init__(self) -> None:
        self._stamp_ns: int | None = None
        self._heard_ns = 0

    def heard(self, stamp_ns: int | None) -> None:
        """stamp_ns: the newest that the pipeline believes, not one that a packet claims."""
        if stamp_ns != self._stamp_ns:
            self._stamp_ns, self._heard_ns = stamp_ns, time.monotonic_ns()

    def until(self, due_ns: int | None) -> float:
        """How long a packet is waited for where something is due then: s, at most QUIET_S."""
        now_ns = self.now_ns()
        if due_ns is None or now_ns is None:
            return QUIET_S
        return min(max(due_ns - now_ns, 0) / 1e9, QUIET_S)

    def now_ns(self) -> int | None:
        """None: nothing was heard yet."""
        if self._stamp_ns is None:
            return None
        return self._stamp_ns + time.monotonic_ns() - self._heard_ns


def obey(order: Command, pipeline: HomePipeline, bus: Bus) -> None:
    """An order that cannot be carried out is counted."""
    try:
        if order.intent != "hold":
            raise ValueError(f"no such order: {order.intent}")
        pipeline.hold(order.slots["room"], float(order.slots["s"]))
    except (KeyError, ValueError) as error:
        bus.detail["orders_refused"] = bus.detail.get("orders_refused", 0) + 1
        print(f"refused: {order.intent} {order.slots}: {error}", file=sys.stderr, flush=True)


def traced(scene: Scene, asked: Header) -> Scene:
    """The scene continues the way of the packet that asked for it."""
    host = asked.trace[-1].host if asked.trace else ""
    trace = (*asked.trace, TracePoint("tracked", time.monotonic_ns(), host))
    return replace(scene, header=replace(scene.header, trace=trace))


def counted(pipeline: HomePipeline) -> dict[str, float]:
    """What the pipeline refused: "sensor.cause" -> packets."""
    return {f"{s}.{cause}": n for s, causes in pipeline.counters.items() for cause, n in causes.items()}
