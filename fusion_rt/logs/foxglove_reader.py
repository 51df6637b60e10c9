"""An MCAP file of other makers with Foxglove's protobuf messages, read as if it were a bag.

Each message is given with the names of ROS's, whose schemas say the same in nearly the same words."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from foxglove_schemas_protobuf.CameraCalibration_pb2 import CameraCalibration
from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from foxglove_schemas_protobuf.CompressedVideo_pb2 import CompressedVideo
from foxglove_schemas_protobuf.FrameTransform_pb2 import FrameTransform
from foxglove_schemas_protobuf.FrameTransforms_pb2 import FrameTransforms
from foxglove_schemas_protobuf.LocationFix_pb2 import LocationFix
from foxglove_schemas_protobuf.PointCloud_pb2 import PointCloud
from foxglove_schemas_protobuf.RawImage_pb2 import RawImage
from mcap.reader import make_reader

from fusion_rt.errors import LogError
from fusion_rt.logs import ros_topics
from fusion_rt.logs.bounded_file import BoundedFile
from fusion_rt.logs.left_out import LeftOut

# PackedElementField's numbers -> PointField's.
_DATATYPES = {1: 2, 2: 1, 3: 4, 4: 3, 5: 6, 6: 5, 7: 7, 8: 8}


class FoxgloveReader:
    """As BagReader. Raises LogError: no MCAP file, or nothing in it has one of the schemas."""

    def __init__(self, path: Path, left_out: LeftOut) -> None:
        self.path = path
        self._left_out = left_out
        try:
            self._file = BoundedFile(path)  # which gives no more than it has, whatever a length says
        except OSError as error:
            raise LogError(f"{path}: cannot be opened: {error.strerror}") from error
        try:
            summary = self._reader().get_summary()
        except Exception as error:  # mcap's, struct's, zstandard's: no closed list
            self.close()
            raise LogError(f"{path}: not an MCAP file that can be read: {error}") from error
        if summary is None or summary.statistics is None:
            self.close()
            raise LogError(
                f"{path}: the index is missing; `mcap recover` of the format's own tool writes one"
            )
        self.types: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        for number, channel in summary.channels.items():
            schema = summary.schemas.get(channel.schema_id)
            if schema is not None and schema.name in _ADAPTED and channel.message_encoding == "protobuf":
                self.types[channel.topic] = _ADAPTED[schema.name][0]
                count = summary.statistics.channel_message_counts.get(number, 0)
                self._counts[channel.topic] = self._counts.get(channel.topic, 0) + count

    def count(self, topics: set[str]) -> int:
        """How many messages these topics hold, by the file's index."""
        return sum(self._counts.get(topic, 0) for topic in topics)

    def messages(self, topics: set[str]) -> Generator[tuple[str, int, Any], None, None]:
        """(topic, when it was recorded, message) of these, in order."""
        wanted = sorted(topics & set(self.types))
        if not wanted:
            return
        records = self._reader().iter_messages(topics=wanted)
        while True:
            try:
                record = next(records, None)
            except Exception as error:
                self._left_out.add("", f"{self.path}: {error}; what comes behind is left out")
                return
            if record is None:
                return
            schema, channel, raw = record
            try:
                kind, adapt = _ADAPTED[schema.name][1:]
                message = kind()
                message.ParseFromString(raw.data)
                adapted = adapt(message)
            except Exception as error:  # protobuf's DecodeError among them
                self._left_out.add(channel.topic, f"{self.path}: {channel.topic}: a damaged message: {error}")
                continue
            yield channel.topic, raw.log_time, adapted

    def first(self, topic: str) -> Any:
        """A topic's first message; None where there is none that can be read."""
        with closing(self.messages({topic})) as messages:
            return next((message for _, _, message in messages), None)

    def close(self) -> None:
        """Later calls do nothing."""
        self._file.close()

    def _reader(self) -> Any:
        self._file.seek(0)
        return make_reader(self._file, validate_crcs=True)


def _header(message: Any) -> SimpleNamespace:
    stamp = SimpleNamespace(sec=message.timestamp.seconds, nanosec=message.timestamp.nanos)
    return SimpleNamespace(stamp=stamp, frame_id=getattr(message, "frame_id", ""))


def _bytes(data: bytes) -> Any:
    return np.frombuffer(data, np.uint8)


def _points(message: Any) -> Any:
    step = int(message.point_stride)
    n = len(message.data) // step if step else 0
    fields = [
        SimpleNamespace(name=f.name, offset=f.offset, datatype=_DATATYPES.get(f.type, 0), count=1)
        for f in message.fields
    ]
    return SimpleNamespace(
        header=_header(message), width=n, height=1, point_step=step, row_step=n * step, fields=fields,
        is_bigendian=False, data=_bytes(message.data),
    )  # fmt: skip


def _raw_image(message: Any) -> Any:
    return SimpleNamespace(
        header=_header(message), width=message.width, height=message.height, encoding=message.encoding,
        step=message.step, is_bigendian=False, data=_bytes(message.data),
    )  # fmt: skip


def _compressed(message: Any) -> Any:
    return SimpleNamespace(header=_header(message), format=message.format, data=_bytes(message.data))


def _fix(message: Any) -> Any:
    covariance = list(message.position_covariance)
    return SimpleNamespace(
        header=_header(message),
        status=SimpleNamespace(status=0),
        latitude=message.latitude,
        longitude=message.longitude,
        altitude=message.altitude,
        position_covariance=covariance,
        position_covariance_type=message.position_covariance_type if len(covariance) == 9 else 0,
    )


def _calibration(message: Any) -> Any:
    roi = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)
    return SimpleNamespace(
        header=_header(message), width=message.width, height=message.height, binning_x=1, binning_y=1,
        distortion_model=message.distortion_model, roi=roi, D=list(message.D), K=list(message.K),
        R=list(message.R) or [0.0] * 9, P=list(message.P),
    )  # fmt: skip


def _transform(message: Any) -> Any:
    return SimpleNamespace(
        header=SimpleNamespace(frame_id=message.parent_frame_id),
        child_frame_id=message.child_frame_id,
        transform=SimpleNamespace(translation=message.translation, rotation=message.rotation),
    )


def _transforms(message: Any) -> Any:
    return SimpleNamespace(transforms=[_transform(t) for t in message.transforms])


# Schema -> (the ROS message that says the same, its protobuf class, how it becomes that).
_ADAPTED: dict[str, tuple[str, Any, Callable[[Any], Any]]] = {
    kind.DESCRIPTOR.full_name: (name, kind, adapt)
    for name, kind, adapt in (
        (ros_topics.POINTS, PointCloud, _points),
        (ros_topics.IMAGE, RawImage, _raw_image),
        (ros_topics.COMPRESSED, CompressedImage, _compressed),
        (ros_topics.VIDEO, CompressedVideo, _compressed),
        (ros_topics.FIX, LocationFix, _fix),
        (ros_topics.CAMERA_INFO, CameraCalibration, _calibration),
        (ros_topics.TRANSFORMS, FrameTransforms, _transforms),
        (ros_topics.TRANSFORMS, FrameTransform, lambda m: SimpleNamespace(transforms=[_transform(m)])),
    )
}
