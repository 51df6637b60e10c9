"""ROS's sensor_msgs/PointCloud2: its bytes as named columns, and a sweep as its fields.

The layout is the message definition's: `fields` with offset and datatype in each `point_step` bytes, rows of
`row_step` bytes, either byte order."""

from __future__ import annotations

from typing import Any

import numpy as np

from fusion_rt.errors import LogError
from fusion_rt.messages import PointCloud
from fusion_rt.transforms import Array

# PointField's datatype numbers.
TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
NUMBERS = {code: number for number, code in TYPES.items()}

# What we write: x y z intensity as everyone does, ring and time as the Velodyne driver does.
WRITTEN = np.dtype(
    [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4"), ("ring", "<u2"), ("time", "<f4")]
)


def columns(message: Any, where: str) -> dict[str, Array]:
    """Name -> (height * width,) in row order, viewed where the bytes allow it. A field of several elements
    is left out. Raises LogError where the sizes contradict each other."""
    width, height = int(message.width), int(message.height)
    point_step, row_step = int(message.point_step), int(message.row_step)
    data = np.ascontiguousarray(message.data, np.uint8)
    order = ">" if message.is_bigendian else "<"
    formats: dict[str, tuple[str, int]] = {}
    for field in message.fields:
        code = TYPES.get(int(field.datatype))
        if code is None:
            raise LogError(f"{where}: field {field.name!r} has datatype {field.datatype}; 1 to 8 are defined")
        if int(field.count) > 1:
            continue
        if field.offset + np.dtype(code).itemsize > point_step:
            raise LogError(
                f"{where}: field {field.name!r} ends at byte {field.offset + np.dtype(code).itemsize} of a"
                f" point, point_step is {point_step}: the cloud was written wrongly"
            )
        formats[field.name] = (order + code, int(field.offset))
    if not width or not height:
        return {name: np.zeros(0, code[1:]) for name, (code, _) in formats.items()}
    needed = (height - 1) * row_step + width * point_step  # Python's integers: cannot overflow
    if row_step < width * point_step and height > 1:
        raise LogError(
            f"{where}: row_step {row_step} is less than {width} points of {point_step} bytes:"
            " the cloud was written wrongly"
        )
    if needed > data.nbytes or not point_step:
        raise LogError(
            f"{where}: {height} x {width} points of {point_step} bytes need {needed} bytes,"
            f" {data.nbytes} are there: point_step or width is wrong, or the message was cut short"
        )
    dtype = np.dtype(
        {
            "names": list(formats),
            "formats": [code for code, _ in formats.values()],
            "offsets": [offset for _, offset in formats.values()],
            "itemsize": point_step,
        }
    )
    points = np.ndarray((height, width), dtype, data.data, 0, (row_step, point_step)).reshape(-1)
    return {name: points[name].astype(dtype[name].newbyteorder("="), copy=False) for name in formats}


def packed(cloud: PointCloud) -> tuple[list[tuple[str, int, int]], Array]:
    """(name, offset, datatype) of each field, and (N * point_step,) uint8 of a sweep."""
    points = np.empty(len(cloud.xyz), WRITTEN)
    points["x"], points["y"], points["z"] = cloud.xyz.T
    points["intensity"], points["ring"], points["time"] = cloud.intensity, cloud.ring, cloud.t
    fields = []
    for name in WRITTEN.names or ():
        dtype, offset = WRITTEN.fields[name][:2]  # type: ignore[index]
        fields.append((name, offset, NUMBERS[dtype.str[1:]]))
    return fields, points.view(np.uint8)
