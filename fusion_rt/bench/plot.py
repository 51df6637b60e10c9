"""Where the milliseconds go, as a picture. Needs the extra `bench`."""

from __future__ import annotations

from pathlib import Path

from fusion_rt.bench.driving import BenchResult
from fusion_rt.errors import ConfigError


def stages(result: BenchResult, path: Path) -> None:
    """One bar an engine, its stages' medians stacked; a line to the p99 of the whole.

    Raises ConfigError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("plots need matplotlib: pip install 'fusion-rt[bench]'") from error
    figure = Figure(figsize=(9, 1.6 + 0.8 * len(result.engines)), layout="constrained")
    axes = figure.add_subplot()
    names = list(dict.fromkeys(stage for engine in result.engines for stage in engine.stages_ms))
    colours = {name: f"C{i % 10}" for i, name in enumerate(names)}
    for y, engine in enumerate(result.engines):
        left = 0.0
        for name in names:
            spent = engine.stages_ms[name].p50 or 0.0 if name in engine.stages_ms else 0.0
            axes.barh(y, spent, left=left, color=colours[name], label=name if y == 0 else None)
            left += spent
        p50, p99 = engine.latency_ms.p50 or 0.0, engine.latency_ms.p99 or 0.0
        axes.plot([p50, p99], [y, y], color="black", linewidth=1)
        axes.plot([p50], [y], "k|", markersize=14)
        axes.plot([p99], [y], "k|", markersize=8)
    axes.set_yticks(range(len(result.engines)), [engine.name for engine in result.engines])
    axes.invert_yaxis()
    axes.set_xlabel("ms: medians of the stages; the line runs from p50 to p99 of the whole")
    axes.legend(ncols=4, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.3))
    figure.savefig(path, dpi=120)
