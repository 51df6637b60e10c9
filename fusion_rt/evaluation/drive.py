"""The whole engine on drives whose truth is known: what is followed, how well its motion is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fusion_rt import config as typed
from fusion_rt.errors import ConfigError, LogError
from fusion_rt.messages import Prediction, TrackedObject
from fusion_rt.offline import predictions
from fusion_rt.pipeline import PipelineConfig
from fusion_rt.scenario import find_file
from fusion_rt.sim import truth
from fusion_rt.sim.truth import TruthFrame, TruthObject
from fusion_rt.tracking.assignment import assign
from fusion_rt.transforms import Array, inverse, wrap_angle

REACH_M, ASIDE_M, MIN_POINTS = 70.0, 35.0, 3
MATCH_M = 2.0
KNOWN_HITS = 5  # boxes after which a track's motion is judged
HORIZONS_S = (1.0, 2.0, 3.0)
TRUTH = ".truth.jsonl"
NOTES = (
    f"Objects with {MIN_POINTS} lidar points or more in the sweep, up to {REACH_M:g} m ahead and"
    f" {ASIDE_M:g} m aside; found: a track of the class within {MATCH_M:g} m of the centre. switches:"
    " another number than before.",
    f"RMSE of position (m) and velocity (m/s) of tracks of {KNOWN_HITS} boxes and more; moving: of objects"
    " faster than 1 m/s. NEES: squared error by its covariance; 2 where the tracker knows itself.",
    "forecast: mean distance from where the object is that much later, m.",
)


class DriveRow(Struct, frozen=True, kw_only=True):
    """One class. mota, precision, recall 0..1; None where there was nothing to divide by."""

    label: str
    objects: int
    recall: float | None
    precision: float | None
    mota: float | None
    switches: int
    position_m: float | None
    velocity_mps: float | None
    velocity_moving_mps: float | None
    yaw_deg: float | None
    nees: float | None
    forecast_m: tuple[float | None, ...]


class DriveReport(Struct, frozen=True, kw_only=True):
    """An evaluation. ego_speed_mps: RMSE of the vehicle's own speed; skipped: drives that were of no use."""

    source: str
    model: str
    drives: int
    predictions: int
    rows: tuple[DriveRow, ...]
    ego_speed_mps: float | None
    notes: tuple[str, ...]
    skipped: tuple[str, ...]


class _Sums:
    """Of one class, over all drives."""

    def __init__(self) -> None:
        self.objects = self.found = self.wrong = self.switches = 0
        self.position: list[float] = []
        self.velocity: list[float] = []
        self.moving: list[float] = []
        self.yaw: list[float] = []
        self.nees: list[float] = []
        self.forecast: dict[float, list[float]] = {h: [] for h in HORIZONS_S}


def pairs(folder: Path) -> list[tuple[Path, Path]]:
    """NAME.mcap with NAME.truth.jsonl. Raises LogError where there is none."""
    found = [(log, log.with_suffix(TRUTH)) for log in sorted(folder.glob("*.mcap"))]
    found = [(log, true) for log, true in found if true.is_file()]
    if not found:
        raise LogError(f"{folder}: no recording NAME.mcap with its truth NAME{TRUTH}")
    return found


def simulate(folder: Path, seed: int) -> None:
    """SEED.mcap and its truth, ten seconds with sensors of KITTI's size, unless they are there. Raises
    ConfigError where the extra `sim` is not installed, LogError where the folder cannot be written."""
    log = folder / f"{seed}.mcap"
    if log.is_file() and log.with_suffix(TRUTH).is_file():
        return
    from fusion_rt.sim.drive_config import DriveConfig
    from fusion_rt.sim.recording import record  # an extra

    folder.mkdir(parents=True, exist_ok=True)
    drive = typed.load(find_file("hdl64", "sim"), DriveConfig)
    record(drive, seed, log, truth_path=log.with_suffix(TRUTH), compression="lz4")


def evaluate(
    drives: Sequence[tuple[Path, Path]],
    config: PipelineConfig,
    classes: Sequence[str],
    *,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> DriveReport:
    """Replays each recording and compares it with its truth. Raises LogError where none can be read."""
    comparison, model = Comparison(classes), ""
    skipped: list[str] = []
    for done, (log, true) in enumerate(drives):
        try:
            frames = truth.read(true)
            answers = list(predictions(log, config, say=skipped.append))
        except (LogError, ConfigError) as error:
            skipped.append(str(error))
        else:
            comparison.add(answers, frames)
            model = answers[0].certificate.model if answers else model
        advance(done + 1, len(drives))
    if not comparison.drives:
        raise LogError("no drive can be used: " + "; ".join(skipped))
    return DriveReport(
        source=", ".join(log.name for log, _ in drives),
        model=model,
        drives=comparison.drives,
        predictions=comparison.predictions,
        rows=comparison.rows(),
        ego_speed_mps=_rms(comparison.speed_errors),
        notes=NOTES,
        skipped=tuple(skipped),
    )


class Comparison:
    """Predictions against the truth, drive by drive."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._sums = {label: _Sums() for label in classes}
        self.speed_errors: list[float] = []
        self.drives = self.predictions = 0

    def add(self, answers: Iterable[Prediction], frames: Sequence[TruthFrame]) -> None:
        """One drive. Answers at stamps without a truth are counted and not compared."""
        at = {frame.stamp_ns: frame for frame in frames}
        numbers: dict[int, int] = {}  # true track -> ours
        self.drives += 1
        for answer in answers:
            self.predictions += 1
            frame = at.get(answer.header.stamp_ns)
            if frame is None:
                continue
            for label, sums in self._sums.items():
                _compare(answer, frame, at, label, sums, numbers)
            if answer.ego.source != "none":
                ours, true = np.linalg.norm(answer.ego.velocity), np.linalg.norm(frame.velocity)
                self.speed_errors.append(float(ours - true))

    def rows(self) -> tuple[DriveRow, ...]:
        """One a class."""
        return tuple(_row(label, sums) for label, sums in self._sums.items())


def _compare(
    prediction: Prediction,
    frame: TruthFrame,
    frames: dict[int, TruthFrame],
    label: str,
    sums: _Sums,
    numbers: dict[int, int],
) -> None:
    true = [o for o in frame.objects if o.label == label]
    ours = [o for o in prediction.objects if o.label == label and _within(o.center)]
    costs: dict[int, dict[int, float]] = {}
    for i, t in enumerate(true):
        for j, o in enumerate(ours):
            away = float(np.hypot(t.center[0] - o.center[0], t.center[1] - o.center[1]))
            if away < MATCH_M:
                costs.setdefault(i, {})[j] = away
    matched = assign(costs)
    counts = [t.points >= MIN_POINTS and _within(t.center) for t in true]
    sums.objects += sum(counts)
    sums.wrong += len(ours) - len(matched)
    for i, j in matched.items():
        if not counts[i]:
            continue
        t, o = true[i], ours[j]
        sums.found += 1
        sums.switches += numbers.get(t.track_id, o.track_id) != o.track_id
        numbers[t.track_id] = o.track_id
        if o.hits >= KNOWN_HITS:
            _judge(t, o, frame, frames, sums)


def _judge(
    t: TruthObject, o: TrackedObject, frame: TruthFrame, frames: dict[int, TruthFrame], sums: _Sums
) -> None:
    off = np.array(o.center[:2]) - t.center[:2]
    sums.position.append(float(np.hypot(*off)))
    spread = np.array(o.box_covariance).reshape(4, 4)[:2, :2]
    sums.nees.append(float(off @ np.linalg.solve(spread, off)))
    sums.yaw.append(float(np.degrees(abs(wrap_angle(o.yaw - t.yaw)))))
    speed_error = float(np.hypot(*(np.array(o.velocity) - t.velocity)))
    sums.velocity.append(speed_error)
    if np.hypot(*t.velocity) > 1.0:
        sums.moving.append(speed_error)
    T_ego_map = inverse(_pose(frame))
    for point in o.forecast:
        later = frames.get(frame.stamp_ns + round(point.t_s * 1e9))
        there = None if later is None else next((x for x in later.objects if x.track_id == t.track_id), None)
        if point.t_s in sums.forecast and later is not None and there is not None:
            x, y, *_ = T_ego_map @ _pose(later) @ np.array([*there.center, 1.0])
            sums.forecast[point.t_s].append(float(np.hypot(point.x - x, point.y - y)))


def _row(label: str, sums: _Sums) -> DriveRow:
    missed = sums.objects - sums.found
    return DriveRow(
        label=label,
        objects=sums.objects,
        recall=sums.found / sums.objects if sums.objects else None,
        precision=sums.found / (sums.found + sums.wrong) if sums.found + sums.wrong else None,
        mota=1 - (missed + sums.wrong + sums.switches) / sums.objects if sums.objects else None,
        switches=sums.switches,
        position_m=_rms(sums.position),
        velocity_mps=_rms(sums.velocity),
        velocity_moving_mps=_rms(sums.moving),
        yaw_deg=float(np.median(sums.yaw)) if sums.yaw else None,
        nees=float(np.mean(sums.nees)) if sums.nees else None,
        forecast_m=tuple(float(np.mean(v)) if v else None for v in sums.forecast.values()),
    )


def _within(center: Sequence[float]) -> bool:
    return 0 <= center[0] <= REACH_M and abs(center[1]) <= ASIDE_M


def _pose(frame: TruthFrame) -> Array:
    return np.array(frame.T_map_ego).reshape(4, 4)


def _rms(values: Sequence[float]) -> float | None:
    return float(np.sqrt(np.mean(np.square(values)))) if len(values) else None


def render(report: DriveReport) -> RenderableType:
    """For a terminal."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("class", no_wrap=True)
    forecasts = [f"forecast\n{h:g} s" for h in HORIZONS_S]
    counts, errors = ("objects", "recall", "prec.", "MOTA", "switches"), ("position\nm", "velocity\nm/s")
    for name in (*counts, *errors, "moving\nm/s", "yaw\ndeg", "NEES", *forecasts):
        table.add_column(name, justify="right", no_wrap=True)
    for r in report.rows:
        shares = ("-" if v is None else f"{100 * v:.1f}" for v in (r.recall, r.precision, r.mota))
        numbers = (r.position_m, r.velocity_mps, r.velocity_moving_mps, r.yaw_deg, r.nees, *r.forecast_m)
        told = ("-" if n is None else f"{n:.2f}" for n in numbers)
        table.add_row(r.label, str(r.objects), *shares, str(r.switches), *told)
    ego = "" if report.ego_speed_mps is None else f"; own speed {report.ego_speed_mps:.2f} m/s RMSE"
    return Group(
        Text(f"{report.source}: {report.drives} drives, {report.predictions} answers; {report.model}{ego}"),
        "",
        table,
        "",
        *(Text(note, style="dim") for note in report.notes),
    )
