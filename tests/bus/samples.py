"""Messages for the tests of the bus."""

import numpy as np

from fusion_rt.messages import Header, Image, ImuSample, PointCloud

HEIGHT, WIDTH = 120, 160  # 57,600 bytes: goes through the ring


def header(sensor: str, seq: int) -> Header:
    return Header(sensor_id=sensor, frame_id=sensor, seq=seq, stamp_ns=1_000_000 * seq)


def image(seq: int, value: int | None = None) -> Image:
    """Every pixel is the low byte of `value`, or of seq."""
    data = np.full((HEIGHT, WIDTH, 3), (seq if value is None else value) % 256, np.uint8)
    return Image(header=header("cam", seq), height=HEIGHT, width=WIDTH, encoding="bgr8", data=data)


def imu(seq: int) -> ImuSample:
    return ImuSample(header=header("imu", seq), specific_force=(0.0, 0.0, 9.81), angular_rate=(0.0, 0.0, 0.1))


def cloud(seq: int, n: int) -> PointCloud:
    rng = np.random.default_rng(seq)
    return PointCloud(
        header=header("lidar", seq),
        xyz=rng.normal(0, 20, (n, 3)).astype(np.float32),
        intensity=rng.random(n, dtype=np.float32),
        t=np.linspace(0, 0.1, n, dtype=np.float32),
        ring=(np.arange(n) % 64).astype(np.uint16),
    )
