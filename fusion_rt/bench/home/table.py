"""The benchmark of the home's edge as tables."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fusion_rt.bench.home.measure import HomeResult

HEADINGS = ("event", "sent", "answered", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms")


def rows(result: HomeResult) -> list[tuple[str, ...]]:
    """One a kind of event, as HEADINGS."""
    return [
        (tail.kind, str(tail.sent), str(tail.ms.count), *map(_ms, (tail.ms.p50, tail.ms.p90, tail.ms.p99)))
        + (_ms(tail.p999), _ms(tail.ms.max))
        for tail in result.tails
    ]


def header(result: HomeResult) -> str:
    """What was measured, on what."""
    return (
        f"fusion_rt {result.version} on {result.machine}\n"
        f"event stamped to state received through {result.broker}; {result.rate_hz:g} events/s for"
        f" {result.seconds:g} s; scenes by a stand-in without a model"
    )


def facts(result: HomeResult) -> str:
    """What the nodes took."""
    return ", ".join(
        f"{name} {100 * share:.1f} % of a core and {result.rss_mb[name]:.0f} MB"
        for name, share in result.cpu.items()
    )


def render(result: HomeResult) -> RenderableType:
    """For a terminal."""
    table = Table(*HEADINGS, box=None, header_style="bold", pad_edge=False)
    for row in rows(result):
        table.add_row(*row)
    return Group(Text(header(result)), "", table, Text(facts(result)))


def markdown(result: HomeResult) -> str:
    """For a file."""
    lines = [header(result).replace("\n", "\n\n"), "", "| " + " | ".join(HEADINGS) + " |"]
    lines += ["|---|" + "---:|" * (len(HEADINGS) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in rows(result)]
    return "\n".join([*lines, "", facts(result), ""])


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
