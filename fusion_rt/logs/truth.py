"""What is true of a drive at the stamps of its sweeps, as objects and as JSON lines: NAME.truth.jsonl beside
NAME.mcap."""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct

from fusion_rt.errors import ConfigError
from fusion_rt.messages import Vec3


class TruthObject(Struct, frozen=True, kw_only=True):
    """One road user in the ego frame: center and size in m, yaw in rad, velocity over ground in m/s along
    the ego's axes, points: lidar returns of this sweep."""

    track_id: int
    label: str
    center: Vec3
    size: Vec3
    yaw: float
    velocity: tuple[float, float]
    points: int


class TruthFrame(Struct, frozen=True, kw_only=True):
    """The truth at a sweep's stamp: T_map_ego row by row, the ego's velocity in the map (m/s) and all road
    users within 100 m."""

    stamp_ns: int
    sensor_id: str
    T_map_ego: tuple[float, ...]
    velocity: Vec3
    objects: tuple[TruthObject, ...]


def write(path: str | Path, frames: list[TruthFrame]) -> None:
    """One TruthFrame a line, as JSON."""
    Path(path).write_bytes(b"".join(msgspec.json.encode(frame) + b"\n" for frame in frames))


def read(path: str | Path) -> list[TruthFrame]:
    """What `write` wrote. Raises ConfigError where a line is something else."""
    frames = []
    for number, line in enumerate(Path(path).read_bytes().splitlines(), 1):
        try:
            frames.append(msgspec.json.decode(line, type=TruthFrame))
        except msgspec.MsgspecError as error:
            raise ConfigError(f"{path}:{number}: not a frame of truth: {error}") from error
    return frames
