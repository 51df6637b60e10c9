"""Simulated homes of seeds and plans that training never saw."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from fusion_rt.evaluation.home import baselines
from fusion_rt.evaluation.home.scores import Scores, Tally
from fusion_rt.home.canvas import Canvas
from fusion_rt.home.config import HomeConfig
from fusion_rt.home.intake import Intake
from fusion_rt.home.modalities import FUSED, MODALITY
from fusion_rt.home.observation import Observer
from fusion_rt.home.pipeline import HomePipeline
from fusion_rt.home_truth import HomeTruth, TrueEvent
from fusion_rt.messages import Packet
from fusion_rt.plan import Plan
from fusion_rt.scene import HomeEvent, Scene
from fusion_rt.sim.home.home import simulate
from fusion_rt.sim.home.recording import in_order
from fusion_rt.train.home.plans import plan_of
from fusion_rt.train.home.tapes import settings

FIRST_SEED = 500_000  # training takes 1,000 and on
PACE, BUSY = 3.0, 4.0  # three hours' moves in one, and enough sounds and falls to count
WARM_S = 60  # of each home, before anything is counted
ROW_PERIOD_S = 1.0  # between scenes, of the rows with fewer sensors

Stream = Sequence[Packet | HomeTruth]


class Home(Struct, frozen=True):
    plan: Plan
    stream: Stream


class Row(Struct, frozen=True, kw_only=True):
    """sensors: "all", "radar alone", "without radar", ...; cost: points lost of `rooms` against all"""

    sensors: str
    scores: Scores
    cost: float | None = None


class HomeReport(Struct, frozen=True, kw_only=True):
    """rows: fused at 5 Hz, fused at 1 Hz, each modality lost and alone at 1 Hz, baselines"""

    homes: int
    hours: float
    seed: int
    pace: float
    model: str
    rows: list[Row]


def homes(
    count: int, hours: float, seed: int, plan: Plan | None = None, pace: float = PACE
) -> Iterator[Home]:
    """plan: the same for all, with other people; None: another each. pace: of life, 1 as it is."""
    for i in range(count):
        this = plan or plan_of(seed + i, equipped=True)
        config = settings(seed + i, hours=hours, faults_per_day=0.0, pace=pace, busy=BUSY)
        yield Home(this, [message for _, message in in_order(simulate(this, config, seed + i))])


def judge(
    count: int,
    hours: float,
    *,
    seed: int = FIRST_SEED,
    plan: Plan | None = None,
    config: HomeConfig | None = None,
    singles: bool = False,
    pace: float = PACE,
    show: Callable[[int, int], None] = lambda done, total: None,
) -> HomeReport:
    """singles: also a row for each single sensor lost; with one plan only. show: rows done, of all."""
    config = replace(config or HomeConfig(), why=False)
    slow = replace(config, period_s=ROW_PERIOD_S)
    tallies: dict[str, Tally] = {}
    model, done, total = "", 0, 0
    for home in homes(count, hours, seed, plan, pace):
        there = {MODALITY[s.kind] for s in home.plan.sensors.values()}
        rows: dict[str, Callable[[str], bool]] = {"all, 1 Hz": lambda slug: True}
        for modality in (*FUSED, "worn"):
            if modality in there:
                rows[f"without {modality}"] = _lost(home.plan, modality)
        for modality in (*FUSED, "worn"):
            if modality in there:
                rows[f"{modality} alone"] = _alone(home.plan, modality)
        if singles:
            rows |= {f"without {slug}": _without(slug) for slug in home.plan.sensors}
        total = count * (len(rows) + 2)
        pipeline = HomePipeline.from_config(config, home.plan)
        model = pipeline.model
        _run(pipeline, home, lambda slug: True, tallies.setdefault("all", Tally()))
        show(done := done + 1, total)
        for name, kept in rows.items():
            _run(HomePipeline.from_config(slow, home.plan), home, kept, tallies.setdefault(name, Tally()))
            show(done := done + 1, total)
        _baselines(home, tallies)
        show(done := done + 1, total)
    best = tallies["all, 1 Hz"].scores().rooms or 0.0
    table = []
    for name, tally in tallies.items():
        scores = tally.scores()
        cost = 100 * (best - (scores.rooms or 0.0)) if name.startswith("without") else None
        table.append(Row(sensors=name, scores=scores, cost=cost))
    return HomeReport(homes=count, hours=hours, seed=seed, pace=pace, model=model, rows=table)


def _run(pipeline: HomePipeline, home: Home, kept: Callable[[str], bool], tally: Tally) -> None:
    scene: Scene | None = None
    told: list[HomeEvent] = []
    true: list[TrueEvent] = []
    first_ns = None
    watched = {s.room for s in home.plan.sensors.values() if s.kind in ("radar", "camera")}
    tally.begin()
    for packet in home.stream:
        if not isinstance(packet, HomeTruth):
            if kept(packet.header.sensor_id):
                scene = _take(pipeline.push(packet), told) or scene
            continue
        first_ns = packet.stamp_ns if first_ns is None else first_ns
        scene = _take(pipeline.tick(packet.stamp_ns), told) or scene
        true += packet.events
        since = packet.stamp_ns - first_ns
        if scene is None or since < WARM_S * 1e9 or since % 1_000_000_000 >= 200_000_000:
            continue
        tally.second({room.room: room.occupied for room in scene.rooms}, packet, watched)
        working = [use.sensor_id for use in scene.certificate.sensors if use.status == "used"]
        looking = [s for s in working if s in pipeline.canvas.covers]
        covered = [
            any(pipeline.canvas.covered(s, person.x, person.y) for s in looking) for person in packet.people
        ]
        tally.scene(scene, packet, covered)
    tally.events(told, true)


def _take(scene: Scene | None, told: list[HomeEvent]) -> Scene | None:
    if scene is not None:
        told += scene.events
    return scene


def _baselines(home: Home, tallies: dict[str, Tally]) -> None:
    """On the same packets, once a second."""
    canvas = Canvas(home.plan)
    observer, intake = Observer(home.plan, canvas), Intake(home.plan, stuck_s=HomeConfig().stuck_s)
    judges: dict[str, Callable[..., bool]] = {
        "PIR with hold": baselines.pir_with_hold,
        "naive Bayes": lambda row: baselines.naive_bayes(row) >= 0.5,
    }
    first_ns = None
    for name in judges:
        tallies.setdefault(name, Tally()).begin()
    for packet in home.stream:
        if not isinstance(packet, HomeTruth):
            intake.take(packet)
            continue
        first_ns = packet.stamp_ns if first_ns is None else first_ns
        since = packet.stamp_ns - first_ns
        if since < WARM_S * 1e9 or since % 1_000_000_000 >= 200_000_000:
            continue
        rooms = observer.at(packet.stamp_ns, intake.histories).rooms
        for name, says in judges.items():
            occupied = {room: says(rooms[row]) for row, room in enumerate(canvas.rooms)}
            tallies[name].second(occupied, packet)


def _lost(plan: Plan, modality: str) -> Callable[[str], bool]:
    return lambda slug: slug not in plan.sensors or MODALITY[plan.sensors[slug].kind] != modality


def _alone(plan: Plan, modality: str) -> Callable[[str], bool]:
    return lambda slug: slug in plan.sensors and MODALITY[plan.sensors[slug].kind] == modality


def _without(gone: str) -> Callable[[str], bool]:
    return lambda slug: slug != gone
