"""All nodes of a scenario: started, watched, shown, stopped in order, and nothing left behind."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType

from msgspec import Struct
from msgspec.structs import replace

from fusion_rt.bus import Bus, ring
from fusion_rt.bus.clocks import Clock
from fusion_rt.errors import ConfigError
from fusion_rt.metrics.latency import Percentiles
from fusion_rt.monitor import Latest, Monitor, TopicSummary
from fusion_rt.processes import NodeProcess
from fusion_rt.scenario import Scenario

TICK_S = 0.1
HANG_S = 20.0
GRACE_S = 12.0  # what a node may take to end: a recorder writes what it still has


class NodeStatus(Struct, frozen=True, kw_only=True):
    """One process. state as in NodeProcess; cpu_s and restarts over all its lives."""

    state: str
    pid: int
    restarts: int
    exit_code: int | None
    rss_mb: float
    cpu_s: float
    detail: dict[str, float]


class Status(Struct, frozen=True, kw_only=True):
    """What the table shows while the scenario runs."""

    elapsed_s: float
    nodes: dict[str, NodeStatus]
    topics: dict[str, TopicSummary]
    predictions: int
    latest: Latest | None
    recent_ms: Percentiles
    clocks: dict[str, Clock] = {}


class Summary(Struct, frozen=True, kw_only=True):
    """What is printed in the end, also as JSON.

    first_prediction_s  from the start to the first answer; None: there was none
    latency_ms          packet that asked published -> prediction published
    rest_ms             the same without what the network took
    stages_ms           stage of the engine -> its share
    objects_mean        label -> objects a prediction
    rungs               how complete the answers were -> predictions
    missing             messages that did not reach a listener, all topics together
    clocks              other hosts' clocks against ours, in the end
    """

    duration_s: float
    first_prediction_s: float | None
    predictions: int
    latency_ms: Percentiles
    rest_ms: Percentiles
    stages_ms: dict[str, Percentiles]
    deadlines_missed: int
    objects_mean: dict[str, float]
    rungs: dict[str, int]
    missing: int
    topics: dict[str, TopicSummary]
    nodes: dict[str, NodeStatus]
    clocks: dict[str, Clock] = {}


def run(
    scenario: Scenario,
    *,
    source: str = "scenario",
    duration_s: float | None = None,
    warmup_s: float = 0.0,
    hang_s: float = HANG_S,
    show: Callable[[Status], None] = lambda status: None,
    say: Callable[[str, str], None] = lambda node, line: None,
) -> Summary:
    """Until Ctrl-C, SIGTERM, `duration_s`, or the end of a node with `ends_run`. Main thread only.

    source    names the scenario in errors
    warmup_s  how long after the first prediction durations begin to count
    hang_s    a node whose loop has not turned for so long is killed and started again
    show      is given the picture about ten times a second
    say       is given each line that a node prints, and what happens to it

    A second Ctrl-C kills what has not stopped yet. Raises ConfigError where a node refuses its
    configuration, BusError where another run uses the same folder; everything is stopped then as well."""
    entries = scenario.processes(source)
    # A name of its own on the bus: a second supervisor in the same folder is refused here.
    with _Interrupts() as interrupts, Bus(scenario.bus, "supervisor") as bus:
        config = replace(scenario.bus, run_dir=str(bus.run_dir))
        processes = [NodeProcess(node, config) for node in entries]
        with Monitor(bus, [node.name for node in entries]) as monitor:
            supervisor = _Supervisor(processes, monitor, interrupts, show, say, hang_s, warmup_s)
            try:
                supervisor.watch(duration_s)
            finally:
                supervisor.stop()
                ring.sweep()  # of nodes that were killed
            return supervisor.summary()


class _Interrupts:
    """Counts SIGINT and SIGTERM instead of raising: there is no moment at which one does harm."""

    def __enter__(self) -> _Interrupts:
        self.count = 0
        self._before = {n: signal.signal(n, self._handle) for n in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.count += 1


class _Supervisor:
    def __init__(
        self,
        processes: list[NodeProcess],
        monitor: Monitor,
        interrupts: _Interrupts,
        show: Callable[[Status], None],
        say: Callable[[str, str], None],
        hang_s: float,
        warmup_s: float,
    ):
        self._processes, self._monitor, self._interrupts = processes, monitor, interrupts
        self._show, self._say, self._hang_s, self._warmup_s = show, say, hang_s, warmup_s
        self._warm = warmup_s <= 0
        self._began = time.monotonic()
        self._first_prediction_s: float | None = None

    def watch(self, duration_s: float | None) -> None:
        while not self._interrupts.count and (duration_s is None or self._elapsed_s < duration_s):
            for process in self._processes:
                health = self._monitor.health(process.node.name, process.pid)
                self._tell(process, process.watch(health, self._hang_s))
                if process.state == "refused":
                    raise ConfigError("\n".join(process.lines) or f"{process.node.source}: refused")
                if process.state == "done" and process.node.ends_run:
                    return
            if all(process.state == "done" for process in self._processes):
                return
            self._poll(TICK_S)
            self._show(self.status())

    def stop(self) -> None:
        """In order, each with its grace; what it still sends is taken in."""
        for process in self._processes:
            process.stop()
            end, killed = time.monotonic() + GRACE_S, False
            while not process.wait(0):
                if not killed and (self._interrupts.count > 1 or time.monotonic() > end):
                    self._tell(process, ["did not stop: killed"])
                    process.stop(signal.SIGKILL)
                    killed = True
                self._poll(0.02)
                self._tell(process, process.output())
            self._tell(process, process.close())
        self._poll(0.05)

    def status(self) -> Status:
        return Status(
            elapsed_s=self._elapsed_s,
            nodes=self._nodes(),
            topics=self._monitor.topics(),
            predictions=self._monitor.predictions,
            latest=self._monitor.latest,
            recent_ms=self._monitor.recent(),
            clocks=self._monitor.clocks(),
        )

    def summary(self) -> Summary:
        monitor, topics = self._monitor, self._monitor.topics()
        count = max(monitor.predictions, 1)
        return Summary(
            duration_s=self._elapsed_s,
            first_prediction_s=self._first_prediction_s,
            predictions=monitor.predictions,
            latency_ms=monitor.latency.percentiles(),
            rest_ms=monitor.rest.percentiles(),
            stages_ms={stage: histogram.percentiles() for stage, histogram in monitor.stages.items()},
            deadlines_missed=monitor.deadlines_missed,
            objects_mean={label: n / count for label, n in sorted(monitor.objects.items())},
            rungs=dict(monitor.rungs),
            missing=sum(topic.missing for topic in topics.values()),
            topics=topics,
            nodes=self._nodes(),
            clocks=monitor.clocks(),
        )

    @property
    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began

    def _poll(self, timeout_s: float) -> None:
        self._monitor.poll(timeout_s)
        if self._first_prediction_s is None and self._monitor.predictions:
            self._first_prediction_s = self._elapsed_s
        first_s = self._first_prediction_s
        if not self._warm and first_s is not None and self._elapsed_s - first_s >= self._warmup_s:
            self._monitor.start_over()
            self._warm = True

    def _tell(self, process: NodeProcess, lines: list[str]) -> None:
        for line in lines:
            self._say(process.node.name, line)

    def _nodes(self) -> dict[str, NodeStatus]:
        return {p.node.name: self._node(p) for p in self._processes}

    def _node(self, process: NodeProcess) -> NodeStatus:
        name = process.node.name
        return NodeStatus(
            state=process.state,
            pid=process.pid,
            restarts=process.restarts,
            exit_code=process.exit_code,
            rss_mb=self._monitor.rss_mb(name),
            cpu_s=self._monitor.cpu_s(name),
            detail=self._monitor.detail(name),
        )
