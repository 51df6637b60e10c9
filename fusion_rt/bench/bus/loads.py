"""What is sent in a cell of the benchmark, how often, and who listens."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Shape = Literal["image", "points", "imu"]

IMAGE_HEIGHT, IMAGE_WIDTH = 1080, 1920  # x 3 bytes: 6.2 MB
CLOUD_POINTS = 87_273  # x 22 bytes, a PointCloud's: 1.92 MB, as 120,000 points of 16 bytes are
NBYTES: dict[str, int] = {"image": IMAGE_HEIGHT * IMAGE_WIDTH * 3, "points": CLOUD_POINTS * 22, "imu": 100}


class Stream(Struct, frozen=True):
    """One sensor: its topic, what it sends, how often."""

    topic: str
    shape: Shape
    rate_hz: float

    @property
    def nbytes(self) -> int:
        """Of one message's payload."""
        return NBYTES[self.shape]


class Listener(Struct, frozen=True):
    """One process that takes all streams.

    rate_hz  looks only so often, at the newest; None: takes each message as it comes
    record   takes every message and writes it to a file in memory
    """

    name: str
    rate_hz: float | None = None
    record: bool = False


class Load(Struct, frozen=True):
    """One table of the result."""

    name: str
    title: str
    streams: tuple[Stream, ...]
    listeners: tuple[Listener, ...]


class Task(Struct, frozen=True, kw_only=True):
    """What one process of the benchmark does, as JSON on its command line.

    transport  a name of transports.PEERS
    stream     index of the one it sends; None: it listens
    listener   index of the one it is
    run_dir    where it finds the others, and writes its Report
    ports      of the machine, one a stream, for peers that need some
    warm_s     sent before anything counts
    """

    transport: str
    load: Load
    stream: int | None = None
    listener: int | None = None
    run_dir: str
    ports: tuple[int, ...] = ()
    warm_s: Annotated[float, Meta(ge=0)] = 2.0
    seconds: Annotated[float, Meta(gt=0)] = 10.0

    @property
    def name(self) -> str:
        """Of the process."""
        if self.stream is not None:
            return f"{self.load.streams[self.stream].topic}-sender"
        assert self.listener is not None
        return self.load.listeners[self.listener].name

    def first(self, stream: Stream) -> int:
        """The number of the stream's first message that counts."""
        return round(self.warm_s * stream.rate_hz)

    def count(self, stream: Stream) -> int:
        """How many messages are sent in all, before those that only keep listeners awake to their end."""
        return self.first(stream) + max(1, round(self.seconds * stream.rate_hz))


class Report(Struct, kw_only=True):
    """What one process measured, after the warm-up.

    cpu_s      user and system time of all its threads
    span_s     over which
    received   stream's topic -> how many came
    offered    stream's topic -> how many were sent meanwhile
    age_us     stream's topic -> for each, from "written by the driver" to "an array that can be read"
    rss_bytes  of it shared_bytes are shared with other processes
    """

    name: str
    cpu_s: float = 0.0
    span_s: float = 0.0
    received: dict[str, int] = {}
    offered: dict[str, int] = {}
    age_us: dict[str, list[float]] = {}
    rss_bytes: int = 0
    shared_bytes: int = 0


_CAMERA = (Stream("camera", "image", 30.0),)
_READER = Listener("reader")
LOADS = (
    Load("image", "A 6.2 MB image at 30 Hz to one reader", _CAMERA, (_READER,)),
    Load(
        "image-3",
        "The same to three readers",
        _CAMERA,
        (_READER, Listener("reader-2"), Listener("reader-3")),
    ),
    Load(
        "points",
        "A point cloud of 1.92 MB at 10 Hz to one reader",
        (Stream("lidar", "points", 10.0),),
        (_READER,),
    ),
    Load("imu", "100 bytes at 400 Hz to one reader", (Stream("imu", "imu", 400.0),), (_READER,)),
    Load(
        "slow",
        "The image at 30 Hz to a reader that looks at 10.3 Hz: the age of what it sees",
        _CAMERA,
        (Listener("reader", rate_hz=10.3),),
    ),
    Load(
        "rig",
        "Three such cameras, the lidar and the IMU to a reader and a recorder",
        (
            *(Stream(f"camera-{i}", "image", 30.0) for i in range(3)),
            Stream("lidar", "points", 10.0),
            Stream("imu", "imu", 400.0),
        ),
        (_READER, Listener("recorder", record=True)),
    ),
)
