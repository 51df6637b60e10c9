"""What `fusion-rt eval` judges: each function makes one report, with a bar for the patient, and names what
draws it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import RenderableType

from fusion_rt.commands.common import progress

if TYPE_CHECKING:
    from fusion_rt.batch.mapping import Workers
    from fusion_rt.perception import Perception
    from fusion_rt.pipeline import PipelineConfig


class Judged(NamedTuple):
    """A report and how it is drawn for a terminal."""

    report: Any
    render: Callable[[Any], RenderableType]


class Engine(NamedTuple):
    """What looks: the options --model, --runtime, --precision, --odometry."""

    model: str
    runtime: str = "openvino"
    precision: str | None = None
    odometry: bool = False

    @property
    def pipeline(self) -> PipelineConfig:
        """The whole engine with it."""
        from fusion_rt.ego.config import EgoConfig, OdometryConfig
        from fusion_rt.pipeline import PipelineConfig

        return PipelineConfig(
            model=self.model,
            runtime=self.runtime,
            precision=self.precision,
            ego=EgoConfig(odometry=OdometryConfig(enabled=self.odometry)),
        )


def worlds(
    engine: Engine,
    *,
    scenes: int,
    seed: int,
    frames: Path | None,
    draw: Path | None = None,
    against: Engine | None = None,
) -> Judged:
    """Simulated worlds, of which `frames` keeps the scenes where it is given; against: another model that
    looks, too."""
    from fusion_rt.evaluation import simulated
    from fusion_rt.evaluation.report import render

    looking = perception(engine)
    other = _other(against, looking)
    source = f"{scenes} simulated worlds of seed {seed}"
    with simulated_worlds(scenes, seed, frames) as paths, progress("looking") as advance:
        report = simulated.evaluate(paths, looking, source=source, draw=draw, against=other, advance=advance)
    return Judged(report, render)


def disturbed_worlds(
    engine: Engine, *, scenes: int, seed: int, frames: Path | None, draw: Path | None = None
) -> Judged:
    """The same, and what disturbances of the sensors cost in them."""
    from fusion_rt.evaluation import disturbed, simulated

    looking = perception(engine)
    source = f"{scenes} simulated worlds of seed {seed}"
    with simulated_worlds(scenes, seed, frames) as paths:
        with progress("looking") as advance:
            report = simulated.evaluate(paths, looking, source=source, draw=draw, advance=advance)
        with progress("disturbing") as advance:
            return Judged(disturbed.evaluate(paths, looking, report, advance=advance), disturbed.render)


@contextmanager
def simulated_worlds(scenes: int, seed: int, frames: Path | None) -> Iterator[list[Path]]:
    """Their files, made where they lack; without `frames` they are gone afterwards."""
    from fusion_rt.evaluation import simulated

    with tempfile.TemporaryDirectory() as passing:
        folder = frames or Path(passing)
        with progress("simulating") as advance:
            for done in simulated.make_scenes(folder, scenes=scenes, seed=seed, workers=2):
                advance(done, scenes)
        yield simulated.scene_paths(folder, scenes=scenes, seed=seed)


def drives(
    engine: Engine, folder: Path, *, simulate: int, seed: int, workers: Workers | None = None
) -> Judged:
    """The whole engine on recordings with truth, of which the first `simulate` are made where they lack."""
    from fusion_rt.evaluation import drive
    from fusion_rt.models.package import ModelPackage

    with progress("simulating") as advance:
        for done in range(simulate):
            advance(done, simulate)
            drive.simulate(folder, seed + done)
    classes = ModelPackage.load(engine.model).spec.classes
    with progress("driving") as advance:
        report = drive.evaluate(drive.pairs(folder), engine.pipeline, classes, workers, advance=advance)
    return Judged(report, drive.render)


def kitti_frames(
    engine: Engine,
    folder: Path,
    *,
    out: Path | None,
    draw: Path | None = None,
    detector: Path | None = None,
    against: Engine | None = None,
) -> Judged:
    """A folder in the layout of KITTI's object benchmark; detector: a folder of `fusion-rt model add`;
    against: another model that looks, too."""
    from fusion_rt.detectors import folder as detectors
    from fusion_rt.device import CpuDevice
    from fusion_rt.evaluation import kitti
    from fusion_rt.evaluation.report import render

    looking = perception(engine)
    classes, other = looking.spec.classes, _other(against, looking)
    beside = None if detector is None else detectors.load(detector, classes=classes, device=CpuDevice())
    with progress("looking") as advance:
        report = kitti.evaluate(
            folder, looking, detector=beside, out=out, draw=draw, against=other, advance=advance
        )
    return Judged(report, render)


def public_detections(
    detections: Path,
    labels: Path,
    out: Path,
    *,
    image_boxes: Path | None = None,
    poses: Path | None = None,
    config: Path | None = None,
) -> Judged:
    """Our tracker on what others detected."""
    from fusion_rt.evaluation import tracking

    sources = tracking.Sources.beside(detections, labels, image_boxes, poses)
    with progress("tracking") as advance:
        report = tracking.evaluate(sources, out, tracking.settings(config), advance=advance)
    return Judged(report, tracking.render)


def roads(folder: Path) -> Judged:
    """Our pose filter on recordings of GNSS and IMU."""
    from fusion_rt.evaluation import ego

    with progress("driving") as advance:
        return Judged(ego.evaluate(folder, advance=advance), ego.render)


def explanation(engine: Engine, log: Path, *, at_s: float | None, draw: Path | None) -> Judged:
    """What carries each object of a recording."""
    from fusion_rt.evaluation import explain

    with progress("explaining") as advance:
        return Judged(
            explain.explain(log, engine.pipeline, at_s=at_s, draw=draw, advance=advance), explain.render
        )


def _other(against: Engine | None, looking: Perception) -> Perception | None:
    """Raises ConfigError where it tells other classes."""
    from fusion_rt.errors import ConfigError

    if against is None:
        return None
    other = perception(against)
    if other.spec.classes != looking.spec.classes:
        raise ConfigError(
            f"{against.model} tells {', '.join(other.spec.classes)}, {looking.package.identity}"
            f" {', '.join(looking.spec.classes)}: only models of the same classes can be compared"
        )
    return other


def perception(engine: Engine) -> Perception:
    """The model on this machine: on the card where the engine is one for cards."""
    from fusion_rt.device import CpuDevice, Device
    from fusion_rt.engine import CARD_RUNTIMES
    from fusion_rt.engine_ladder import find_gpu
    from fusion_rt.errors import EngineError
    from fusion_rt.models.package import ModelPackage
    from fusion_rt.perception import Perception

    package = ModelPackage.load(engine.model)
    device: Device = CpuDevice()
    if engine.runtime in CARD_RUNTIMES:
        card, why = find_gpu()
        if card is None:
            raise EngineError(f"{why or 'there is no NVIDIA card here'}; see `fusion-rt doctor`")
        device = card
    return Perception(package, device, runtime=engine.runtime, precision=engine.precision)
