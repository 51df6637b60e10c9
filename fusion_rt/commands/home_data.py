"""fusion-rt train home-data, fusion-rt eval home-data: heads and real recordings of homes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusion_rt.commands.common import (
    Json,
    Runtime,
    console,
    errors,
    left_out,
    print_json,
    print_table,
    progress,
)
from fusion_rt.errors import ConfigError

Seed = Annotated[int, typer.Option(min=0, help="Of first weights, order and disturbances.")]


def train_home_data(
    name: Annotated[
        str,
        typer.Argument(help="office-occupancy, room-count, radar-activity or fall.", show_default=False),
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="Folder with uci_occupancy, uci_room_estimation, radhar, umafall.", show_default=False
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the package; out/NAME if not given.")
    ] = None,
    seed: Seed = 1,
) -> None:
    """Train a head on real recordings and write its package: minutes on one core.

    It learns from uci_occupancy/datatraining.txt, from all of uci_room_estimation/*.csv, or from the
    recordings that radhar/labels.csv or umafall/labels.csv names. The package says by their contents which
    files those were, so that `fusion-rt eval home-data` tells what it has seen.

    fusion-rt train home-data office-occupancy --data home --out out/office
    fusion-rt eval home-data home --part occupancy --head out/office
    """
    try:
        from fusion_rt.train.datasets.heads import trainer
    except ImportError as error:
        missing = (error.name or "more").split(".")[0]
        raise ConfigError(f"this needs {missing}: pip install 'fusion-rt[train]'") from error
    learn, folder = trainer(name), out or Path("out") / name
    with progress(f"training {name}") as advance:
        source = learn(data, folder, seed=seed, advance=advance)
    size = (folder / "head.onnx").stat().st_size
    console.print(f"{folder}: {name} of {source}, {size / 1e6:.2f} MB", highlight=False, markup=False)


def eval_home_data(
    data: Annotated[
        Path,
        typer.Argument(help="Folder with any of uci_occupancy, uci_room_estimation, radhar, umafall."),
    ],
    part: Annotated[
        list[str] | None,
        typer.Option(help="Only occupancy, rooms, activities or falls; may be given again."),
    ] = None,
    head: Annotated[
        str | None, typer.Option(help="A package in place of the bundled one; with one --part.")
    ] = None,
    training: Annotated[
        Path | None,
        typer.Option(help="Where the recordings that the heads learned from lie, if not in DATA."),
    ] = None,
    folds: Annotated[
        bool,
        typer.Option(
            "--folds",
            help="Also train anew for each day, part of the recordings, or subject held apart: half an hour.",
        ),
    ] = False,
    baselines: Annotated[
        bool, typer.Option(help="Also simple methods that learn from the same recordings (extra `eval`).")
    ] = True,
    runtime: Runtime = "openvino",
    markdown: Annotated[Path | None, typer.Option(help="Also write the tables there.")] = None,
    json: Json = False,
) -> None:
    """Judge the committed heads on real recordings, through the live runtime: packets in, answers out.

    DATA holds folders of the published layouts; what is not there is left out:

    uci_occupancy/*.txt - every file is one recording: datatest.txt, datatest2.txt, or yours with the same
    columns (row number, "date", "Temperature", "Humidity", "Light", "CO2", "HumidityRatio", "Occupancy").

    uci_room_estimation/*.csv - every file is one recording: other months, with the columns of UCI's
    Occupancy_Estimation.csv.

    radhar/labels.csv (file, activity) and the files that it names (frame, point_id, stamp_s, x_m, y_m, z_m,
    range_m, velocity_mps, doppler_bin, bearing_deg, intensity_db; .csv or .csv.gz).

    umafall/labels.csv (file, subject, kind: fall or adl, movement) and its files (t_ms, sensor, position, x,
    y, z).

    A file that a head learned from is found by its contents and told apart from the others. Simple methods
    learn from those files alone: where DATA holds only others, say with --training where they are.

    fusion-rt eval home-data home --json
    fusion-rt eval home-data other-months --training home --part rooms
    """
    try:
        from fusion_rt.evaluation.home_recordings.evaluate import evaluate, render
        from fusion_rt.evaluation.home_recordings.evaluate import markdown as written
        from fusion_rt.evaluation.home_recordings.parts import Options
    except ImportError as error:
        missing = (error.name or "more").split(".")[0]
        raise ConfigError(f"this needs {missing}: pip install 'fusion-rt[train,eval]'") from error
    options = Options(
        data=data,
        training=training or data,
        folds=folds,
        baselines=baselines,
        head=head,
        runtime=runtime,
    )
    report = evaluate(options, part or (), advance=progress)
    left_out(report.skipped)
    if markdown:
        markdown.write_text(written(report), encoding="utf-8")
        errors.print(f"{markdown}: written", highlight=False, markup=False)
    if json:
        print_json(report)
    else:
        print_table(render(report))
