"""Point clouds as small whole numbers.

Neighbours in a sweep lie near each other, so each coordinate is sent as the difference from the one before,
which is small; low and high bytes are sent apart, since the high ones are nearly all the same; then zstd."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import zstandard
from msgspec import Meta, Struct
from numpy.typing import NDArray

from fusion_rt.errors import MessageError
from fusion_rt.messages import Header, PointCloud

MAX_POINTS = 1 << 22
Form = Literal["<i2", "<i4", "<f4"]


class CodedPoints(Struct, frozen=True, kw_only=True, tag="coded_points"):
    """A sweep between hosts: columns x, y, z, intensity, t, ring, behind each other in `data` (zstd).

    xyz           i2 or i4: multiples of `resolution_m`, differences of neighbours, the least value for NaN;
                  f4: as they are, where one is infinite or too far
    intensity     u1: 255 is 1.0; f4 where one is outside 0..1
    t             u2: `t_start_s` to `t_start_s + t_span_s`; f4 where one is not finite
    """

    header: Header
    count: Annotated[int, Meta(ge=0, le=MAX_POINTS)]
    resolution_m: Annotated[float, Meta(gt=0)]
    xyz: Form
    intensity: Literal["|u1", "<f4"]
    t: Literal["<u2", "<f4"]
    t_start_s: float = 0.0
    t_span_s: float = 0.0
    data: Any = None


def encode(cloud: PointCloud, resolution_m: float, level: int = 1) -> CodedPoints:
    """No coordinate is moved by more than resolution_m / 2, and float32's own rounding.

    Raises MessageError for more than 4 million points."""
    if len(cloud.xyz) > MAX_POINTS:
        raise MessageError(f"{cloud.header.sensor_id}: {len(cloud.xyz)} points; {MAX_POINTS} can be coded")
    xyz = _coordinates(cloud.xyz, resolution_m)
    intensity, t = cloud.intensity, cloud.t
    within = bool(((intensity >= 0) & (intensity <= 1)).all())  # false where one is NaN
    start, span = 0.0, 0.0
    finite = bool(np.isfinite(t).all())
    if finite and len(t):
        start, span = float(t.min()), float(t.max()) - float(t.min())
    columns = [
        *(_differences(column) if xyz.dtype != np.float32 else column for column in xyz),
        np.rint(intensity * np.float32(255)).astype(np.uint8) if within else intensity,
        np.rint((t - np.float32(start)) * (65535 / (span or 1.0))).astype("<u2") if finite else t,
        _differences(cloud.ring.view("<i2")),
    ]
    packed = zstandard.ZstdCompressor(level=level).compress(b"".join(map(_planes, columns)))
    return CodedPoints(
        header=cloud.header,
        count=len(cloud.xyz),
        resolution_m=resolution_m,
        xyz=xyz.dtype.str,
        intensity="|u1" if within else "<f4",
        t="<u2" if finite else "<f4",
        t_start_s=start,
        t_span_s=span,
        data=np.frombuffer(packed, np.uint8),
    )


def decode(coded: CodedPoints) -> PointCloud:
    """The sweep again. Raises MessageError where `data` is not what the rest says."""
    n = coded.count
    dtypes = [np.dtype(d) for d in (coded.xyz, coded.xyz, coded.xyz, coded.intensity, coded.t, "<i2")]
    expected = n * sum(dtype.itemsize for dtype in dtypes)
    packed = memoryview(coded.data)
    try:
        if zstandard.frame_content_size(packed) != expected:  # asked first: a small frame may claim anything
            raise MessageError(f"{n} points need {expected} bytes, the frame holds another number")
        data = zstandard.ZstdDecompressor().decompress(packed, max_output_size=expected) if expected else b""
    except zstandard.ZstdError as error:
        raise MessageError(f"coded points do not decompress: {error}") from error
    if len(data) != expected:
        raise MessageError(f"{n} points need {expected} bytes, {len(data)} came")
    columns, at = [], 0
    for dtype in dtypes:
        columns.append(_joined(data[at : at + n * dtype.itemsize], dtype))
        at += n * dtype.itemsize
    xyz = np.empty((n, 3), np.float32)
    for axis, column in enumerate(columns[:3]):
        xyz[:, axis] = column if coded.xyz == "<f4" else _metres(column, coded.resolution_m)
    intensity, t = columns[3:5]
    return PointCloud(
        header=coded.header,
        xyz=xyz,
        intensity=intensity if coded.intensity == "<f4" else intensity * np.float32(1 / 255),
        t=t if coded.t == "<f4" else (coded.t_start_s + t * (coded.t_span_s / 65535)).astype(np.float32),
        ring=_sums(columns[5]).view(np.uint16),
    )


def _coordinates(xyz: NDArray[np.float32], resolution_m: float) -> NDArray[Any]:
    """(3, N): whole multiples in the smallest form that holds them, the least value for NaN; or as they
    are."""
    steps = np.rint(xyz.T * np.float64(1 / resolution_m))
    missing = np.isnan(steps)
    far = float(np.abs(steps[~missing]).max(initial=0.0))
    for dtype in (np.dtype("<i2"), np.dtype("<i4")):
        limits = np.iinfo(dtype)
        if far <= limits.max:
            return np.where(missing, limits.min, steps).astype(dtype)
    return np.ascontiguousarray(xyz.T)


def _metres(column: NDArray[Any], resolution_m: float) -> NDArray[Any]:
    steps = _sums(column)
    metres = steps * resolution_m
    metres[steps == np.iinfo(steps.dtype).min] = np.nan
    return metres


def _differences(column: NDArray[Any]) -> NDArray[Any]:
    return np.diff(column, prepend=column.dtype.type(0))  # wraps around, and so do the sums


def _sums(column: NDArray[Any]) -> NDArray[Any]:
    return np.cumsum(column, dtype=column.dtype)


def _planes(column: NDArray[Any]) -> bytes:
    """All low bytes, then the next ones."""
    return np.ascontiguousarray(column).view(np.uint8).reshape(-1, column.itemsize).T.tobytes()


def _joined(data: bytes, dtype: np.dtype[Any]) -> NDArray[Any]:
    planes = np.frombuffer(data, np.uint8).reshape(dtype.itemsize, -1)
    return np.ascontiguousarray(planes.T).view(dtype).reshape(-1)
