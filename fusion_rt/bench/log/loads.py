"""What is written and sent: messages of a rig, again and again, with stamps and numbers that go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from msgspec import Struct

from fusion_rt.messages import Header, Image, ImuSample, Packet, PointCloud
from fusion_rt.rig import Camera, Imu, Lidar, Pose, Rig

START_NS = 1_700_000_000_000_000_000
WIDTH, HEIGHT = 1920, 1080
POINTS = 120_000
JPEG_BYTES = 200_000
_K = ((1000.0, 0.0, 960.0), (0.0, 1000.0, 540.0), (0.0, 0.0, 1.0))


class Stream(Struct, frozen=True):
    """One sensor: how often, and its message of a number and a stamp."""

    sensor: str
    hz: float
    make: Callable[[int, int], Packet]


def rig(cameras: int) -> Rig:
    """Of the sensors below."""
    camera = Camera(width=WIDTH, height=HEIGHT, K=_K, pose=Pose())
    return Rig(
        cameras={f"camera_{i}": camera for i in range(cameras)},
        lidars={"lidar": Lidar(pose=Pose())},
        imus={"imu": Imu()},
    )


def streams(cameras: int, *, jpeg: bool = False, hz: float = 30.0) -> list[Stream]:
    """Cameras of 6.2 MB an image, or of 200 kB of JPEG; a lidar of 120,000 points at 10 Hz; an IMU at 400 Hz.
    The bytes are noise: nothing compresses them, and nothing looks at them."""
    rng = np.random.default_rng(0)
    if jpeg:
        pixels, encoding = rng.integers(0, 256, JPEG_BYTES, np.uint8), "jpeg"
    else:
        pixels, encoding = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), "bgr8"
    points: dict[str, Any] = {
        "xyz": rng.normal(0, 20, (POINTS, 3)).astype(np.float32),
        "intensity": rng.random(POINTS, dtype=np.float32),
        "t": np.zeros(POINTS, np.float32),
        "ring": rng.integers(0, 64, POINTS, dtype=np.uint16),
    }

    def image(sensor: str) -> Callable[[int, int], Packet]:
        return lambda seq, stamp: Image(
            header=_header(sensor, seq, stamp), height=HEIGHT, width=WIDTH, encoding=encoding, data=pixels
        )

    def sweep(seq: int, stamp: int) -> Packet:
        return PointCloud(header=_header("lidar", seq, stamp), **points)

    def sample(seq: int, stamp: int) -> Packet:
        return ImuSample(
            header=_header("imu", seq, stamp), specific_force=(0.0, 0.0, 9.81), angular_rate=(0.0, 0.0, 0.0)
        )

    found = [Stream(f"camera_{i}", hz, image(f"camera_{i}")) for i in range(cameras)]
    return [*found, Stream("lidar", 10.0, sweep), Stream("imu", 400.0, sample)]


def messages(of: list[Stream], seconds: float | None = None) -> Iterator[Packet]:
    """In the order of time, for so long or without end."""
    counts = [0] * len(of)
    while True:
        due = [count / stream.hz for count, stream in zip(counts, of)]
        i = due.index(min(due))
        if seconds is not None and due[i] >= seconds:
            return
        yield of[i].make(counts[i], START_NS + round(due[i] * 1e9))
        counts[i] += 1


def _header(sensor: str, seq: int, stamp_ns: int) -> Header:
    return Header(sensor_id=sensor, frame_id=sensor, seq=seq, stamp_ns=stamp_ns)
