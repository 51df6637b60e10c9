"""A small recording, a node from a package of its own, and a check that nothing is left behind."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from fusion_rt.bus import ring
from fusion_rt.logs import LogWriter
from fusion_rt.messages import Header, Image, ImuSample, PointCloud
from fusion_rt.rig import Camera, Imu, Lidar, Pose, Rig

START_NS = 1_700_000_000_000_000_000
SWEEPS = 10
PREDICTOR = '''
"""A node of another package: it answers every sweep with the objects that it does not see."""

import time
from msgspec import Struct
from msgspec.structs import replace
from fusion_rt.messages import Certificate, EgoState, Header, PointCloud, Prediction


class PredictorConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    inputs: tuple[str, ...]


def run(config: PredictorConfig, bus) -> None:
    with bus.publisher("prediction") as output, bus.subscriber(config.inputs) as inputs:
        while not bus.stopping and not output.wait_for_subscribers(1, 0.1):
            pass
        for packet in bus.each(inputs):
            if isinstance(packet, PointCloud):
                output.send(answer(packet))


def answer(sweep: PointCloud) -> Prediction:
    zeros = (0.0, 0.0, 0.0)
    ego = EgoState(stamp_ns=sweep.header.stamp_ns, position=zeros, orientation=(0.0, 0.0, 0.0, 1.0),
                   velocity=zeros, angular_rate=zeros, covariance=(0.0,) * 36,
                   velocity_covariance=(0.0,) * 9, extrapolated_s=0.0, source="none")
    certificate = Certificate(sensors=(), motion_compensation="none", points_in=len(sweep.xyz),
                              points_dropped={}, model="none", engine="none", precision="f32",
                              device="none", stage_ms={},
                              deadline_s=0.05, deadline_met=True, rung="lidar_only")
    header = replace(sweep.header, sensor_id="fusion")
    return Prediction(header=header, objects=(), ego=ego, certificate=certificate)


def broken(config: PredictorConfig, bus) -> None:
    raise RuntimeError("this node always fails")


def stubborn(config: PredictorConfig, bus) -> None:
    while True:
        time.sleep(0.1)
'''
ENTRY_POINTS = """[fusion_rt.nodes]
predictor = other_package:run
broken = other_package:broken
stubborn = other_package:stubborn
absent = other_package:absent
"""


@pytest.fixture(scope="session")
def log_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second: lidar and camera at 10 Hz, IMU at 100 Hz."""
    path = tmp_path_factory.mktemp("log") / "second.mcap"
    rig = Rig(
        cameras={
            "cam": Camera(
                width=160,
                height=120,
                K=((100.0, 0.0, 80.0), (0.0, 100.0, 60.0), (0.0, 0.0, 1.0)),
                pose=Pose(),
            )
        },
        lidars={"lidar": Lidar(pose=Pose(translation=(0.0, 0.0, 1.7)))},
        imus={"imu": Imu()},
    )
    rng = np.random.default_rng(0)
    with LogWriter(path, rig) as log:
        for i in range(SWEEPS * 10):
            stamp = START_NS + i * 10_000_000
            log.write(
                ImuSample(header=head("imu", i, stamp), specific_force=(0, 0, 9.81), angular_rate=(0, 0, 0))
            )
            if i % 10 == 5:
                pixels = rng.integers(0, 256, (120, 160, 3), np.uint8)
                header = head("cam", i // 10, stamp)
                log.write(Image(header=header, height=120, width=160, encoding="bgr8", data=pixels))
            if i % 10 == 9:
                n = 3000
                log.write(
                    PointCloud(
                        header=head("lidar", i // 10, stamp),
                        xyz=rng.uniform(-40, 40, (n, 3)).astype(np.float32),
                        intensity=rng.random(n, dtype=np.float32),
                        t=np.zeros(n, np.float32),
                        ring=np.zeros(n, np.uint16),
                    )
                )
    return path


def head(sensor: str, seq: int, stamp_ns: int) -> Header:
    return Header(sensor_id=sensor, frame_id=sensor, seq=seq, stamp_ns=stamp_ns)


@pytest.fixture
def other_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed for this test and its child processes: a package that declares nodes."""
    folder = tmp_path / "site"
    information = folder / "other_package-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: other-package\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(ENTRY_POINTS)
    (folder / "other_package.py").write_text(PREDICTOR)
    monkeypatch.syspath_prepend(str(folder))


def children() -> list[psutil.Process]:
    """Ours that live; multiprocessing, once used, keeps a helper for good."""
    return [c for c in psutil.Process().children(recursive=True) if c.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """Sockets, processes and shared memory of this run are gone when it is over."""
    ring.sweep()
    before, processes = set(ring.segments()), set(children())
    parent = Path(tempfile.mkdtemp(prefix="frt-"))
    yield parent / "run"
    assert set(children()) - processes == set()
    assert [p for p in parent.glob("run/**/*") if p.exists()] == []
    pids = {int(name.split("-")[2]) for name in set(ring.segments()) - before}
    assert [pid for pid in pids if not psutil.pid_exists(pid)] == [], "a segment of a dead process"
    shutil.rmtree(parent)


@pytest.fixture
def environment() -> dict[str, str]:
    """For child processes that import what we import."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
