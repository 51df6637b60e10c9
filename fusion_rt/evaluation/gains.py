"""Whether one set of sensors, or one model, finds more than another: both judged on the same frames."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from msgspec import Struct
from rich.console import Group
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
    "AP gained: the difference in points. [ ]: the middle 95 % over frames drawn again, the same ones for"
    " both; where it holds no 0, frames like these tell the two apart."
)


def tables(gains: Sequence[Gain]) -> Group:
    """For a terminal: one for each pair that is compared."""
    return Group(*(_table(list(of)) for _, of in groupby(gains, lambda gain: (gain.more, gain.less))))


def _table(gains: Sequence[Gain]) -> Table:
    title = f"{gains[0].more} over {gains[0].less}"
    out = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        header_style="bold",
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    out.add_column("AP gained", no_wrap=True)
    for name in ("BEV strict", "BEV loose", "3D strict", "3D loose"):
        out.add_column(name, justify="right", no_wrap=True, min_width=18)
    for gain in gains:
        out.add_row(gain.label, *map(_points, gain.levels))
    return out


def _points(estimate: Estimate) -> str:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return "-"
    value, low, high = (100 * v for v in (estimate.value, estimate.low, estimate.high))
    return f"{value:+.1f} [{low:+.1f} {high:+.1f}]"
