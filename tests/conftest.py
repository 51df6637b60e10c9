"""Fixtures for every test."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from fusion_rt.messages import Header, Image, PointCloud
from fusion_rt.models.package import ModelPackage
from fusion_rt.rig import Camera, Gnss, Imu, Lidar, Pose, Rig

# The same examples every time: a failure is found by a change, not by a day.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")

WIDTH, HEIGHT = 960, 288  # as driving-s wants images
K = np.array([[557.7, 0.0, 471.2], [0.0, 557.7, 133.7], [0.0, 0.0, 1.0]])


# Tests here kill processes that share memory, or look for what dead ones left: not beside each other.
ONE_AFTER_THE_OTHER = {"bench", "bridge", "bus", "commands", "control", "nodes", "system"}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Of several workers one takes those, the others file after file: a file's fixtures are made once."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.split("::")[0]
            return "processes" if Path(path).parts[1] in ONE_AFTER_THE_OTHER else path

    return Scheduling(config, log)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings beside the checkout; the test skips where it is not there."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real recordings at {folder}")
    return folder


def _unpack(archive: Path, folder: Path) -> Path:
    if not archive.is_file():
        pytest.skip(f"no {archive}")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.xz")


@pytest.fixture(scope="session")
def kitti_sequence(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real raw drive; read only."""
    return _unpack(shared_data / "kitti_sequence.tar.xz", tmp_path_factory.mktemp("kitti"))


@pytest.fixture(scope="session")
def kitti_tracking(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real tracking sequences without images and sweeps; read only."""
    return _unpack(shared_data / "kitti_tracking.tar.xz", tmp_path_factory.mktemp("kitti"))


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def brokers() -> ModuleType:
    """tests/brokers.py: MQTT brokers, and clients of them."""
    return _module(Path(__file__).parent / "brokers.py")


@pytest.fixture(scope="session")
def make_scene() -> ModuleType:
    """tests/scenes.py: scenes and readings of a home."""
    return _module(Path(__file__).parent / "scenes.py")


@pytest.fixture(scope="session")
def rig() -> Rig:
    """One sensor of each kind; the camera gives images of the network's own size."""
    return Rig(
        cameras={
            "camera": Camera(
                width=WIDTH,
                height=HEIGHT,
                K=tuple(map(tuple, K.tolist())),
                pose=Pose(translation=(0.27, 0.06, 1.65), rpy_deg=(-90.0, 0.0, -90.0)),
            )
        },
        lidars={"lidar": Lidar(pose=Pose(translation=(0.0, 0.0, 1.73)))},
        gnss={"gnss": Gnss(lever_arm=(-0.8, 0.3, 1.6))},
        imus={"imu": Imu(pose=Pose(translation=(-0.81, 0.32, 0.93)))},
    )


@pytest.fixture(scope="session")
def street(rig: Rig) -> Callable[..., tuple[PointCloud, Image]]:
    """A sweep and an image of one moment: flat ground with six boxes, seen from x_m further along."""

    def make(stamp_ns: int = 0, *, seq: int = 0, x_m: float = 0.0) -> tuple[PointCloud, Image]:
        rng = np.random.default_rng(0)
        ground = rng.uniform((0, -35, 0), (70, 35, 0.02), (3000, 3))
        centers = np.column_stack([np.linspace(9, 50, 6), rng.uniform(-8, 8, 6), np.full(6, 0.8)])
        boxes = centers[:, None] + rng.uniform(-0.5, 0.5, (6, 120, 3)) * (4.0, 1.8, 1.5)
        seen = centers - (x_m, 0.0, 0.0)
        points = np.concatenate([ground, boxes.reshape(-1, 3) - (x_m, 0, 0)])
        pixels = np.full((HEIGHT, WIDTH, 3), 110, np.uint8)
        camera = rig.cameras["camera"]
        uvd = (seen @ camera.T_camera_ego[:3, :3].T + camera.T_camera_ego[:3, 3]) @ camera.intrinsics.T
        for u, v, d in uvd[uvd[:, 2] > 2]:
            r = int(300 / d)
            rows = slice(max(int(v / d) - r, 0), max(int(v / d) + r, 0))
            pixels[rows, max(int(u / d) - r, 0) : max(int(u / d) + r, 0)] = (40, 80, 220)
        height = rig.lidars["lidar"].T_ego_lidar[2, 3]
        n = len(points)
        return PointCloud(
            header=Header(sensor_id="lidar", frame_id="lidar", seq=seq, stamp_ns=stamp_ns),
            xyz=(points - (0, 0, height)).astype(np.float32),
            intensity=rng.random(n, dtype=np.float32),
            t=np.zeros(n, np.float32),
            ring=np.zeros(n, np.uint16),
        ), Image(
            header=Header(sensor_id="camera", frame_id="camera", seq=seq, stamp_ns=stamp_ns),
            height=HEIGHT,
            width=WIDTH,
            encoding="bgr8",
            data=pixels,
        )

    return make


@pytest.fixture(scope="session")
def as_scene(rig: Rig) -> Callable[..., Any]:
    """What `street` gives, as the training reads it: (previous, now, T_now_previous, motion) -> Scene."""

    def convert(previous: Any, now: Any, T_now_previous: Any, motion: tuple[float, float, float]) -> Any:
        from fusion_rt.sim.frame_files import Frame, Scene

        def frame(cloud: PointCloud, image: Image) -> Frame:
            camera, T = rig.cameras["camera"], rig.lidars["lidar"].T_ego_lidar.astype(np.float32)
            return Frame(
                points=cloud.xyz + T[:3, 3],
                intensity=cloud.intensity,
                image=np.ascontiguousarray(image.data[:, :, ::-1]),
                K=camera.intrinsics,
                T_camera_ego=camera.T_camera_ego,
                boxes=np.zeros((0, 9), np.float32),
                cls=np.zeros(0, np.int64),
                npoints=np.zeros(0, np.int64),
                visible=np.zeros(0, np.float32),
            )

        return Scene(frame(*now), frame(*previous), T_now_previous, motion)

    return convert


@pytest.fixture(scope="session")
def random_net_of(street: Callable[..., Any], as_scene: Callable[..., Any]) -> Callable[..., Any]:
    """preset -> a TrainingNet with random weights, scaled so that it finds a few dozen things on `street`."""
    torch = pytest.importorskip("torch")
    from fusion_rt.train.samples import Use, collate, make_sample
    from fusion_rt.train.step import TrainingNet

    def make(preset: Any) -> Any:
        torch.set_num_threads(1)  # small tensors: threads only wait for each other
        torch.manual_seed(0)
        model = TrainingNet(preset)
        bev, refine = model.net.bev, model.net.refine.layers[-1]
        for layer, std in ((bev.film[-1], 0.05), (refine, 0.05), (bev.boxes, 0.05), (bev.state, 0.3)):
            torch.nn.init.normal_(layer.weight, std=std)
        bev.camera.weight.data *= 5  # a camera alone finds something, too
        scene = as_scene(street(), street(x_m=0.5), np.eye(4), (5.0, 0.1, -1.0))
        batch = collate([make_sample(scene, Use(), preset, None)], preset)
        norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        with torch.no_grad():
            for norm in norms:
                norm.momentum = None  # exactly this batch's statistics
            model.train()(batch)
            # Logits of each class: the median at -7, three cells in a thousand above -1.
            logits = model.eval()(batch)[0][0][0].flatten(1)
            middle = logits.median(dim=1).values
            scale = 6 / (torch.quantile(logits, 0.997, dim=1) - middle)
            bev.heatmap.weight *= scale[:, None, None, None]
            bev.heatmap.bias.copy_(scale * (bev.heatmap.bias - middle) - 7)
        return model

    return make


@pytest.fixture(scope="session")
def random_net(random_net_of: Callable[..., Any]) -> Any:
    """That of driving-s."""
    from fusion_rt.models.presets import DRIVING_S

    return random_net_of(DRIVING_S)


@pytest.fixture(scope="session")
def float_package(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], ModelPackage]:
    """TrainingNet -> a float package of it."""
    import msgspec
    import yaml

    from fusion_rt.models.package import PARTS
    from fusion_rt.train.export import export_float
    from fusion_rt.train.write_package import describe

    def write(net: Any) -> ModelPackage:
        folder = tmp_path_factory.mktemp("model")
        export_float(net.net, folder)
        for part in PARTS:
            for precision in ("int8", "f16"):  # described below, but not in this package
                (folder / f"{part}.{precision}.onnx").touch()
        thresholds = dict.fromkeys(net.preset.classes, 0.3)
        spec = describe(net.preset, folder, thresholds, "1", "nothing", measures_velocity=True)
        spec = msgspec.structs.replace(spec, precisions={"f32": spec.precisions["f32"]}, precision="f32")
        (folder / "model.yaml").write_text(yaml.safe_dump(msgspec.to_builtins(spec)), encoding="utf-8")
        return ModelPackage.load(folder)

    return write


@pytest.fixture(scope="session")
def model_package(float_package: Callable[[Any], ModelPackage], random_net: Any) -> ModelPackage:
    """A float package of `random_net`."""
    return float_package(random_net)


@pytest.fixture(scope="session")
def larger_net(random_net_of: Callable[..., Any]) -> Any:
    """A TrainingNet of driving-m with random weights."""
    from fusion_rt.models.presets import DRIVING_M

    return random_net_of(DRIVING_M)


@pytest.fixture(scope="session")
def larger_package(float_package: Callable[[Any], ModelPackage], larger_net: Any) -> ModelPackage:
    """A float package of it."""
    return float_package(larger_net)


@pytest.fixture(scope="session")
def surround() -> tuple[Rig, Callable[[int], list[Any]]]:
    """A rig of six cameras all round and two lidars, one on each side; and its packets of the k-th tenth of a
    second: images, the left sweep, and last the right one, which asks for the answer."""
    pixels = tuple(map(tuple, K.tolist()))
    cameras = {
        f"camera_{yaw}": Camera(
            width=WIDTH,
            height=HEIGHT,
            K=pixels,
            pose=Pose(translation=(0.3, 0.0, 1.6), rpy_deg=(-90.0, 0.0, yaw - 90.0)),
        )
        for yaw in (0, 60, 120, 180, 240, 300)
    }
    lidars = {
        name: Lidar(pose=Pose(translation=(0.5, y_m, 1.7), rpy_deg=(0.0, 0.0, yaw)))
        for name, y_m, yaw in (("left", 0.6, 30.0), ("right", -0.6, -30.0))
    }
    rig = Rig(cameras=cameras, lidars=lidars)

    def moment(k: int) -> list[Any]:
        rng, stamp_ns = np.random.default_rng(k), 10**9 + k * 10**8
        packets: list[Any] = []
        for name in cameras:
            header = Header(sensor_id=name, frame_id=name, seq=k, stamp_ns=stamp_ns)
            image = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
            packets.append(Image(header=header, height=HEIGHT, width=WIDTH, encoding="bgr8", data=image))
        for name, lidar in lidars.items():
            n = 4000
            T = lidar.T_ego_lidar
            ego = rng.uniform((1, -30, 0.0), (60, 30, 2.0), (n, 3))
            xyz = ((ego - T[:3, 3]) @ T[:3, :3]).astype(np.float32)
            packets.append(
                PointCloud(
                    header=Header(sensor_id=name, frame_id=name, seq=k, stamp_ns=stamp_ns),
                    xyz=xyz,
                    intensity=rng.random(n, dtype=np.float32),
                    t=np.zeros(n, np.float32),
                    ring=np.zeros(n, np.uint16),
                )
            )
        return packets

    return rig, moment


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Callable[..., Any]]:
    """A source of C functions -> a way to run Python with a build of it that stops at the first bad access or
    undefined step: the arguments of Python, after which comes the library's path -> the finished process."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ to build with sanitizers")
    runtime = subprocess.run(
        [compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(runtime).is_file():
        pytest.skip("g++ has no address sanitizer")
    checks = ["-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all"]
    options = ["-std=c++17", "-O1", "-ffp-contract=off", "-fPIC", "-shared", "-pthread", *checks]
    environment = os.environ | {
        "LD_PRELOAD": runtime,
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONMALLOC": "malloc",
        "OPENBLAS_NUM_THREADS": "1",
    }

    def build(source: Path) -> Callable[..., Any]:
        out = tmp_path_factory.mktemp("sanitized") / f"{source.stem}.so"
        subprocess.run([compiler, *options, str(source), "-o", str(out)], check=True)

        def run(*arguments: str) -> Any:
            command = [sys.executable, *arguments, str(out)]
            return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)

        return run

    return build
