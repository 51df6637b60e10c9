"""How long the home's engine takes: every scene of a simulated home, by stage."""

from __future__ import annotations

import time

from msgspec import Struct
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fusion_rt.home.config import HomeConfig
from fusion_rt.home.pipeline import HomePipeline
from fusion_rt.metrics.latency import Histogram, Percentiles
from fusion_rt.plan import Plan

WARM = 50  # scenes before anything is counted


class HomeTimes(Struct, frozen=True, kw_only=True):
    """Milliseconds.

    scene_ms      from a packet to the scene that it asks for; packet_ms: of one that asks for none
    scene_cpu_ms  processor time of a scene, which a busy machine disturbs less
    core          share of a core at 5 scenes a second and the packets of this home
    """

    model: str
    sensors: int
    scenes: int
    scene_ms: Percentiles
    scene_cpu_ms: Percentiles
    packet_ms: Percentiles
    stages_ms: dict[str, Percentiles]
    core: float


def measure(plan: Plan, config: HomeConfig, *, seconds: float, seed: int) -> HomeTimes:
    """Raises ConfigError, EngineError."""
    from fusion_rt.sim.home.config import HomeSimConfig, Routine  # simulation: only where it is asked for
    from fusion_rt.sim.home.home import simulate

    simulated = HomeSimConfig(
        start="2026-03-02T18:00:00Z", hours=(seconds + 20) / 3600, routine=Routine(people=3, pace=10)
    )
    packets = list(simulate(plan, simulated, seed).packets())
    pipeline = HomePipeline.from_config(config, plan, clock=time.perf_counter_ns)
    stages: dict[str, Histogram] = {}
    scenes, others, cpu = Histogram(), Histogram(), Histogram()
    told, spent_s = 0, 0.0
    for packet in packets:
        began, busy = time.perf_counter_ns(), time.process_time_ns()
        scene = pipeline.push(packet)
        cpu_ms = (time.process_time_ns() - busy) / 1e6
        ms = (time.perf_counter_ns() - began) / 1e6
        told += scene is not None
        if told <= WARM:
            continue
        spent_s += cpu_ms / 1e3
        (others if scene is None else scenes).add(ms)
        if scene is not None:
            cpu.add(cpu_ms)
            for stage, took in scene.certificate.stage_ms.items():
                stages.setdefault(stage, Histogram()).add(took)
    return HomeTimes(
        model=pipeline.model,
        sensors=len(plan.sensors),
        scenes=scenes.count,
        scene_ms=scenes.percentiles(),
        scene_cpu_ms=cpu.percentiles(),
        packet_ms=others.percentiles(),
        stages_ms={stage: h.percentiles() for stage, h in stages.items()},
        core=spent_s / max(scenes.count * config.period_s, 1e-9),
    )


def render(times: HomeTimes) -> RenderableType:
    table = Table("", box=None, header_style="bold", pad_edge=False)
    for name in ("p50 ms", "p90 ms", "p99 ms", "max ms"):
        table.add_column(name, justify="right")
    rows = {"a scene": times.scene_ms, "  its processor time": times.scene_cpu_ms}
    rows |= {"another packet": times.packet_ms}
    rows |= {f"  {stage}": p for stage, p in times.stages_ms.items()}
    for name, p in rows.items():
        table.add_row(name, *("-" if v is None else f"{v:.2f}" for v in (p.p50, p.p90, p.p99, p.max)))
    head = f"{times.model}: {times.scenes} scenes of a home with {times.sensors} sensors"
    return Group(Text(head), table, Text(f"{100 * times.core:.1f} % of a core at 5 scenes a second"))
