"""Packets as Foxglove messages, so that any MCAP viewer opens our recordings.

A Foxglove message cannot hold all of ours (sequence numbers, fix types, ...). The packet's own header, as
`messages.pack` makes it, rides in one more protobuf field with a number that the schemas do not use: viewers
skip it, we read it back, and the round trip is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
import numpy as np
from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from foxglove_schemas_protobuf.CompressedVideo_pb2 import CompressedVideo
from foxglove_schemas_protobuf.LocationFix_pb2 import LocationFix
from foxglove_schemas_protobuf.PackedElementField_pb2 import PackedElementField
from foxglove_schemas_protobuf.PointCloud_pb2 import PointCloud as FoxglovePointCloud
from foxglove_schemas_protobuf.RawAudio_pb2 import RawAudio
from foxglove_schemas_protobuf.RawImage_pb2 import RawImage
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from msgspec import Struct
from msgspec.structs import replace

from fusion_rt.errors import LogError, MessageError
from fusion_rt.images import decode_image
from fusion_rt.logs.records import Buffer
from fusion_rt.messages import (
    AudioChunk,
    GnssFix,
    Image,
    Message,
    Packet,
    PointCloud,
    RadarPoints,
    pack,
    unpack,
)
from fusion_rt.payloads.video import VideoDecoder, VideoEncoder

_VIDEO = CompressedVideo.DESCRIPTOR.full_name
_VIDEO_FORMAT = CompressedVideo.DESCRIPTOR.fields_by_name["format"].number
OWN_FIELD = 6190  # not used by any Foxglove schema

POINT = np.dtype(
    [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4"), ("t", "<f4"), ("ring", "<u2")]
)
RADAR_POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("velocity", "<f4"), ("snr", "<f4")])
_POSITION = np.dtype(  # the same bytes, x y z as one
    {"names": ["xyz"], "formats": ["(3,)<f4"], "offsets": [0], "itemsize": POINT.itemsize}
)


class _Size(Struct):
    """What of an image's own header says how large it is."""

    height: int
    width: int


class _Kind(Struct):
    """What a message's own header says that it is."""

    type: str


_RADAR = str(RadarPoints.__struct_config__.tag)


def _varint(n: int) -> bytes:
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


_OWN_TAG = _varint(OWN_FIELD << 3 | 2)  # wire type 2: bytes with their length


def encode(packet: Message, videos: Mapping[str, VideoEncoder] | None = None) -> bytes:
    """The packet as a serialised message of `schema(packet)`.

    videos: where given, images become H.264, by the encoder of their sensor."""
    return b"".join(encode_parts(packet, videos))


def encode_parts(
    packet: Message, videos: Mapping[str, VideoEncoder] | None = None
) -> list[bytes | memoryview]:
    """`encode`'s bytes in parts: what is large is the packet's own memory, where it lies there in order."""
    if isinstance(packet, Image) and videos is not None:
        packet, message, data = _video(packet, videos)
    else:
        message, data = _TO_FOXGLOVE[type(packet)](packet)
    header, _ = pack(packet)
    message.timestamp.FromNanoseconds(packet.header.stamp_ns)
    if hasattr(message, "frame_id"):
        message.frame_id = packet.header.frame_id
    parts = [message.SerializeToString()]
    if data is not None:
        flat = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        number = type(message).DESCRIPTOR.fields_by_name["data"].number
        parts += [_varint(number << 3 | 2) + _varint(len(flat)), flat.data]
    return [*parts, _OWN_TAG + _varint(len(header)) + header]


def decode(schema: str, data: Buffer, video: VideoDecoder | None = None) -> Packet | None:
    """The packet again; None where the message is not one of ours. Its arrays are views of `data` where they
    can be. Raises MessageError or LogError.

    video: the decoder of the message's topic; without one, a message that holds video is none of ours."""
    number = _DATA_FIELD.get(schema)
    if number is None:
        return None
    try:
        fields = dict(_fields(memoryview(data)))
        own = fields.get(OWN_FIELD)
        if own is None:
            return None
        given = fields.get(number, memoryview(b""))
        if schema == _VIDEO:
            if video is None:
                return None
            arrays = [_video_pixels(given, bytes(fields.get(_VIDEO_FORMAT, b"")).decode(), video, own)]
        else:
            arrays = _ARRAYS[schema](given, own)
    except (ValueError, IndexError) as error:  # among them a length that is no whole number of points
        raise LogError(f"a {schema} message is damaged: {error}") from error
    return unpack(own, arrays)  # type: ignore[return-value]


def schema(packet: Message, *, video: bool = False) -> Any:
    """The protobuf class of a packet's Foxglove message; None for kinds that Foxglove has none for."""
    if isinstance(packet, Image):
        if video:
            return CompressedVideo
        return CompressedImage if packet.encoding in ("jpeg", "png") else RawImage
    return _CLASSES.get(type(packet))


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


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and bytes of each field that has a length: protobuf itself would copy the pixels twice.

    https://protobuf.dev/programming-guides/encoding. Raises ValueError, IndexError."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _read_varint(data, at)
        wire_type = tag & 7
        if wire_type == 2:
            length, at = _read_varint(data, at)
            if at + length > end:
                raise ValueError(f"a field of {length} bytes where {end - at} are left")
            yield tag >> 3, data[at : at + length]
            at += length
        elif wire_type == 0:
            _, at = _read_varint(data, at)
        elif wire_type in (1, 5):
            at += 8 if wire_type == 1 else 4
        else:
            raise ValueError(f"wire type {wire_type}")
    if at > end:
        raise ValueError("a field that ends beyond the message")


def _read_varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


# Each gives the message without its data, which is large, and the data.


def _image(packet: Image) -> tuple[Any, Any]:
    if packet.encoding in ("jpeg", "png"):
        return CompressedImage(format=packet.encoding), packet.data
    channels = 1 if packet.encoding == "mono8" else 3
    message = RawImage(
        width=packet.width, height=packet.height, encoding=packet.encoding, step=packet.width * channels
    )
    return message, packet.data


def _video(packet: Image, videos: Mapping[str, VideoEncoder]) -> tuple[Image, Any, Any]:
    """The image as bgr8, which is what reading gives back, its message and the message's data."""
    header = packet.header
    try:
        pixels = decode_image(packet)
        if packet.encoding == "rgb8":
            pixels = np.ascontiguousarray(pixels[:, :, ::-1])
        frame, _ = videos[header.sensor_id].encode(pixels, "bgr8")
    except MessageError as error:
        raise LogError(f"{header.sensor_id}: image {header.seq} cannot be in a video: {error}") from error
    data = np.frombuffer(frame, np.uint8)
    return replace(packet, encoding="bgr8", data=pixels), CompressedVideo(format="h264"), data


def _video_pixels(data: memoryview, encoding: str, video: VideoDecoder, own: memoryview) -> Any:
    """The frame's pixels as bytes, without the column or row that made the size even."""
    images = video.decode(bytes(data), encoding)
    if not images:
        raise MessageError(f"a {encoding} frame before the first key frame: it refers to what is not there")
    decoded = images[-1]
    size = msgspec.msgpack.decode(own, type=_Size)
    return np.ascontiguousarray(decoded[: size.height, : size.width]).reshape(-1)


def _points(packet: PointCloud) -> tuple[Any, Any]:
    packed = np.empty(len(packet.xyz), POINT)
    packed.view(_POSITION)["xyz"] = packet.xyz
    packed["intensity"], packed["t"], packed["ring"] = packet.intensity, packet.t, packet.ring
    message = FoxglovePointCloud(point_stride=POINT.itemsize)
    message.pose.orientation.w = 1.0
    for name in POINT.names or ():
        dtype, offset = POINT.fields[name][:2]  # type: ignore[index]
        number = PackedElementField.UINT16 if dtype.kind == "u" else PackedElementField.FLOAT32
        message.fields.add(name=name, offset=offset, type=number)
    return message, packed


def _radar(packet: RadarPoints) -> tuple[Any, Any]:
    packed = np.empty((len(packet.xyz), 5), np.float32)
    packed[:, :3], packed[:, 3], packed[:, 4] = packet.xyz, packet.velocity, packet.snr_db
    message = FoxglovePointCloud(point_stride=RADAR_POINT.itemsize)
    message.pose.orientation.w = 1.0
    for i, name in enumerate(RADAR_POINT.names or ()):
        message.fields.add(name=name, offset=4 * i, type=PackedElementField.FLOAT32)
    return message, packed


def _location(packet: GnssFix) -> tuple[Any, Any]:
    message = LocationFix(
        latitude=packet.latitude_deg,
        longitude=packet.longitude_deg,
        altitude=packet.altitude_m,
        position_covariance=packet.position_covariance,
        position_covariance_type=LocationFix.KNOWN,
    )
    return message, None


def _audio(packet: AudioChunk) -> tuple[Any, Any]:
    return RawAudio(format="pcm-s16", sample_rate=packet.rate, number_of_channels=1), packet.pcm


def _point_arrays(data: memoryview, own: memoryview) -> list[Any]:
    if msgspec.msgpack.decode(own, type=_Kind).type == _RADAR:
        columns = np.frombuffer(data, "<f4").reshape(-1, 5)
        return [np.ascontiguousarray(part) for part in (columns[:, :3], columns[:, 3], columns[:, 4])]
    points = np.frombuffer(data, POINT)
    xyz = np.ascontiguousarray(points.view(_POSITION)["xyz"])
    return [xyz, *(np.ascontiguousarray(points[name]) for name in ("intensity", "t", "ring"))]


_TO_FOXGLOVE: dict[type, Callable[[Any], tuple[Any, Any]]] = {
    Image: _image,
    PointCloud: _points,
    GnssFix: _location,
    AudioChunk: _audio,
    RadarPoints: _radar,
}
_CLASSES: dict[type, Any] = {
    PointCloud: FoxglovePointCloud,
    GnssFix: LocationFix,
    AudioChunk: RawAudio,
    RadarPoints: FoxglovePointCloud,
}
_ARRAYS: dict[str, Callable[[memoryview, memoryview], list[Any]]] = {
    "foxglove.CompressedImage": lambda data, own: [data],
    "foxglove.RawImage": lambda data, own: [data],
    "foxglove.PointCloud": _point_arrays,
    "foxglove.LocationFix": lambda data, own: [],
    "foxglove.RawAudio": lambda data, own: [data],
}
_DATA_FIELD: dict[str, int] = {  # schema -> the number of the field with what is large; 0: none
    kind.DESCRIPTOR.full_name: kind.DESCRIPTOR.fields_by_name["data"].number
    for kind in (CompressedImage, CompressedVideo, RawImage, FoxglovePointCloud, RawAudio)
} | {LocationFix.DESCRIPTOR.full_name: 0}
