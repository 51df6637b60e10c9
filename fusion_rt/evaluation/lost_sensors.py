"""What it costs the whole engine when a sensor falls silent for a second, or GNSS and IMU are not there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct
from rich.table import Table

from fusion_rt.evaluation.drive_scores import Comparison, DriveRow, root_mean_square
from fusion_rt.logs.truth import TruthFrame
from fusion_rt.messages import GnssFix, Image, ImuSample, Packet, PointCloud, Prediction
from fusion_rt.offline import predictions
from fusion_rt.pipeline import PipelineConfig

# Lost for a second, every three seconds; first when tracks have settled.
FIRST_NS, EVERY_NS, LOST_NS = 2_000_000_000, 3_000_000_000, 1_000_000_000
ALWAYS = "GNSS/IMU always"  # not for a second: as in a rig that has none
CASES: dict[str, tuple[type, ...]] = {
    "nothing": (),
    "lidar": (PointCloud,),
    "camera": (Image,),
    "GNSS/IMU": (GnssFix, ImuSample),
    ALWAYS: (GnssFix, ImuSample),
}
NOTE = (
    "lost: silent from second 2 to 3, 5 to 6 and so on; judged are those seconds alone, and a sweep's time"
    " without an answer counts all its objects as missed. always: through the whole drive."
    " own: the vehicle's speed, where it is known."
)


class LostRow(Struct, frozen=True, kw_only=True):
    """One class in the seconds in which a sensor was silent. ego_speed_mps: RMSE of the vehicle's own speed
    then; None where it was never known."""

    lost: str
    scores: DriveRow
    ego_speed_mps: float | None


class LostSensors:
    """The same drives, once for each sensor that is lost."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._comparisons = {lost: Comparison(classes) for lost in CASES}

    def add(
        self,
        log: Path,
        whole: Sequence[Prediction],
        frames: Sequence[TruthFrame],
        config: PipelineConfig,
    ) -> None:
        """One drive, of which the answers with nothing lost are there already. Raises LogError where it
        cannot be read."""
        if not frames:
            return
        start = frames[0].stamp_ns
        judged = [frame for frame in frames if _silent(frame.stamp_ns - start)]
        for lost, comparison in self._comparisons.items():
            silent = (lambda since_ns: True) if lost == ALWAYS else _silent
            answers = _without(log, config, CASES[lost], start, silent) if CASES[lost] else whole
            comparison.add([a for a in answers if _silent(a.header.stamp_ns - start)], frames, due=judged)

    def join(self, other: LostSensors) -> None:
        """The drives of another behind these: the same as adding them here."""
        for lost, comparison in self._comparisons.items():
            comparison.join(other._comparisons[lost])

    def rows(self) -> tuple[LostRow, ...]:
        """By what was lost, then by class."""
        return tuple(
            LostRow(lost=lost, scores=row, ego_speed_mps=root_mean_square(comparison.speed_errors))
            for lost, comparison in self._comparisons.items()
            for row in comparison.rows()
        )


def _silent(since_ns: int) -> bool:
    return since_ns >= FIRST_NS and (since_ns - FIRST_NS) % EVERY_NS < LOST_NS


def _without(
    log: Path,
    config: PipelineConfig,
    lost: tuple[type, ...],
    start_ns: int,
    silent: Callable[[int], bool],
) -> list[Prediction]:
    def kept(packet: Packet) -> bool:
        return not (isinstance(packet, lost) and silent(packet.header.stamp_ns - start_ns))

    return list(predictions(log, config, keep=kept))


def table(rows: Sequence[LostRow]) -> Table:
    """For a terminal."""
    drawn = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("lost", "class"):
        drawn.add_column(name, no_wrap=True)
    for name in (
        "objects",
        "recall",
        "prec.",
        "MOTA",
        "switches",
        "position\nm",
        "velocity\nm/s",
        "own\nm/s",
    ):
        drawn.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        s = row.scores
        shares = ("-" if v is None else f"{100 * v:.1f}" for v in (s.recall, s.precision, s.mota))
        told = (s.position_m, s.velocity_mps, row.ego_speed_mps)
        metres = ("-" if v is None else f"{v:.2f}" for v in told)
        drawn.add_row(row.lost, s.label, str(s.objects), *shares, str(s.switches), *metres)
    return drawn
