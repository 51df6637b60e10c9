"""The benchmark of a whole home as one table, and what was to be reached."""

from __future__ import annotations

from msgspec import Struct
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fusion_rt.bench.home.whole import Setup, WholeResult

P50_MS, P99_MS, P99_CAMERAS_MS = 25.0, 80.0, 120.0
CORES, MEMORY_MB = 1.0, 700.0
WHOLE_CAMERAS, STREAMS = 2, 4
HEADINGS = (
    "cameras",
    "what",
    "cores",
    "RSS MB",
    "PSS MB",
    "events",
    "answered",
    "p50 ms",
    "p90 ms",
    "p99 ms",
)


class Figure(Struct, frozen=True, kw_only=True):
    """What was aimed at."""

    what: str
    reached: float
    aim: float
    unit: str

    @property
    def held(self) -> bool:
        """Whether it was reached."""
        return self.reached <= self.aim


def figures(result: WholeResult) -> list[Figure]:
    """Of what was measured."""
    found = []
    for setup in result.setups:
        everything = setup.answers[0].ms
        streams = f"{setup.cameras} cameras"
        if setup.cameras == WHOLE_CAMERAS:
            found += [
                Figure(what=f"all processes, {streams}", reached=setup.cpu, aim=CORES, unit="cores"),
                Figure(what=f"memory, {streams}", reached=setup.memory_mb, aim=MEMORY_MB, unit="MB"),
            ]
        if everything.p50 is not None and setup.cameras < STREAMS:
            found.append(Figure(what=f"event p50, {streams}", reached=everything.p50, aim=P50_MS, unit="ms"))
        if everything.p99 is not None:
            aim = P99_CAMERAS_MS if setup.cameras >= STREAMS else P99_MS
            found.append(Figure(what=f"event p99, {streams}", reached=everything.p99, aim=aim, unit="ms"))
    return found


def rows(result: WholeResult) -> list[tuple[str, ...]]:
    """As HEADINGS: the processes of each number of cameras, their sum, then its events by kind."""
    return [row for setup in result.setups for row in _of(setup)]


def _of(setup: Setup) -> list[tuple[str, ...]]:
    cameras, blank = str(setup.cameras), ("", "", "", "", "")
    found: list[tuple[str, ...]] = [
        (cameras, p.name, f"{p.cpu:.3f}", f"{p.rss_mb:.0f}", _number(p.pss_mb, 0), *blank)
        for p in setup.taken
    ]
    rss = sum(p.rss_mb for p in setup.taken)
    pss = None if any(p.pss_mb is None for p in setup.taken) else setup.memory_mb
    found.append((cameras, "all", f"{setup.cpu:.3f}", f"{rss:.0f}", _number(pss, 0), *blank))
    for answer in setup.answers:
        ms = answer.ms
        tail = (str(answer.sent), str(ms.count), *(_number(v, 1) for v in (ms.p50, ms.p90, ms.p99)))
        found.append((cameras, f"events: {answer.kind}", "", "", "", *tail))
    return found


def header(result: WholeResult) -> str:
    """What was measured, on what."""
    return (
        f"fusion_rt {result.version} on {result.machine}\n10 rooms, 40 sensors, {result.rate_hz:g} events/s"
        f" of contacts and motion sensors for {result.seconds:g} s, stamped to received through Mosquitto"
    )


def lines(result: WholeResult) -> list[str]:
    """The aims, then what could not be as it should."""
    said = [
        f"{f.what}: {f.reached:.3g} {f.unit}, at most {f.aim:g}: {'held' if f.held else 'MISSED'}"
        for f in figures(result)
    ]
    return [*said, *(f"note: {note}" for note in result.notes)]


def render(result: WholeResult) -> RenderableType:
    """For a terminal."""
    table = Table(*HEADINGS, box=None, header_style="bold", pad_edge=False)
    for row in rows(result):
        table.add_row(*row)
    return Group(Text(header(result)), "", table, "", *(Text(line) for line in lines(result)))


def markdown(result: WholeResult) -> str:
    """For a file."""
    table = [header(result).replace("\n", "\n\n"), "", "| " + " | ".join(HEADINGS) + " |"]
    table += ["|---|---|" + "---:|" * (len(HEADINGS) - 2)]
    table += ["| " + " | ".join(row) + " |" for row in rows(result)]
    return "\n".join([*table, "", *(f"- {line}" for line in lines(result)), ""])


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
