"""fusion-rt bench"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusion_rt.commands.common import Json, console, errors, print_json, progress


def bench(
    config: Annotated[
        str, typer.Argument(help="A file of configs/bench, or its name.", show_default="driving")
    ] = "driving",
    log: Annotated[str | None, typer.Option(help="Play this recording instead.")] = None,
    seconds: Annotated[float | None, typer.Option(min=1.0, help="Measure for so long, each engine.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Also write the tables there.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw the stages there, as PNG or SVG.")] = None,
    json: Json = False,
) -> None:
    """Measure latency, throughput and memory with real processes on a recording; engines side by side.

    fusion-rt bench --seconds 30 --markdown out/bench.md
    """
    from msgspec.structs import replace

    from fusion_rt import config as typed
    from fusion_rt.bench import driving, table
    from fusion_rt.bench.config import BenchConfig, recording
    from fusion_rt.scenario import find_file

    settings = typed.load(find_file(config, "bench"), BenchConfig)
    if log is not None:
        settings = replace(settings, log=log, sim=None)
    if seconds is not None:
        settings = replace(settings, seconds=seconds)
    with progress("simulating the recording, once") as advance:
        path = recording(settings, advance)
    result = driving.measure(settings, path, lambda line: errors.print(line, highlight=False))
    if json:
        print_json(result)
    else:
        console.print(table.render(result), highlight=False)
    if markdown is not None:
        markdown.write_text(table.markdown(result), encoding="utf-8")
    if plot is not None:
        from fusion_rt.bench.plot import stages

        stages(result, plot)
