"""Whether one set of sensors, or one model, finds more than another: both judged on the same frames."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from rich.table import Table

from fusion_rt.metrics.detection import Estimate


class Gain(Struct, frozen=True, kw_only=True):
    """How much larger the AP of a class is with `more` than with `less`, -1..1; `levels` are BEV strict, BEV
    loose, 3D strict, 3D loose."""

    label: str
    more: str
    less: str
    levels: tuple[Estimate, ...]


OTHER = "the other"  # model, or precision, that is compared with
NOTE = (
    "AP over that with less, or with the other model: the difference in points. [ ]: the middle 95 % over"
    " frames drawn again, the same ones for both; where it holds no 0, frames like these tell the two apart."
)


def table(gains: Sequence[Gain]) -> Table:
    """For a terminal."""
    out = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("class", "AP with", "over that\nwith"):
        out.add_column(name, no_wrap=True)
    for name in ("BEV\nstrict", "BEV\nloose", "3D\nstrict", "3D\nloose"):
        out.add_column(name, justify="right", no_wrap=True)
    for gain in gains:
        out.add_row(gain.label, gain.more, gain.less, *map(_points, gain.levels))
    return out


def _points(estimate: Estimate) -> str:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return "-"
    value, low, high = (100 * v for v in (estimate.value, estimate.low, estimate.high))
    return f"{value:+.1f} [{low:+.1f} {high:+.1f}]"
