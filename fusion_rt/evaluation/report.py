"""What an evaluation says: numbers as structs for JSON, and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fusion_rt.evaluation.gains import OTHER, Gain, tables
from fusion_rt.evaluation.in_view import InViewRow
from fusion_rt.metrics.centre_distance import CentreScores
from fusion_rt.metrics.detection import MIN_OVERLAPS, Estimate, Judged, Level, judge_drawn
from fusion_rt.metrics.matching import FrameBoxes
from fusion_rt.perception import Perception


class Case(Struct, frozen=True):
    """One row's name: sensors used, class, and which objects count."""

    sensors: str
    label: str
    difficulty: str


class Row(Struct, frozen=True, kw_only=True):
    """One row: `objects` count, in `frames`; `levels` are BEV strict, BEV loose, 3D strict, 3D loose."""

    sensors: str
    label: str
    difficulty: str
    frames: int
    objects: int
    threshold: float
    levels: tuple[Level, ...]


class CentreRow(Struct, frozen=True, kw_only=True):
    """One row by the distance between centres."""

    sensors: str
    label: str
    scores: CentreScores


class Report(Struct, frozen=True, kw_only=True):
    """An evaluation.

    source      what was looked at
    model       identity of the package; engine: of the runtime and its precision
    frames      how many were looked at
    detections  sensors -> how many boxes, of any score
    rows        empty where nothing is labelled
    centres     the same by the distance between centres, where objects have velocities
    in_view     how many are found of those that the image shows more or less of, where that is known
    gains       what the camera adds to the lidar, a detector beside to both, and the model to the other one
    against     that other model and its engine, where there is one
    notes       what the numbers mean
    skipped     frames, or parts of them, that could not be used, and why
    results     folder of the result files, where they were asked for
    """

    source: str
    model: str
    engine: str
    frames: int
    detections: dict[str, int]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    results: str | None = None
    centres: tuple[CentreRow, ...] = ()
    in_view: tuple[InViewRow, ...] = ()
    gains: tuple[Gain, ...] = ()
    against: str | None = None


COUNTED = (
    "AP: mean precision at 40 recalls over all scores, in %. strict: cars at an overlap (IoU) of "
    + "{:g}, others at {:g}".format(MIN_OVERLAPS["car"][0], MIN_OVERLAPS["pedestrian"][0])
    + "; loose: {:g}, {:g}.".format(MIN_OVERLAPS["car"][1], MIN_OVERLAPS["pedestrian"][1])
)
_LEVELS = ("BEV AP\nstrict", "BEV AP\nloose", "3D AP\nstrict", "3D AP\nloose")
CENTRES = (
    "AP by centre, and the errors of translation, scale, orientation and velocity (the network's own) of what"
    " is found: nuScenes' definitions, AP over 0.5, 1, 2 and 4 m, errors within 2 m."
)
IN_VIEW = (
    "found by what the image shows: recall at the working point, BEV, loose, in %, of the objects of whose"
    " outline the image shows so much, out of how many."
)
WORKING_POINT = (
    "Precision, recall, F1, ECE (calibration error of the scores) and counts: of what reaches the model's own"
    " score threshold, BEV, loose."
    " [ ]: the middle 95 % over frames drawn again with replacement."
)


def judged(cases: Mapping[Case, Sequence[FrameBoxes]], perception: Perception) -> dict[Case, Judged]:
    """Every case that has a frame; in the order given."""
    thresholds = perception.spec.score_thresholds
    return {
        case: judge_drawn(frames, label=case.label, threshold=thresholds[case.label])
        for case, frames in cases.items()
        if frames
    }


def rows(cases: Mapping[Case, Judged], perception: Perception) -> tuple[Row, ...]:
    """In the order given, without what another model finds."""
    return tuple(
        Row(
            sensors=case.sensors,
            label=case.label,
            difficulty=case.difficulty,
            frames=of.frames,
            objects=of.objects,
            threshold=perception.spec.score_thresholds[case.label],
            levels=of.levels,
        )
        for case, of in cases.items()
        if case.sensors != OTHER
    )


def looker(perception: Perception) -> str:
    """What looks, and by which runtime and precision."""
    return f"{perception.package.identity}, {perception.engine_identity}"


def gains(
    cases: Mapping[Case, Judged], pairs: Sequence[tuple[str, str]], classes: Sequence[str], difficulty: str
) -> tuple[Gain, ...]:
    """How much better each class comes out in the cases of a difficulty with the first of each pair of
    sensors than with the second, where both looked at the same frames."""
    return tuple(
        Gain(
            label=label,
            more=more,
            less=less,
            levels=tuple(mine.over(other) for mine, other in zip(with_more.draws, with_less.draws)),
        )
        for more, less in pairs
        for label in classes
        if (with_more := cases.get(Case(more, label, difficulty))) is not None
        and (with_less := cases.get(Case(less, label, difficulty))) is not None
        and with_more.frames == with_less.frames
    )


def render(report: Report) -> RenderableType:
    """For a terminal."""
    head = f"{report.source}: {report.frames} frames; {report.model}, {report.engine}"
    found = ", ".join(f"{n} with {sensors}" for sensors, n in report.detections.items())
    parts: list[RenderableType] = [Text(head), Text(f"boxes of any score: {found or 'none'}")]
    if report.against is not None:
        parts.append(Text(f"{OTHER}: {report.against}"))
    if report.results is not None:
        parts.append(Text(f"result files in KITTI's format: {report.results}"))
    if report.rows:
        parts += ["", _table(report.rows), ""]
    if report.gains:
        parts += [tables(report.gains), ""]
    if report.centres:
        parts += [_centre_table(report.centres), ""]
    if report.in_view:
        parts += [_view_table(report.in_view), ""]
    parts += [Text(note, style="dim") for note in report.notes]
    return Group(*parts)


def _table(lines: Sequence[Row]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    # Where there is too little room, numbers give way and names do not.
    for name, width in (("class", len("lidar+camera")), ("which", len("moderate"))):
        table.add_column(name, no_wrap=True, min_width=width)
    for name in ("objects", *_LEVELS, "prec.", "recall", "F1", "ECE", "TP/FP/FN"):
        table.add_column(name, justify="right", no_wrap=True)
    before = ""
    for row in lines:
        if row.sensors != before:
            table.add_row(Text(row.sensors, style="bold"))
            before = row.sensors
        strict, loose, strict_3d, loose_3d = row.levels
        table.add_row(
            row.label,
            row.difficulty,
            str(row.objects),
            percent(strict.ap),
            Text.assemble(percent(loose.ap), " ", interval(loose.ap)),
            percent(strict_3d.ap),
            percent(loose_3d.ap),
            percent(loose.precision),
            percent(loose.recall),
            percent(loose.f1),
            "-" if loose.ece is None else f"{100 * loose.ece:.1f}",
            f"{loose.tp}/{loose.fp}/{loose.fn}",
        )
    return table


def _centre_table(rows: Sequence[CentreRow]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("class", "sensors"):
        table.add_column(name, no_wrap=True)
    for name in ("AP by\ncentre", "ATE\nm", "ASE", "AOE\nrad", "AVE\nm/s"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        s = row.scores
        errors = (s.translation_m, s.scale, s.orientation_rad, s.velocity_mps)
        table.add_row(
            row.label,
            row.sensors,
            "-" if s.ap is None else f"{100 * s.ap:.1f}",
            *("-" if e is None else f"{e:.2f}" for e in errors),
        )
    return table


def _view_table(rows: Sequence[InViewRow]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("class", "sensors"):
        table.add_column(name, no_wrap=True)
    for band in rows[0].bands:
        shares = f"{band.low:.0%}-{1.0 if band.high is None else band.high:.0%}"
        table.add_column(
            f"found by what the\nimage shows: {shares}" if band.low == 0 else shares, justify="right"
        )
    for row in rows:
        found = (f"{100 * b.found / b.objects:.1f} of {b.objects}" if b.objects else "-" for b in row.bands)
        table.add_row(row.label, row.sensors, *found)
    return table


def percent(estimate: Estimate) -> str:
    return "-" if estimate.value is None else f"{100 * estimate.value:.1f}"


def interval(estimate: Estimate) -> Text:
    if estimate.low is None or estimate.high is None:
        return Text("")
    return Text(f"[{100 * estimate.low:.0f}-{100 * estimate.high:.0f}]", style="dim")
