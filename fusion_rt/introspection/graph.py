"""Who talks to whom: as text, in Graphviz's language, and as a picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec import Struct

from fusion_rt.introspection.observer import FAR, TopicView

OTHERS = "other programs"
HOSTS = "other hosts"


class Edge(Struct, frozen=True, order=True):
    """`source` sends `topic` to `target`, at `rate_hz` (None: not known)."""

    source: str
    target: str
    topic: str
    rate_hz: float | None


def edges(topics: Iterable[TopicView]) -> list[Edge]:
    """One for each topic and reader; a topic that nobody reads goes nowhere, and is not one."""
    found = []
    for view in topics:
        name, _, host = view.topic.partition(FAR)
        if view.silent:
            continue
        source = view.node or (f"process {view.pid}" if view.pid else host or HOSTS)
        if FAR in view.topic and view.node is not None:
            targets = [HOSTS] if view.readers or view.published else []
        else:
            targets = [reader.node for reader in view.readers]
            targets += [OTHERS] if view.other_readers else []
        found += [Edge(source, target, name, view.rate_hz) for target in targets]
    return sorted(found, key=lambda edge: (edge.source, edge.target, edge.topic))


def text(found: Sequence[Edge], nodes: Iterable[str] = ()) -> str:
    """Each speaker, and what it says to whom."""
    lines = []
    for source in sorted({edge.source for edge in found}):
        lines.append(source)
        said: dict[tuple[str, float | None], list[str]] = {}
        for edge in found:
            if edge.source == source:
                said.setdefault((edge.topic, edge.rate_hz), []).append(edge.target)
        lines += [f"    {topic}{_rate(rate)} -> {', '.join(to)}" for (topic, rate), to in said.items()]
    silent = sorted(set(nodes) - {name for edge in found for name in (edge.source, edge.target)})
    lines += [f"{name}\n    talks to nobody" for name in silent]
    return "\n".join(lines)


def dot(found: Sequence[Edge], nodes: Iterable[str] = ()) -> str:
    """For Graphviz: `dot -Tsvg`."""
    lines = ["digraph fusion_rt {", "  rankdir=LR;", "  node [shape=box];"]
    lines += [f"  {_quoted(name)};" for name in sorted(_names(found, nodes))]
    lines += [
        f"  {_quoted(e.source)} -> {_quoted(e.target)} [label={_quoted(e.topic + _rate(e.rate_hz))}];"
        for e in found
    ]
    return "\n".join([*lines, "}", ""])


def draw(found: Sequence[Edge], path: Path, nodes: Iterable[str] = ()) -> None:
    """A picture; its format is as the path ends: .svg, .png, .pdf. Needs matplotlib (extra `bench`)."""
    from matplotlib.figure import Figure

    places = _places(found, nodes)
    columns = max((x for x, _ in places.values()), default=0) + 1
    rows = max((y for _, y in places.values()), default=0) + 1
    figure = Figure(figsize=(3.4 * columns, 1.2 + 1.3 * rows))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.4, -0.6)
    said: dict[tuple[str, str], list[str]] = {}
    for edge in found:
        said.setdefault((edge.source, edge.target), []).append(edge.topic + _rate(edge.rate_hz))
    for (source, target), topics in said.items():
        (x0, y0), (x1, y1) = places[source], places[target]
        bend = 0.0 if x1 == x0 + 1 else 0.25
        arrow = {"arrowstyle": "-|>", "color": "0.4", "shrinkA": 34, "shrinkB": 34}
        axes.annotate(
            "",
            xy=(x1, y1),
            xytext=(x0, y0),
            arrowprops=arrow | {"connectionstyle": f"arc3,rad={bend}"},
        )
        middle = ((x0 + x1) / 2, (y0 + y1) / 2 + bend * 0.5 * abs(x1 - x0))
        axes.text(
            *middle, "\n".join(topics), ha="center", va="center", fontsize=7,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )  # fmt: skip
    box = {"boxstyle": "round,pad=0.5", "facecolor": "#dce9f5", "edgecolor": "#30597f"}
    for name, (x, y) in places.items():
        axes.text(x, y, name, ha="center", va="center", fontsize=9, bbox=box)
    figure.savefig(path, dpi=150)


def _places(found: Sequence[Edge], nodes: Iterable[str]) -> dict[str, tuple[int, int]]:
    """name -> column, row: readers to the right of those they listen to, as far as there is no circle."""
    names = sorted(_names(found, nodes))
    column = dict.fromkeys(names, 0)
    for _ in range(len(names)):
        for edge in found:
            if column[edge.target] <= column[edge.source] < len(names) - 1:
                column[edge.target] = column[edge.source] + 1
    used = sorted(set(column.values()))
    rows: dict[int, int] = {}
    places = {}
    for name in names:
        x = used.index(column[name])
        places[name] = (x, rows.setdefault(x, 0))
        rows[x] += 1
    return places


def _names(found: Sequence[Edge], nodes: Iterable[str]) -> set[str]:
    return {name for edge in found for name in (edge.source, edge.target)} | set(nodes)


def _rate(rate_hz: float | None) -> str:
    return "" if rate_hz is None else f" {rate_hz:.1f} Hz"


def _quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
