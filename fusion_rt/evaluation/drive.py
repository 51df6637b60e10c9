"""The whole engine on drives whose truth is known: what is followed, how well its motion is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fusion_rt import config as typed
from fusion_rt.batch.mapping import Failed, Workers, absolute, map_logs
from fusion_rt.errors import ConfigError, LogError
from fusion_rt.evaluation import lost_sensors
from fusion_rt.evaluation.drive_scores import (
    ASIDE_M,
    HORIZONS_S,
    KNOWN_HITS,
    MATCH_M,
    MIN_POINTS,
    REACH_M,
    Comparison,
    DriveRow,
    root_mean_square,
)
from fusion_rt.evaluation.lost_sensors import LostRow, LostSensors
from fusion_rt.logs import truth
from fusion_rt.offline import predictions
from fusion_rt.pipeline import PipelineConfig
from fusion_rt.scenario import find_file

TRUTH = ".truth.jsonl"
NOTES = (
    f"Objects with {MIN_POINTS} lidar points or more in the sweep, up to {REACH_M:g} m ahead and"
    f" {ASIDE_M:g} m aside; found: a track of the class within {MATCH_M:g} m of the centre. switches:"
    " another number than before.",
    "AMOTA: mean of the scaled MOTA at 40 recalls, as nuScenes has it.",
    f"position (m) and velocity (m/s): mean errors of tracks of {KNOWN_HITS} boxes and more; moving: of"
    " objects faster than 1 m/s. NEES: squared error by its covariance; 2 where the tracker knows itself.",
    "forecast: mean distance from where the object is that much later, m.",
    lost_sensors.NOTE,
)


class DriveReport(Struct, frozen=True, kw_only=True):
    """An evaluation. lost: in the seconds in which a sensor is silent; ego_speed_mps: RMSE of the vehicle's
    own speed; skipped: drives that were of no use."""

    source: str
    model: str
    drives: int
    predictions: int
    rows: tuple[DriveRow, ...]
    lost: tuple[LostRow, ...]
    ego_speed_mps: float | None
    notes: tuple[str, ...]
    skipped: tuple[str, ...]


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


class Drive(NamedTuple):
    """What one drive came to. model: identity, "" without an answer; notes: what could not be used."""

    comparison: Comparison
    silent: LostSensors
    model: str
    notes: tuple[str, ...]


def evaluate(
    drives: Sequence[tuple[Path, Path]],
    config: PipelineConfig,
    classes: Sequence[str],
    workers: Workers | None = None,
    *,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> DriveReport:
    """Replays each recording and compares it with its truth; by workers or without, the numbers are the same.
    Raises LogError where none can be read."""
    workers = workers or Workers(threads=config.threads)
    look = partial(compare, config=workers.engine(config), classes=tuple(classes))
    found: list[Drive | Failed] = []
    for drive in map_logs(look, [(absolute(log), absolute(true)) for log, true in drives], workers):
        found.append(drive)
        advance(len(found), len(drives))
    return judge([log.name for log, _ in drives], found, classes)


def compare(drive: tuple[Path, Path], config: PipelineConfig, classes: Sequence[str]) -> Drive:
    """One recording against its truth. One that cannot be read has notes and no drive."""
    log, true = drive
    comparison, silent, notes = Comparison(classes), LostSensors(classes), list[str]()
    try:
        frames = truth.read(true)
        answers = list(predictions(log, config, say=notes.append))
        silent.add(log, answers, frames, config)
    except (LogError, ConfigError) as error:
        return Drive(comparison, LostSensors(classes), "", (*notes, str(error)))
    comparison.add(answers, frames)
    model = answers[0].certificate.model if answers else ""
    return Drive(comparison, silent, model, tuple(notes))


def judge(names: Sequence[str], found: Sequence[Drive | Failed], classes: Sequence[str]) -> DriveReport:
    """All drives together, in their order. Raises LogError where there is none."""
    comparison, silent, model = Comparison(classes), LostSensors(classes), ""
    skipped: list[str] = []
    for name, drive in zip(names, found):
        if isinstance(drive, Failed):
            skipped.append(f"{name}: {drive.reason}")
            continue
        comparison.join(drive.comparison)
        silent.join(drive.silent)
        model = drive.model or model
        skipped += drive.notes
    if not comparison.drives:
        raise LogError("no drive can be used: " + "; ".join(skipped))
    return DriveReport(
        source=", ".join(names),
        model=model,
        drives=comparison.drives,
        predictions=comparison.predictions,
        rows=comparison.rows(),
        lost=silent.rows(),
        ego_speed_mps=root_mean_square(comparison.speed_errors),
        notes=NOTES,
        skipped=tuple(skipped),
    )


def render(report: DriveReport) -> RenderableType:
    """For a terminal."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("class", no_wrap=True)
    forecasts = [f"{'' if i else 'forecast'}\n{h:g} s" for i, h in enumerate(HORIZONS_S)]
    counts = ("objects", "recall", "prec.", "MOTA", "AMOTA", "switches")
    errors = ("position\nm", "velocity\nm/s")
    for name in (*counts, *errors, "\nmoving", "yaw\ndeg", "NEES", *forecasts):
        table.add_column(name, justify="right", no_wrap=True)
    for r in report.rows:
        shares = ("-" if v is None else f"{100 * v:.1f}" for v in (r.recall, r.precision, r.mota, r.amota))
        numbers = (r.position_m, r.velocity_mps, r.velocity_moving_mps, r.yaw_deg, r.nees, *r.forecast_m)
        told = ("-" if n is None else f"{n:.2f}" for n in numbers)
        table.add_row(r.label, str(r.objects), *shares, str(r.switches), *told)
    ego = "" if report.ego_speed_mps is None else f"; own speed {report.ego_speed_mps:.2f} m/s RMSE"
    return Group(
        Text(f"{report.source}: {report.drives} drives, {report.predictions} answers; {report.model}{ego}"),
        "",
        table,
        "",
        lost_sensors.table(report.lost),
        "",
        *(Text(note, style="dim") for note in report.notes),
    )
