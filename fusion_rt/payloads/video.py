"""Images as video by FFmpeg's libraries (PyAV): the frames between hosts and those inside logs.

Nothing waits for a later image: no B-frames, no look-ahead, one frame out for each one in. Annex B, with the
parameter sets before each key frame, as Foxglove's CompressedVideo asks. Colours by OpenCV's conversion
(BT.601, 16 to 235, which is what a stream without a word on it means): PyAV's darkens by one or two levels of
255 each way, and takes longer."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fusion_rt.errors import ConfigError, MessageError
from fusion_rt.payloads.settings import H264

DECODERS = {"h264": "h264", "h265": "hevc", "vp9": "vp9", "av1": "av1"}
RATE = 30  # frames a second, for the bound on the rate; frames have no times of their own in the stream
_TO_PLANES = {"bgr8": cv2.COLOR_BGR2YUV_I420, "rgb8": cv2.COLOR_RGB2YUV_I420}
_FROM_PLANES = {"bgr8": cv2.COLOR_YUV2BGR_I420, "rgb8": cv2.COLOR_YUV2RGB_I420}
_PLAIN = {"bgr8": "bgr24", "rgb8": "rgb24", "mono8": "gray"}
_LIMITED, _BT_601 = (0, 1), (2, 5, 6)  # AVColorRange, AVColorSpace: not said, or said


class VideoEncoder:
    """One camera's images as H.264. An image of another size begins a new stream, with a key frame.

    Raises ConfigError where PyAV is missing."""

    def __init__(self, settings: H264) -> None:
        self._av = library()
        self._settings = settings
        self._context: Any = None
        self._size: tuple[int, int] | None = None
        self._count = 0

    def encode(self, pixels: NDArray[np.uint8], encoding: str, *, key: bool = False) -> tuple[bytes, bool]:
        """pixels (height, width, 3) uint8, or (height, width) for mono8 -> the frame, and whether it can be
        begun with; `key`: it can. Raises MessageError."""
        if self._context is None or self._size != pixels.shape[:2]:
            self._context, self._size = self._open(*pixels.shape[:2]), pixels.shape[:2]
        frame = self._av.VideoFrame.from_ndarray(_planes(_even(pixels), encoding), format="yuv420p")
        frame.pts, self._count = self._count, self._count + 1
        if key:
            frame.pict_type = self._av.video.frame.PictureType.I
        try:
            packets = self._context.encode(frame)
        except self._av.error.FFmpegError as error:
            self._context = None
            raise MessageError(f"it cannot be encoded: {error}") from error
        if len(packets) != 1:  # x264's zerolatency gives one for each
            raise MessageError(f"{len(packets)} frames came for one image")
        return bytes(packets[0]), bool(packets[0].is_keyframe)

    def _open(self, height: int, width: int) -> Any:
        context = self._av.CodecContext.create("libx264", "w")
        context.width, context.height = width + width % 2, height + height % 2
        context.pix_fmt, context.framerate = "yuv420p", RATE
        context.gop_size, context.max_b_frames, context.thread_count = self._settings.key_every, 0, 1
        options = {
            "preset": self._settings.preset,
            "tune": "zerolatency",
            "crf": str(self._settings.crf),
            "forced-idr": "1",
        }
        if self._settings.max_mbit_s is not None:
            bits = str(round(self._settings.max_mbit_s * 1e6))
            options |= {"maxrate": bits, "bufsize": bits}
        context.options = options
        return context


class VideoDecoder:
    """One stream, in its order, from a key frame on."""

    def __init__(self) -> None:
        self._context: Any = None
        self._format = ""

    def restart(self) -> None:
        """Forget what came: the next frame is a key frame."""
        self._context = None

    def decode(self, data: bytes, format: str, encoding: str = "bgr8") -> list[NDArray[np.uint8]]:
        """The images that the frame completes: one, none before the first key frame, more if it held more.
        (height, width, 3) uint8, or (height, width) for mono8. Raises MessageError: damaged, or a format that
        is not known; ConfigError: PyAV is missing."""
        av = library()
        if self._context is None or format != self._format:
            self._context, self._format = self._open(format), format
        try:
            frames = self._context.decode(av.Packet(data))
        except av.error.FFmpegError as error:
            self._context = None  # what follows refers to what is lost: wait for a key frame
            raise MessageError(f"a damaged {format} frame: {error}") from error
        return [_pixels(frame, encoding) for frame in frames]

    def _open(self, format: str) -> Any:
        if format not in DECODERS:
            raise MessageError(f"video format {format!r} is not one of {', '.join(DECODERS)}")
        av = library()
        context = av.CodecContext.create(DECODERS[format], "r")
        context.thread_count = 1  # several would hold frames back
        context.flags |= av.codec.context.Flags.low_delay
        return context


def library() -> Any:
    """PyAV. Raises ConfigError where it is not installed."""
    try:
        import av
        import av.error
    except ImportError as error:
        raise ConfigError("video needs PyAV: pip install 'fusion-rt[video]'") from error
    return av


def _pixels(frame: Any, encoding: str) -> NDArray[np.uint8]:
    usual = frame.format.name == "yuv420p" and frame.color_range in _LIMITED and frame.colorspace in _BT_601
    if not usual or frame.height % 2 or frame.width % 2:
        pixels: NDArray[np.uint8] = frame.to_ndarray(format=_PLAIN[encoding])
        return pixels
    planes = frame.to_ndarray(format="yuv420p")
    if encoding == "mono8":
        return np.asarray(cv2.cvtColor(cv2.cvtColor(planes, _FROM_PLANES["bgr8"]), cv2.COLOR_BGR2GRAY))
    return np.asarray(cv2.cvtColor(planes, _FROM_PLANES[encoding]))


def _planes(pixels: NDArray[np.uint8], encoding: str) -> Any:
    if encoding == "mono8":
        return cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR), _TO_PLANES["bgr8"])
    return cv2.cvtColor(pixels, _TO_PLANES[encoding])


def _even(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The last row and column again where their number is odd: colours are kept for 2 x 2 pixels."""
    height, width = pixels.shape[:2]
    if height % 2 or width % 2:
        pad = ((0, height % 2), (0, width % 2), (0, 0))[: pixels.ndim]
        pixels = np.pad(pixels, pad, mode="edge")
    return np.ascontiguousarray(pixels)
