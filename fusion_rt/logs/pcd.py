"""PCD files (Point Cloud Library, version 0.7: ascii, binary, binary_compressed), read and written by the
library `pypcd4` (extra `pcd`); and a folder of them as a recording.

What a header says is compared with the file before the library believes it: it would take memory for as many
points as are promised."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fusion_rt.errors import LogError
from fusion_rt.logs.ground import lidar_height
from fusion_rt.logs.kitti_files import EPOCH_NS
from fusion_rt.logs.left_out import LeftOut
from fusion_rt.logs.point_columns import full_scale, sweep
from fusion_rt.messages import Header, Packet, PointCloud
from fusion_rt.rig import Lidar, Pose, Rig
from fusion_rt.transforms import Array

Encoding = Literal["ascii", "binary", "binary_compressed"]
HEADER_BYTES = 1 << 16
# LZF's longest copy, 264 bytes, takes 3: nothing unpacks to more than this times its size.
LZF_RATIO = 88
# What names of files say: "1317046453.072943544", or UNIX time in whole s, ms, us or ns by its digits.
_SECONDS = re.compile(r"(?<!\d)(\d{9,10})[._](\d{1,9})(?!\d)")
_WHOLE = re.compile(r"(?<!\d)(\d{10}|\d{13}|\d{16}|\d{19})(?!\d)")


def read_columns(path: str | Path) -> dict[str, Array]:
    """Field name -> (N,). Raises LogError saying what is wrong with the file."""
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LogError(f"{path}: cannot be read: {error.strerror}") from error
    library = _library()
    lines, body = _header(path, data)
    try:
        metadata = library.MetaData.parse_header(lines)
        dtype = metadata.build_dtype()
    except Exception as error:  # pydantic's, re's, numpy's: no closed list
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LogError(f"{path}: not a PCD header: {reason}") from error
    _check(path, metadata, dtype, data, body)
    try:
        cloud = library.PointCloud.from_fileobj(io.BytesIO(data))
    except Exception as error:
        raise LogError(f"{path}: {metadata.data.value} points cannot be read: {error}") from error
    points = np.atleast_1d(cloud.pc_data)
    if len(points) != metadata.points:
        raise LogError(f"{path}: POINTS says {metadata.points}, {len(points)} are there: cut short?")
    return {name: np.ascontiguousarray(points[name]) for name in points.dtype.names or ()}


def write_cloud(path: str | Path, cloud: PointCloud, encoding: Encoding = "binary_compressed") -> None:
    """All points with their intensity, ring and time. Raises LogError."""
    library = _library()
    fields = ("x", "y", "z", "intensity", "ring", "time")
    types = (np.float32, np.float32, np.float32, np.float32, np.uint16, np.float32)
    columns = [
        *(np.ascontiguousarray(column) for column in cloud.xyz.T),
        cloud.intensity,
        cloud.ring,
        cloud.t,
    ]
    try:
        library.PointCloud.from_points(columns, fields, types).save(Path(path), library.Encoding(encoding))
    except OSError as error:
        raise LogError(f"{path}: cannot be written: {error.strerror}") from error


class PcdFolder:
    """A folder of .pcd files, or one, to iterate over as a lidar's sweeps, in the order of their stamps.

    period_s        between sweeps, where the names hold no UNIX time
    lidar_height_m  above the ground; not given: from the first sweep
    scale           intensity that stands for 1; not given: 1 or 255, from the first sweep

    rig     one lidar, level; `notes` how its height was found
    errors  what could not be used, and why
    Raises LogError where there is no .pcd file, or none can be read."""

    def __init__(
        self,
        path: str | Path,
        *,
        period_s: float = 0.1,
        lidar_height_m: float | None = None,
        scale: float | None = None,
    ) -> None:
        self.path = Path(path)
        self._left_out = LeftOut()
        self.notes: list[str] = []
        files = [self.path] if self.path.is_file() else sorted(self.path.glob("*.pcd"), key=_natural)
        if not files:
            raise LogError(f"{path}: no .pcd file is there")
        self._files = _stamped(files, round(period_s * 1e9), self.notes)
        first = self._first()
        self._scale = scale or full_scale(first)
        height, note = lidar_height(self._points(first), lidar_height_m)
        self.notes += note
        self.rig = Rig(lidars={"lidar": Lidar(pose=Pose(translation=(0.0, 0.0, round(height, 3))))})

    @property
    def errors(self) -> list[str]:
        """A line a file; complete after a pass."""
        return self._left_out.lines()

    def __len__(self) -> int:
        """Packets, when all files are good."""
        return len(self._files)

    def __iter__(self) -> Iterator[Packet]:
        for seq, (stamp_ns, path) in enumerate(self._files):
            header = Header(sensor_id="lidar", frame_id="lidar", seq=seq, stamp_ns=stamp_ns)
            try:
                yield sweep(read_columns(path), header, scale=self._scale, where=str(path))
            except LogError as error:
                self._left_out.add(str(path), error)

    def _first(self) -> dict[str, Array]:
        """The first file that can be read."""
        for _, path in self._files:
            try:
                return read_columns(path)
            except LogError as error:
                self._left_out.add(str(path), error)
        raise LogError(f"{self.path}: no file can be read; {self.errors[0]}")

    def _points(self, columns: dict[str, Array]) -> Array:
        header = Header(sensor_id="lidar", frame_id="lidar", seq=0, stamp_ns=0)
        axes = {name: columns[name] for name in "xyz" if name in columns}
        return sweep(axes, header, scale=1.0, where=str(self.path)).xyz


def _header(path: Path, data: bytes) -> tuple[list[str], int]:
    """The lines up to DATA, without comments, and where the points begin. Raises LogError."""
    end = re.search(rb"^DATA[ \t]+\S+[ \t]*\r?\n", data[:HEADER_BYTES], re.MULTILINE)
    if end is None:
        raise LogError(f"{path}: not a PCD file: no line DATA in its beginning; is it cut short?")
    lines = data[: end.end()].decode("ascii", "replace").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")], end.end()


def _check(path: Path, metadata: Any, dtype: np.dtype, data: bytes, body: int) -> None:
    """Raises LogError where the header promises what the file does not hold."""
    points = int(metadata.points)
    if int(metadata.width) * int(metadata.height) != points:
        raise LogError(
            f"{path}: WIDTH {metadata.width} x HEIGHT {metadata.height} is not POINTS {points};"
            " the header is wrong"
        )
    needed, there = points * dtype.itemsize, len(data) - body
    kind = metadata.data.value
    if kind == "ascii":
        if points > there // 2 + 1:  # a number and what ends it, at least
            raise LogError(f"{path}: POINTS says {points}, {there} bytes of text hold fewer: cut short?")
    elif kind == "binary":
        if needed > there:
            raise LogError(
                f"{path}: {points} points of {dtype.itemsize} bytes need {needed} bytes, {there} are there:"
                " cut short, or WIDTH and POINTS are wrong"
            )
    elif points:
        if there < 8:
            raise LogError(f"{path}: ends before its compressed points; it is cut short")
        packed, unpacked = struct.unpack_from("<II", data, body)
        if packed > there - 8 or unpacked != needed or unpacked > packed * LZF_RATIO:
            raise LogError(
                f"{path}: {packed} compressed bytes of {unpacked}; {there - 8} are there and {points} points"
                f" need {needed}: cut short, or WIDTH and POINTS are wrong"
            )


def _stamped(files: list[Path], period_ns: int, notes: list[str]) -> list[tuple[int, Path]]:
    stamps = [_stamp(path.stem) for path in files]
    if any(stamp is None for stamp in stamps) or len(set(stamps)) < len(stamps):
        notes.append(
            f"lidar: the names hold no UNIX time: sweeps are {period_ns / 1e9:g} s apart; --period sets it"
        )
        return [(EPOCH_NS + k * period_ns, path) for k, path in enumerate(files)]
    return sorted((stamp, path) for stamp, path in zip(stamps, files) if stamp is not None)


def _stamp(stem: str) -> int | None:
    """UNIX ns."""
    if (found := _SECONDS.search(stem)) is not None:
        return int(found[1]) * 10**9 + int(f"{found[2]:0<9}")
    if (found := _WHOLE.search(stem)) is not None:
        return int(found[1]) * 10 ** (19 - len(found[1]))
    return None


def _natural(path: Path) -> list[Any]:
    """So that 2.pcd comes before 10.pcd."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.stem)]


def _library() -> Any:
    try:
        import pypcd4
    except ImportError as error:
        raise LogError("PCD files need the library pypcd4: pip install 'fusion-rt[pcd]'") from error
    return pypcd4
