"""Images as one H.264 stream between hosts.

Coding adds its own time and no more (`video.py`). A frame needs the ones before it, back to a key frame:
whoever joins, or has lost one, waits for the next."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta, Struct

from fusion_rt.errors import MessageError
from fusion_rt.images import decode_image
from fusion_rt.messages import Header, Image
from fusion_rt.payloads.settings import H264
from fusion_rt.payloads.video import VideoDecoder, VideoEncoder, library


class CodedFrame(Struct, frozen=True, kw_only=True, tag="coded_frame"):
    """One frame of a stream between hosts.

    encoding  what it is decoded to
    stream    names the encoder's life, `number` counts its frames
    key       can be begun with
    data      Annex B, uint8
    """

    header: Header
    height: Annotated[int, Meta(gt=0, le=1 << 13)]
    width: Annotated[int, Meta(gt=0, le=1 << 13)]
    encoding: Literal["bgr8", "rgb8", "mono8"]
    stream: Annotated[int, Meta(ge=0)]
    number: Annotated[int, Meta(ge=0)]
    key: bool
    data: Any = None


class Encoder:
    """One topic's stream. `stream` is any number that another encoder of the topic has not.

    Raises ConfigError where PyAV or its x264 is missing."""

    def __init__(self, settings: H264, stream: int):
        self._video = VideoEncoder(settings)
        self._stream, self._number = stream, 0

    def encode(self, image: Image, *, key: bool = False) -> CodedFrame:
        """The image as the stream's next frame; `key`: one to begin with. Raises MessageError."""
        encoding: Any = "bgr8" if image.encoding in ("jpeg", "png") else image.encoding
        pixels = image.data if encoding in ("mono8", "rgb8") else decode_image(image)
        try:
            data, is_key = self._video.encode(pixels, encoding, key=key)
        except MessageError as error:
            raise MessageError(f"{image.header.sensor_id}: image {image.header.seq}: {error}") from error
        number, self._number = self._number, self._number + 1
        return CodedFrame(
            header=image.header,
            height=pixels.shape[0],
            width=pixels.shape[1],
            encoding=encoding,
            stream=self._stream,
            number=number,
            key=is_key,
            data=np.frombuffer(data, np.uint8),
        )


class Decoder:
    """One topic's receiver. Raises ConfigError where PyAV is missing.

    wants_key  whether it waits for a key frame
    waited     frames that could not be decoded for want of an earlier one
    """

    def __init__(self) -> None:
        library()  # to say now that it is missing
        self._video = VideoDecoder()
        self._next: tuple[int, int] | None = None
        self.waited = 0

    @property
    def wants_key(self) -> bool:
        return self._next is None

    def decode(self, coded: CodedFrame) -> Image | None:
        """The image; None while there is none to begin with, which is counted. Raises MessageError."""
        if coded.key:
            self._video.restart()
        elif self._next != (coded.stream, coded.number):
            self._next = None
            self.waited += 1
            return None
        self._next = None  # until it is seen to be sound
        where = f"{coded.header.sensor_id}: frame {coded.number}"
        try:
            images = self._video.decode(bytes(coded.data), "h264", coded.encoding)
        except MessageError as error:
            raise MessageError(f"{where}: {error}") from error
        if len(images) != 1:
            raise MessageError(f"{where} holds {len(images)} images")
        height, width = images[0].shape[:2]
        if (height, width) != (coded.height + coded.height % 2, coded.width + coded.width % 2):
            raise MessageError(f"{where} is {width}x{height}, its message says {coded.width}x{coded.height}")
        self._next = (coded.stream, coded.number + 1)
        return Image(
            header=coded.header,
            height=coded.height,
            width=coded.width,
            encoding=coded.encoding,
            data=np.ascontiguousarray(images[0][: coded.height, : coded.width]),
        )
