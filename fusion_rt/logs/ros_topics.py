"""Which topics of a ROS recording are which sensors: as the user says, or by their types and names."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from msgspec import Struct

from fusion_rt.errors import LogError

POINTS = "sensor_msgs/msg/PointCloud2"
IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
VIDEO = "foxglove_msgs/msg/CompressedVideo"
FIX = "sensor_msgs/msg/NavSatFix"
IMU = "sensor_msgs/msg/Imu"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
TRANSFORMS = "tf2_msgs/msg/TFMessage"

KINDS = {POINTS: "lidar", IMAGE: "camera", COMPRESSED: "camera", VIDEO: "camera", FIX: "gnss", IMU: "imu"}
# What topics of type Image also hold.
_NO_PICTURES = ("depth", "disparity", "mask", "label", "segment", "theora", "debug")


class Source(Struct, frozen=True):
    """A topic that is imported. asked: the user named it, so leaving it out is an error."""

    topic: str
    type: str
    sensor_id: str
    asked: bool = False

    @property
    def kind(self) -> str:
        """ "lidar", "camera", "gnss" or "imu"."""
        return KINDS[self.type]


def choose(types: Mapping[str, str], asked: Mapping[str, str], path: object) -> list[Source]:
    """types: topic -> message type of all there are; asked: sensor_id -> topic. A kind of sensor that is
    asked for is these alone; of the others all are taken, of a camera's several forms one.

    Raises LogError naming the topics where one that is asked for is not there, or is no sensor's."""
    sources = [_asked(sensor_id, topic, types, path) for sensor_id, topic in asked.items()]
    for kind in ("lidar", "camera", "gnss", "imu"):
        if any(source.kind == kind for source in sources):
            continue
        found = sorted(topic for topic, type_ in types.items() if KINDS.get(type_) == kind)
        if kind == "camera":
            found = _one_a_camera(found, types)
        parts = [camera_of(topic) or topic for topic in found] if kind == "camera" else found
        for sensor_id, topic in zip(_names(kind, parts), found):
            sources.append(Source(topic, types[topic], sensor_id))
    if not sources:
        raise LogError(
            f"{path}: no topic with PointCloud2, Image, CompressedImage, NavSatFix or Imu; there are:"
            f" {', '.join(f'{topic} ({type_})' for topic, type_ in sorted(types.items())) or 'none'}"
        )
    return sources


def camera_of(topic: str) -> str:
    """The camera's namespace, which holds its CameraInfo: /front of /front/image_raw/compressed."""
    parts = topic.split("/")
    while len(parts) > 1 and parts[-1] in ("compressed", "foxglove"):
        parts.pop()
    return "/".join(parts[:-1])


def rectified(topic: str) -> bool:
    """By the names of image_proc: image_rect, image_rect_color."""
    return "image_rect" in topic


def _asked(sensor_id: str, topic: str, types: Mapping[str, str], path: object) -> Source:
    if topic not in types:
        near = difflib.get_close_matches(topic, types, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise LogError(f"{path}: no topic {topic}; {hint}there are: {', '.join(sorted(types)) or 'none'}")
    if types[topic] not in KINDS:
        raise LogError(
            f"{path}: {topic} holds {types[topic]}; sensors are {', '.join(t.split('/')[-1] for t in KINDS)}"
        )
    return Source(topic, types[topic], sensor_id, asked=True)


def _one_a_camera(topics: list[str], types: Mapping[str, str]) -> list[str]:
    """The best form of each: raw before compressed, colour before grey, as taken before rectified."""

    def rank(topic: str) -> tuple[bool, bool, bool, str]:
        return types[topic] != IMAGE, "mono" in topic, rectified(topic), topic

    best: dict[str, str] = {}
    for topic in sorted(topics, key=rank):
        if not any(word in topic.lower() for word in _NO_PICTURES):
            best.setdefault(camera_of(topic), topic)
    return sorted(best.values())


def _names(kind: str, topics: list[str]) -> list[str]:
    """The kind alone for the only one; else with what sets the topics apart: camera_front, camera_left."""
    if len(topics) < 2:
        return [kind] * len(topics)
    parts = [topic.strip("/").split("/") for topic in topics]
    while len({p[0] for p in parts}) == 1 and all(len(p) > 1 for p in parts):
        parts = [p[1:] for p in parts]
    while len({p[-1] for p in parts}) == 1 and all(len(p) > 1 for p in parts):
        parts = [p[:-1] for p in parts]
    return [f"{kind}_{'_'.join(p)}" for p in parts]
