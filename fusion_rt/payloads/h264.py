"""Images as one H.264 stream, by FFmpeg's libraries (PyAV), one frame out for each one in.

Without B-frames and look-ahead nothing waits for a later image, so coding adds its own time and no more. A
frame needs the ones before it, back to a key frame: whoever joins, or has lost one, waits for the next."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from fusion_rt.errors import ConfigError, MessageError
from fusion_rt.images import decode_image
from fusion_rt.messages import Header, Image
from fusion_rt.payloads.settings import H264

RATE = 30  # frames a second, for the bound on the rate; frames have no times of their own in the stream
FORMATS = {"bgr8": "bgr24", "rgb8": "rgb24", "mono8": "gray"}


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
        self._av = library()
        self._settings, self._stream = settings, stream
        self._number = 0
        self._size: tuple[int, int] | None = None
        self._context: Any = None

    def encode(self, image: Image, *, key: bool = False) -> CodedFrame:
        """The image as the stream's next frame; `key`: one to begin with. Raises MessageError."""
        encoding: Any = "bgr8" if image.encoding in ("jpeg", "png") else image.encoding
        pixels = image.data if encoding in ("mono8", "rgb8") else decode_image(image)
        height, width = pixels.shape[:2]
        if self._size != (height, width):
            self._open(height, width)
        frame = self._av.VideoFrame.from_ndarray(_even(pixels), format=FORMATS[encoding])
        frame = frame.reformat(format="yuv420p")
        frame.pts = self._number
        if key:
            frame.pict_type = self._av.video.frame.PictureType.I
        try:
            packets = self._context.encode(frame)
        except self._av.error.FFmpegError as error:
            self._size = None
            raise MessageError(f"{image.header.sensor_id}: image {image.header.seq}: {error}") from error
        if len(packets) != 1:  # x264's zerolatency gives one for each
            raise MessageError(f"{image.header.sensor_id}: {len(packets)} frames came for one image")
        number, self._number = self._number, self._number + 1
        return CodedFrame(
            header=image.header,
            height=height,
            width=width,
            encoding=encoding,
            stream=self._stream,
            number=number,
            key=bool(packets[0].is_keyframe),
            data=np.frombuffer(bytes(packets[0]), np.uint8),
        )

    def _open(self, height: int, width: int) -> None:
        context = self._av.CodecContext.create("libx264", "w")
        context.width, context.height = width + width % 2, height + height % 2
        context.pix_fmt, context.framerate = "yuv420p", RATE
        context.gop_size, context.max_b_frames, context.thread_count = self._settings.key_every, 0, 1
        options = {
            "preset": "ultrafast",
            "tune": "zerolatency",
            "crf": str(self._settings.crf),
            "forced-idr": "1",
        }
        if self._settings.max_mbit_s is not None:
            bits = str(round(self._settings.max_mbit_s * 1e6))
            options |= {"maxrate": bits, "bufsize": bits}
        context.options = options
        self._context, self._size = context, (height, width)


class Decoder:
    """One topic's receiver.

    wants_key  whether it waits for a key frame
    waited     frames that could not be decoded for want of an earlier one
    """

    def __init__(self) -> None:
        self._av = library()
        self._context: Any = None
        self._next: tuple[int, int] | None = None
        self.waited = 0

    @property
    def wants_key(self) -> bool:
        return self._next is None

    def decode(self, coded: CodedFrame) -> Image | None:
        """The image; None while there is none to begin with, which is counted. Raises MessageError."""
        if coded.key:
            self._context = self._av.CodecContext.create("h264", "r")
            self._context.thread_count = 1  # several would hold frames back
            self._context.flags |= self._av.codec.context.Flags.low_delay
        elif self._next != (coded.stream, coded.number):
            self._next = None
            self.waited += 1
            return None
        self._next = None  # until it is seen to be sound
        try:
            frames = self._context.decode(self._av.Packet(bytes(coded.data)))
        except self._av.error.FFmpegError as error:
            raise MessageError(f"{coded.header.sensor_id}: frame {coded.number}: {error}") from error
        if len(frames) != 1:
            raise MessageError(f"{coded.header.sensor_id}: frame {coded.number} holds {len(frames)} images")
        frame = frames[0]
        if (frame.height, frame.width) != (coded.height + coded.height % 2, coded.width + coded.width % 2):
            raise MessageError(
                f"{coded.header.sensor_id}: frame {coded.number} is {frame.width}x{frame.height}, its message"
                f" says {coded.width}x{coded.height}"
            )
        pixels = frame.to_ndarray(format=FORMATS[coded.encoding])[: coded.height, : coded.width]
        self._next = (coded.stream, coded.number + 1)
        return Image(
            header=coded.header,
            height=coded.height,
            width=coded.width,
            encoding=coded.encoding,
            data=np.ascontiguousarray(pixels),
        )


def library() -> Any:
    """PyAV. Raises ConfigError where it is not installed."""
    try:
        import av
        import av.error
    except ImportError as error:
        raise ConfigError("codec: h264 needs PyAV: pip install 'fusion-rt[hosts]', or use jpeg") from error
    return av


def _even(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The last row and column again where their number is odd: colours are sent for 2 x 2 pixels."""
    height, width = pixels.shape[:2]
    if height % 2 or width % 2:
        pad = ((0, height % 2), (0, width % 2), (0, 0))[: pixels.ndim]
        pixels = np.pad(pixels, pad, mode="edge")
    return np.ascontiguousarray(pixels)
