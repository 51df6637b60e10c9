"""fusion-rt sim | train | export: from a simulated world to a model package."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from fusion_rt.commands.common import (
    DrivingFirst,
    Json,
    Model,
    console,
    errors,
    extra,
    left_out,
    print_json,
    print_table,
    progress,
)
from fusion_rt.commands.reports import Engine, perception, simulated_worlds
from fusion_rt.commands.simulate_home import simulate_home

simulations = typer.Typer(
    help="Simulate what sensors see, with the truth beside it: a drive, a home, or frames to train on.",
    no_args_is_help=True,
)
simulations.command("home")(simulate_home)

Seed = Annotated[int, typer.Option(min=0, help="Another seed is another world; the same one the same bits.")]
Frames = Annotated[Path, typer.Option(help="A folder of `fusion-rt sim frames`.", show_default=False)]


@simulations.command("drive")
def simulate_drive(
    config: Annotated[
        str,
        typer.Argument(
            help="World and sensors: a file of configs/sim, or the name of a bundled one.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The log to write, .mcap.", show_default=False)],
    seed: Seed = 0,
    truth: Annotated[
        Path | None, typer.Option(help="Also write all road users there, a JSON line a sweep.")
    ] = None,
    kitti_raw: Annotated[
        Path | None, typer.Option(help="Also write a folder in the layout of KITTI's raw data there.")
    ] = None,
) -> None:
    """Drive through a simulated street and record every sensor of a rig.

    fusion-rt sim drive configs/sim/hdl64.yaml --seed 4 -o drive.mcap --truth truth.jsonl
    """
    from fusion_rt import config as typed
    from fusion_rt.scenario import find_file
    from fusion_rt.sim.drive_config import DriveConfig
    from fusion_rt.sim.recording import record

    settings = typed.load(find_file(config, "sim"), DriveConfig)
    with progress("simulating") as advance:
        drive = record(
            settings,
            seed,
            out,
            truth_path=truth,
            kitti_raw=kitti_raw,
            on_time=lambda t_s: advance(t_s, settings.duration_s),
        )
    sweeps, images = (
        sum(drive.played[name] for name in part) for part in (settings.lidars, settings.cameras)
    )
    parts = [f"{settings.duration_s:g} s", f"{sweeps} sweeps", f"{images} images"]
    parts.append(f"{out.stat().st_size / 1e6:.1f} MB")
    if drive.truth:
        seen = {thing.track_id for frame in drive.truth for thing in frame.objects if thing.points}
        parts.append(f"{len(seen)} road users that the lidar met")
    _say(f"{out}: {', '.join(parts)}")


@simulations.command("frames")
def simulate_frames(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="A folder; scenes that it has are kept.", show_default=False)
    ],
    scenes: Annotated[int, typer.Option(min=1, help="How many; about 0.3 MB each.")] = 6000,
    seed: Seed = 1,
    workers: Annotated[int, typer.Option(min=1, help="Processes that simulate.")] = 2,
    weather: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Share of scenes in fog or rain; the others stay the same."),
    ] = 0.0,
    length: Annotated[int, typer.Option(min=2, help="Frames a scene, 0.1 s apart.")] = 2,
) -> None:
    """Write scenes to train on: two sweeps and images 0.1 s apart with their boxes, one .npz each.

    Stop it and start it again: it goes on where it was. `train` may already read the folder.

    fusion-rt sim frames --out out/frames --scenes 6000 --workers 2
    """
    from fusion_rt.sim.frames import write_frames

    written = write_frames(out, scenes=scenes, seed=seed, workers=workers, weather=weather, length=length)
    with progress("scenes") as advance:
        for done, _ in enumerate(written, 1):
            advance(done, scenes)
    size = sum(path.stat().st_size for path in out.glob(f"{seed}_*.npz"))
    _say(f"{out}: {scenes} scenes of seed {seed}, {size / 1e6:.1f} MB")


@simulations.command("compare")
def compare_frames(
    frames: Annotated[Path, typer.Argument(help="A folder of `fusion-rt sim frames`.", show_default=False)],
    kitti: Annotated[Path, typer.Argument(help="Labelled frames in KITTI's object layout.")],
) -> None:
    """Set simulated frames beside real ones: how many road users, which way, how large, how many points.

    fusion-rt sim compare out/frames kitti_object
    """
    from fusion_rt.sim import statistics

    real, simulated = statistics.kitti(kitti), statistics.simulated(frames)
    _say(statistics.report(statistics.tabulate(real), statistics.tabulate(simulated)))


training = typer.Typer(
    help="Train a network: driving's (`driving`, which may be left out), or the home's (`home`).",
    no_args_is_help=False,
    cls=DrivingFirst,
)


@training.command("driving")
def train(
    frames: Frames,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for last.pt; goes on from the one there.")],
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="How long to train; the learning rate ends with it.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Or: how many updates.")] = None,
    preset: Annotated[
        str, typer.Option(help="Sizes of the network: driving-s, or driving-m for a GPU.")
    ] = "driving-s",
    part: Annotated[
        str, typer.Option(help="all; camera: the image encoder; points, look: the second look.")
    ] = "all",
    start: Annotated[
        list[Path] | None,
        typer.Option(help="Begin with a last.pt or a model package, where it fits; may be given again."),
    ] = None,
    paste: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of samples that get objects of another scene.")
    ] = 0.0,
    teacher: Annotated[
        Path | None, typer.Option(help="Learn also what another training's network says; of any preset.")
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Round as INT8 files do, so that the weights learn it: at the end.")
    ] = False,
    unroll: Annotated[
        int, typer.Option(min=0, help="Frames before the present one that gradients go through.")
    ] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Scenes an update, of each process that trains.")] = 4,
    learning_rate: Annotated[float, typer.Option(min=0.0, help="At its peak.")] = 2.5e-3,
    seed: Annotated[int, typer.Option(min=0, help="Of the first weights and of the order of scenes.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Of torch.")] = 2,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read scenes; 0: read in turn.")] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: a GPU where there is one.")] = "auto",
) -> None:
    """Train a network on simulated frames; the folder may still be filling.

    fusion-rt train --frames out/frames --out out/camera --part camera --batch 8 --minutes 20
    fusion-rt train --frames out/frames --out out/train --start out/camera/last.pt --minutes 100
    fusion-rt train --frames out/frames --out out/train --start driving-s --learning-rate 1e-3 --minutes 100

    Several processes train one network where torchrun starts them:

    torchrun --nproc-per-node 2 --no-python fusion-rt train --frames out/frames --out out/train --minutes 50
    """
    # Threads that spin at each barrier take the core from the process that reads scenes: with the default
    # of 300,000 turns two cores train four scenes in the time of five. OpenMP reads it when it is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    with extra("train"):
        from fusion_rt.train import loop
    config = loop.TrainConfig(
        frames=frames,
        out=out,
        preset=preset,
        part=part,
        start=tuple(start or ()),
        minutes=minutes,
        steps=steps,
        paste=paste,
        teacher=teacher,
        int8=int8,
        unroll=unroll,
        batch=batch,
        seed=seed,
        learning_rate=learning_rate,
        workers=workers,
        threads=threads,
        device=device,
    )
    loop.train(config, say=_say)


@training.command("home")
def train_home(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for last.pt; goes on from the one there.")
    ] = Path("out/home-s"),
    tapes: Annotated[Path, typer.Option(help="Folder of simulated homes; those that lack are made.")] = Path(
        "out/home-tapes"
    ),
    homes: Annotated[int, typer.Option(min=1, help="How many, each with another plan.")] = 120,
    hours: Annotated[float, typer.Option(min=0.02, help="Of each home.")] = 0.25,
    pace: Annotated[
        float | None, typer.Option(min=0.1, help="Of life in the homes that are made; drawn if not given.")
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.01, help="How long to train, over all starts.")] = 60.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the first home; each next has the next.")] = 3000,
    workers: Annotated[int, typer.Option(min=1, help="Processes that simulate.")] = 2,
    threads: Annotated[int, typer.Option(min=1, help="Of torch.")] = 1,
    lanes: Annotated[int, typer.Option(min=1, help="Homes side by side.")] = 8,
    ticks: Annotated[int, typer.Option(min=1, help="Through which one update looks back.")] = 5,
    rate: Annotated[float, typer.Option(min=1e-6, help="Of learning, at its highest.")] = 3e-3,
    start: Annotated[
        Path | None, typer.Option(help="Begin with this last.pt, also of a network that hears less.")
    ] = None,
    package: Annotated[
        Path | None, typer.Option(help="Write the model package there, when it is trained.")
    ] = None,
    version: Annotated[str, typer.Option(help="Of the package: stands in every scene's certificate.")] = "1",
) -> None:
    """Train home-s on simulated homes of random plans; makes them first.

    fusion-rt train home --homes 120 --minutes 60 --package out/home-s/package

    Stop it and start it again: it goes on where it was.
    """
    with extra("train"):
        from fusion_rt.train.home import loop
        from fusion_rt.train.home import tapes as simulated
        from fusion_rt.train.home.export import export as write
    made = simulated.make(tapes, homes=homes, hours=hours, seed=seed, pace=pace, workers=workers)
    with progress("simulating homes") as advance:
        for done, _ in enumerate(made, 1):
            advance(done, homes)

    def show(share: float, step: int, told: dict[str, float]) -> None:
        losses = "  ".join(f"{name} {value:.3f}" for name, value in told.items())
        _say(f"{100 * share:3.0f} %  step {step}  {losses}")

    settings = loop.HomeTraining(
        minutes=minutes, threads=threads, lanes=lanes, ticks=ticks, rate=rate, start=str(start or "")
    )
    net = loop.train(tapes, out, settings, show=show)
    if package is not None:
        command = (
            f"fusion-rt train home --homes {homes} --hours {hours:g} --seed {seed} --minutes {minutes:g}"
            f" --lanes {lanes} --ticks {ticks} --rate {rate:g}"
        ) + (f" --pace {pace:g}" if pace else "")
        command += f" --start {start}" if start else ""
        spec = write(net, package, version=version, trained_with=command)
        _say(f"{package}: {spec.name} version {spec.version}")


def export(
    checkpoint: Annotated[Path, typer.Option(help="last.pt of `fusion-rt train`.", show_default=False)],
    frames: Frames,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the package.", show_default=False)],
    scenes: Annotated[int, typer.Option(min=1, help="How many scenes INT8 is calibrated on.")] = 64,
    thresholds: Annotated[
        tuple[float, float, float],
        typer.Option(metavar="CAR PEDESTRIAN CYCLIST", help="Smallest score worth showing."),
    ] = (0.3, 0.3, 0.3),
    version: Annotated[str, typer.Option(help="Stands in every prediction's certificate.")] = "1",
    mean_with: Annotated[
        str | None, typer.Option(help="Take the weights halfway to this package's, that training began with.")
    ] = None,
) -> None:
    """Make a model package of a checkpoint: ONNX in float and INT8, and model.yaml.

    fusion-rt export --checkpoint out/train/last.pt --frames out/frames --out out/model
    """
    with extra("train"):
        from fusion_rt.train.write_package import write_package
    package = write_package(
        checkpoint, frames, out, scenes=scenes, thresholds=thresholds, version=version, mean_with=mean_with
    )
    for precision, files in package.spec.precisions.items():
        size = sum((package.folder / name).stat().st_size for name in files.values())
        _say(f"{precision}: {size / 1e6:.1f} MB")
    _say(f"{out}: {package.identity}; try it with `fusion-rt replay LOG --fast --model {out}`")


def calibrate(
    model: Annotated[Path, typer.Argument(help="Folder of a package; its model.yaml is written anew.")],
    scenes: Annotated[int, typer.Option(min=1, help="How many simulated worlds.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Of the worlds; not of those that train or judge.")] = 2002,
    frames: Annotated[
        Path | None, typer.Option(help="Keep the scenes there, and take those that are there.")
    ] = None,
) -> None:
    """Make a package's scores probabilities, and show what is worth it by the best F1.

    fusion-rt calibrate out/model --scenes 60
    """
    from fusion_rt.evaluation import working_point

    looking = perception(Engine(str(model)))
    with simulated_worlds(scenes, seed, frames) as paths, progress("looking") as advance:
        points = working_point.measure(paths, looking, advance=advance)
    package = working_point.write(looking.package, points)
    console.print(working_point.render(points), highlight=False)
    _say(f"{model}: {package.identity}")


def adapt(
    folder: Annotated[
        Path,
        typer.Argument(help="Labelled frames in KITTI's object layout: image_2, velodyne, calib, label_2."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the new package.", show_default=False)],
    model: Model = "driving-s",
    folds: Annotated[
        int, typer.Option(min=0, help="Judge by cross-validation in so many parts; 0: do not judge.")
    ] = 5,
    steps: Annotated[int, typer.Option(min=1, help="Updates.")] = 150,
    seed: Annotated[int, typer.Option(min=0, help="Of the order of frames.")] = 1,
    json: Json = False,
) -> None:
    """Teach a model's second look on a handful of labelled frames, and say by how much it helped on frames
    that it had not seen.

    fusion-rt adapt my-frames --out my-model
    """
    with extra("train"):
        from fusion_rt.evaluation import adaptation
        from fusion_rt.train.adapt import AdaptConfig
    looking, config = perception(Engine(model)), AdaptConfig(steps=steps, seed=seed)
    skipped: list[str] = []
    frames = adaptation.read(folder, looking, skipped)
    left_out(skipped)
    if folds:
        with progress("judging") as advance:
            report = adaptation.cross_validate(
                str(folder), frames, looking, config, folds=folds, skipped=skipped, advance=advance
            )
        if json:
            print_json(report)
        else:
            print_table(adaptation.render(report))
    with progress("learning") as advance:
        adapted = adaptation.adapt(looking.package, frames, out, config, source=str(folder), advance=advance)
    errors.print(f"{out}: {adapted.identity}", highlight=False, markup=False, soft_wrap=True)


def _say(line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)
