"""Packets as Foxglove messages, so that any MCAP viewer opens our recordings.

A Foxglove message cannot hold all of ours (sequence numbers, fix types, ...). The packet's own header, as
`messages.pack` makes it, rides in one more protobuf field with a number that the schemas do not use: viewers
skip it, we read it back, and the round trip is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from foxglove_schemas_protobuf.LocationFix_pb2 import LocationFix
from foxglove_schemas_protobuf.PackedElementField_pb2 import PackedElementField
from foxglove_schemas_protobuf.PointCloud_pb2 import PointCloud as FoxglovePointCloud
from foxglove_schemas_protobuf.RawAudio_pb2 import RawAudio
from foxglove_schemas_protobuf.RawImage_pb2 import RawImage
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.unknown_fields import UnknownFieldSet

from fusion_rt.errors import LogError
from fusion_rt.messages import AudioChunk, GnssFix, Image, Packet, PointCloud, pack, unpack

OWN_FIELD = 6190  # not used by any Foxglove schema

POINT = np.dtype(
    [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4"), ("t", "<f4"), ("ring", "<u2")]
)
_POSITION = np.dtype(  # the same bytes, x y z as one
    {"names": ["xyz"], "formats": ["(3,)<f4"], "offsets": [0], "itemsize": POINT.itemsize}
)


def _varint(n: int) -> bytes:
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


_OWN_TAG = _varint(OWN_FIELD << 3 | 2)  # wire type 2: bytes with their length


def encode(packet: Packet) -> bytes:
    """The packet as a serialised message of `schema(packet)`."""
    header, _ = pack(packet)
    message = _TO_FOXGLOVE[type(packet)](packet)
    message.timestamp.FromNanoseconds(packet.header.stamp_ns)
    if hasattr(message, "frame_id"):
        message.frame_id = packet.header.frame_id
    body: bytes = message.SerializeToString()
    return body + _OWN_TAG + _varint(len(header)) + header


def decode(schema: str, data: bytes) -> Packet | None:
    """The packet again; None where the message is not one of ours. Raises MessageError or LogError."""
    kind = _BY_SCHEMA.get(schema)
    if kind is None:
        return None
    message = kind()
    try:
        message.ParseFromString(data)
    except Exception as error:  # protobuf's DecodeError is not exported by every implementation
        raise LogError(f"a {schema} message is damaged: {error}") from error
    fields: Any = UnknownFieldSet(message)  # iterable, though its type stub does not say so
    own = [field.data for field in fields if field.field_number == OWN_FIELD]
    if not own:
        return None
    try:
        arrays = _ARRAYS[schema](message)
    except ValueError as error:  # a length that is no whole number of points
        raise LogError(f"a {schema} message is damaged: {error}") from error
    return unpack(own[-1], arrays)  # type: ignore[return-value]


def schema(packet: Packet) -> Any:
    """The protobuf class of a packet's Foxglove message; None for kinds that Foxglove has none for."""
    if isinstance(packet, Image):
        return CompressedImage if packet.encoding in ("jpeg", "png") else RawImage
    return {PointCloud: FoxglovePointCloud, GnssFix: LocationFix, AudioChunk: RawAudio}.get(type(packet))


def descriptor_set(message_class: Any) -> bytes:
    """The schema's definition with all it depends on, as MCAP stores it."""
    files = FileDescriptorSet()
    seen: set[str] = set()

    def add(file: FileDescriptor) -> None:
        for dependency in file.dependencies:
            if dependency.name not in seen:
                seen.add(dependency.name)
                add(dependency)
        file.CopyToProto(files.file.add())

    add(message_class.DESCRIPTOR.file)
    data: bytes = files.SerializeToString()
    return data


def _image(packet: Image) -> Any:
    if packet.encoding in ("jpeg", "png"):
        return CompressedImage(format=packet.encoding, data=packet.data.tobytes())
    channels = 1 if packet.encoding == "mono8" else 3
    return RawImage(
        width=packet.width,
        height=packet.height,
        encoding=packet.encoding,
        step=packet.width * channels,
        data=packet.data.tobytes(),
    )


def _points(packet: PointCloud) -> Any:
    packed = np.empty(len(packet.xyz), POINT)
    packed["x"], packed["y"], packed["z"] = packet.xyz.T
    packed["intensity"], packed["t"], packed["ring"] = packet.intensity, packet.t, packet.ring
    message = FoxglovePointCloud(point_stride=POINT.itemsize, data=packed.tobytes())
    message.pose.orientation.w = 1.0
    for name in POINT.names or ():
        dtype, offset = POINT.fields[name][:2]  # type: ignore[index]
        number = PackedElementField.UINT16 if dtype.kind == "u" else PackedElementField.FLOAT32
        message.fields.add(name=name, offset=offset, type=number)
    return message


def _location(packet: GnssFix) -> Any:
    return LocationFix(
        latitude=packet.latitude_deg,
        longitude=packet.longitude_deg,
        altitude=packet.altitude_m,
        position_covariance=packet.position_covariance,
        position_covariance_type=LocationFix.KNOWN,
    )


def _audio(packet: AudioChunk) -> Any:
    return RawAudio(
        data=packet.pcm.tobytes(), format="pcm-s16", sample_rate=packet.rate, number_of_channels=1
    )


def _point_arrays(message: Any) -> list[Any]:
    points = np.frombuffer(message.data, POINT)
    xyz = np.ascontiguousarray(points.view(_POSITION)["xyz"])
    return [xyz, *(np.ascontiguousarray(points[name]) for name in ("intensity", "t", "ring"))]


_TO_FOXGLOVE: dict[type, Callable[[Any], Any]] = {
    Image: _image,
    PointCloud: _points,
    GnssFix: _location,
    AudioChunk: _audio,
}
_ARRAYS: dict[str, Callable[[Any], list[Any]]] = {
    "foxglove.CompressedImage": lambda m: [m.data],
    "foxglove.RawImage": lambda m: [m.data],
    "foxglove.PointCloud": _point_arrays,
    "foxglove.LocationFix": lambda m: [],
    "foxglove.RawAudio": lambda m: [m.data],
}
_BY_SCHEMA = {
    kind.DESCRIPTOR.full_name: kind
    for kind in (CompressedImage, RawImage, FoxglovePointCloud, LocationFix, RawAudio)
}
