"""What disturbances cost: the same simulated worlds with parts of the lidar lost, in the dark, in fog and
rain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from msgspec import Struct
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fusion_rt.errors import LogError
from fusion_rt.evaluation import report as undisturbed
from fusion_rt.evaluation.report import Case, Report, Row, interval, percent
from fusion_rt.evaluation.simulated import DIFFICULTY, frame_boxes, look
from fusion_rt.evaluation.subsets import SUBSETS
from fusion_rt.messages import Header, PointCloud
from fusion_rt.metrics.matching import FrameBoxes
from fusion_rt.perception import Perception
from fusion_rt.sim.fault_kinds import LostRings, brightened
from fusion_rt.sim.frame_files import LIDAR_HEIGHT_M, Frame, Scene, read_scene
from fusion_rt.sim.lidar_weather import on_points
from fusion_rt.sim.weather import Weather
from fusion_rt.transforms import Array

Change: TypeAlias = Callable[[Frame], Frame]
NOTHING, CAMERA_LOST = "nothing", "camera lost"
DARK = 0.1
FOG, RAIN = Weather(visibility_m=60.0), Weather(rain_mm_h=30.0)
NOTES = (
    "disturbed: lidar + camera, the same objects in all rows; loss: AP points against undisturbed ones.",
    f"fog (visibility {FOG.visibility_m:g} m) and rain ({RAIN.rain_mm_h:g} mm/h) act on the stored sweeps"
    " alone: an image is stored without depths, and stays as clear as it was; nor are wet surfaces darker,"
    " nor do drops show where clear air gave no return. So these rows are kinder than the weather;"
    " `fusion-rt sim frames --weather 1` makes scenes whose images have the weather, too.",
    f"rings: by steps of elevation, each lost with probability 0.5. dark: {DARK:.0%} of the brightness.",
)


class Cost(Struct, frozen=True, kw_only=True):
    """One condition and class. loss: of the row's AP at each of its levels, 0..1; None where either has
    none."""

    condition: str
    row: Row
    loss: tuple[float | None, ...]


class DisturbedReport(Struct, frozen=True, kw_only=True):
    """worlds: the undisturbed evaluation; disturbed: by condition, then by class."""

    worlds: Report
    disturbed: tuple[Cost, ...]
    notes: tuple[str, ...]

    @property
    def skipped(self) -> tuple[str, ...]:
        return self.worlds.skipped


def evaluate(
    paths: Sequence[Path],
    perception: Perception,
    report: Report,
    *,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> DisturbedReport:
    """Looks at every scene that `report` is of again, under each condition, with lidar and camera."""
    classes = perception.spec.classes
    cases: dict[Case, list[FrameBoxes]] = {
        Case(name, label, DIFFICULTY): [] for name in CONDITIONS for label in classes
    }
    for index, path in enumerate(paths):
        try:
            scene = read_scene(path)
        except LogError:  # the report says so already
            continue
        for number, (name, begin) in enumerate(CONDITIONS.items()):
            changed = _disturbed(scene, begin(np.random.default_rng([index, number])))
            ((_, found),) = look(changed, perception, SUBSETS[:1])
            for k, label in enumerate(classes):
                cases[Case(name, label, DIFFICULTY)].append(frame_boxes(changed.now, found, k, label))
        advance(index + 1, len(paths))
    whole = [row for row in report.rows if row.sensors == SUBSETS[0].name]
    camera_lost = [row for row in report.rows if row.sensors == SUBSETS[1].name]
    rows = {NOTHING: whole, CAMERA_LOST: camera_lost}
    for row in undisturbed.rows(undisturbed.judged(cases, perception), perception):
        rows.setdefault(row.sensors, []).append(row)
    return DisturbedReport(
        worlds=report,
        disturbed=tuple(
            Cost(condition=name, row=row, loss=_losses(before, row))
            for name, some in rows.items()
            for before, row in zip(whole, some)
        ),
        notes=NOTES,
    )


def render(report: DisturbedReport) -> RenderableType:
    """For a terminal: the undisturbed tables, then the losses."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("disturbed", "class"):
        table.add_column(name, no_wrap=True)
    for name in ("objects", "BEV AP\nstrict", "\nloss", "BEV AP\nloose", "\nloss", "TP/FP/FN"):
        table.add_column(name, justify="right", no_wrap=True)
    for cost in report.disturbed:
        strict, loose = cost.row.levels[:2]
        table.add_row(
            cost.condition,
            cost.row.label,
            str(cost.row.objects),
            percent(strict.ap),
            _points(cost.loss[0]),
            Text.assemble(percent(loose.ap), " ", interval(loose.ap)),
            _points(cost.loss[1]),
            f"{loose.tp}/{loose.fp}/{loose.fn}",
        )
    notes = (Text(note, style="dim") for note in report.notes)
    return Group(undisturbed.render(report.worlds), "", table, "", *notes)


def _points(loss: float | None) -> str:
    return "-" if loss is None else f"{100 * loss:.1f}"


def _losses(before: Row, row: Row) -> tuple[float | None, ...]:
    pairs = [(a.ap.value, b.ap.value) for a, b in zip(before.levels, row.levels)]
    return tuple(None if a is None or b is None else a - b for a, b in pairs)


def _disturbed(scene: Scene, change: Change) -> Scene:
    """Both frames with the same sensor's trouble; the truth stays."""
    return replace(scene, now=change(scene.now), previous=change(scene.previous))


def _half_the_rings(rng: np.random.Generator) -> Change:
    lose = LostRings(sensor="lidar", share=0.5).begin(rng)

    def change(frame: Frame) -> Frame:
        n = len(frame.points)
        left = lose(
            PointCloud(
                header=Header(sensor_id="lidar", frame_id="lidar", seq=0, stamp_ns=0),
                xyz=_from_sensor(frame.points),
                intensity=frame.intensity,
                t=np.zeros(n, np.float32),
                ring=np.zeros(n, np.uint16),
            )
        )
        assert isinstance(left, PointCloud)
        return replace(frame, points=_from_ground(left.xyz), intensity=left.intensity)

    return change


def _every_second_point(rng: np.random.Generator) -> Change:
    def change(frame: Frame) -> Frame:
        kept = np.sort(rng.permutation(len(frame.points))[::2])
        return replace(frame, points=frame.points[kept], intensity=frame.intensity[kept])

    return change


def _dark(rng: np.random.Generator) -> Change:
    return lambda frame: replace(frame, image=brightened(frame.image, DARK))


def _weather(weather: Weather) -> Callable[[np.random.Generator], Change]:
    def begin(rng: np.random.Generator) -> Change:
        def change(frame: Frame) -> Frame:
            xyz, intensity, seen = on_points(_from_sensor(frame.points), frame.intensity, weather, rng)
            return replace(frame, points=_from_ground(xyz[seen]), intensity=intensity[seen])

        return change

    return begin


# What is done to a sensor, for each world anew, by name.
CONDITIONS: dict[str, Callable[[np.random.Generator], Change]] = {
    "half of the rings lost": _half_the_rings,
    "half of the points lost": _every_second_point,
    "dark image": _dark,
    "fog, lidar only": _weather(FOG),
    "rain, lidar only": _weather(RAIN),
}


def _from_sensor(points: Array) -> Array:
    """The lidar of simulated frames stands upright on the ego frame's z axis."""
    return points - np.array([0, 0, LIDAR_HEIGHT_M], np.float32)


def _from_ground(xyz: Array) -> Array:
    return xyz + np.array([0, 0, LIDAR_HEIGHT_M], np.float32)
