"""ROS's sensor_msgs/Image and CompressedImage as our images.

JPEG, PNG, bgr8, rgb8 and mono8 stay as they are; Bayer patterns, YUV, alpha and 16 bits become bgr8 by the
library `rosbags-image`."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from fusion_rt.errors import LogError, MessageError
from fusion_rt.messages import Header, Image
from fusion_rt.payloads.video import VideoDecoder
from fusion_rt.transforms import Array

LARGEST_PX = 1 << 15
_KEPT = {"bgr8": "bgr8", "8UC3": "bgr8", "rgb8": "rgb8", "mono8": "mono8", "8UC1": "mono8"}


def raw_image(message: Any, header: Header, where: str) -> Image:
    """Raises LogError: an encoding that is no camera's or is not known, or sizes that contradict."""
    pixels = _rows(message, where)
    encoding = _KEPT.get(message.encoding)
    if encoding is None:
        pixels, encoding = _bgr(message, pixels, where), "bgr8"
    height, width = pixels.shape[:2]
    return Image(
        header=header, height=height, width=width, encoding=encoding, data=np.ascontiguousarray(pixels)
    )


def compressed_image(message: Any, header: Header, where: str) -> Image:
    """The message's own bytes; they say themselves what they are. Raises LogError."""
    return compressed_bytes(np.ascontiguousarray(message.data, np.uint8), header, where, message.format)


def compressed_bytes(data: Array, header: Header, where: str, said: str = "") -> Image:
    """JPEG or PNG of its own size; `said` is what the recording calls the format. Raises LogError."""
    start = data[:8].tobytes()
    encoding = {b"\xff\xd8": "jpeg", b"\x89P": "png"}.get(start[:2])
    if encoding is None:
        raise LogError(
            f"{where}: format {said!r} begins with {start.hex(' ')}: neither JPEG nor PNG; of compressed"
            " images those two can be imported"
        )
    pixels = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise LogError(f"{where}: {data.size} bytes of {encoding} do not decode; damaged or cut short")
    height, width = pixels.shape[:2]
    return Image(header=header, height=height, width=width, encoding=encoding, data=data)


def video_image(message: Any, header: Header, where: str, video: VideoDecoder) -> Image:
    """A foxglove_msgs/CompressedVideo, `video` the decoder of its topic, as bgr8. Raises LogError: no key
    frame yet, damaged, or a format that is not known; ConfigError: PyAV is missing."""
    try:
        images = video.decode(bytes(message.data), message.format)
    except MessageError as error:
        raise LogError(f"{where}: {error}") from error
    if not images:
        raise LogError(f"{where}: a frame before the first key frame: it refers to what is not there")
    pixels = images[-1]
    height, width = pixels.shape[:2]
    return Image(header=header, height=height, width=width, encoding="bgr8", data=pixels)


def _rows(message: Any, where: str) -> Array:
    """(height, width, channels) or (height, width) without what pads the rows. Raises LogError."""
    from rosbags.image.image import ImageFormatError, to_cvtype  # the extra `ros`, for this format alone

    height, width, step = int(message.height), int(message.width), int(message.step)
    try:
        _, _, depth, channels = to_cvtype(message.encoding)
    except ImageFormatError as error:
        raise LogError(
            f"{where}: encoding {message.encoding!r} is not known; publish rgb8, bgr8, mono8, a Bayer pattern"
            " or yuv422, or JPEG as a CompressedImage"
        ) from error
    if not 0 < width <= LARGEST_PX or not 0 < height <= LARGEST_PX:
        raise LogError(f"{where}: an image of {width} x {height} px")
    dtype = np.dtype(depth)
    if message.encoding in ("nv12", "nv21"):
        height = height * 3 // 2  # half as many rows of colour below the brightness
    row = width * channels * dtype.itemsize
    data = np.ascontiguousarray(message.data, np.uint8)
    if step < row or (height - 1) * step + row > data.nbytes:
        raise LogError(
            f"{where}: {height} rows of {width} px {message.encoding} need {row} bytes each; step is {step}"
            f" and {data.nbytes} bytes are there: cut short, or another encoding than it says"
        )
    if bool(message.is_bigendian) and dtype.itemsize > 1:
        dtype = dtype.newbyteorder(">")
    shape, strides = (height, width, channels), (step, channels * dtype.itemsize, dtype.itemsize)
    pixels = np.ndarray(shape, dtype, data.data, 0, strides)
    return pixels[..., 0] if channels == 1 else pixels


def _bgr(message: Any, pixels: Array, where: str) -> Array:
    from rosbags.image.image import ImageError, image_to_cvimage

    plain = SimpleNamespace(
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=message.encoding,
        is_bigendian=sys.byteorder != "little",
        data=np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("=")).reshape(-1).view(np.uint8),
    )
    try:
        converted = image_to_cvimage(plain, "bgr8")  # type: ignore[arg-type]
    except (ImageError, cv2.error) as error:
        raise LogError(
            f"{where}: encoding {message.encoding!r} is no camera image that becomes bgr8 ({error}); leave"
            " the topic out, or publish it in colour"
        ) from error
    return np.asarray(converted, np.uint8)
