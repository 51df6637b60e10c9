"""Camera images as compressed video, one message a frame (Foxglove's CompressedVideo), by the library `av`
(extra `video`).

As that schema asks: Annex B, no frame that refers to a later one, parameter sets with each key frame."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import cv2
import numpy as np

from fusion_rt.errors import LogError
from fusion_rt.messages import Header, Image
from fusion_rt.transforms import Array

DECODERS = {"h264": "h264", "h265": "hevc", "vp9": "vp9", "av1": "av1"}  # the schema's formats
KEY_FRAME_EVERY = 30  # frames: what a seek may have to pass over
QUALITY = 20  # x264's constant rate factor; 18 is called visually lossless


class VideoDecoder:
    """One camera's stream, in its order. It begins at a key frame."""

    def __init__(self) -> None:
        self._context: Any = None
        self._format = ""

    def image(self, data: bytes, format: str, header: Header, where: str) -> Image:
        """A frame as bgr8. Raises LogError: no key frame yet, damaged, or a format that is not known."""
        if self._context is None or format != self._format:
            self._context, self._format = self._open(format, where), format
        av = _library()
        try:
            frames = self._context.decode(av.Packet(data))
        except av.FFmpegError as error:
            self._context = None  # what follows refers to what is lost: wait for a key frame
            raise LogError(f"{where}: a damaged {format} frame: {error}") from error
        if not frames:
            raise LogError(
                f"{where}: a {format} frame before the first key frame: it refers to what is not there"
            )
        pixels = frames[-1].to_ndarray(format="bgr24")
        height, width = pixels.shape[:2]
        return Image(header=header, height=height, width=width, encoding="bgr8", data=pixels)

    def _open(self, format: str, where: str) -> Any:
        if format not in DECODERS:
            raise LogError(f"{where}: video format {format!r} is not one of {', '.join(DECODERS)}")
        av = _library()
        context = av.CodecContext.create(DECODERS[format], "r")
        context.thread_count = 1  # several would hold frames back
        context.flags |= av.codec.context.Flags.low_delay
        return context


class VideoEncoder:
    """One camera's images as H.264, all of the first one's size. An odd width or height is filled up to an
    even one with the last column or row: the format has half as many colours as pixels."""

    def __init__(self, width: int, height: int, fps: float = 10.0) -> None:
        av = _library()
        self._size = (height, width)
        context = av.CodecContext.create("libx264", "w")
        context.width, context.height = width + width % 2, height + height % 2
        context.pix_fmt = "yuv420p"
        context.time_base = Fraction(1, 1000)
        context.framerate = Fraction(fps).limit_denominator(1000)
        context.gop_size = KEY_FRAME_EVERY
        context.max_b_frames = 0
        context.thread_count = 1
        context.options = {"preset": "veryfast", "tune": "zerolatency", "crf": str(QUALITY)}
        self._context = context
        self._count = 0

    def encode(self, pixels: Array) -> bytes:
        """(height, width, 3) uint8 BGR -> the frame's bytes. Raises LogError where the size is another."""
        if pixels.shape[:2] != self._size:
            raise LogError(
                f"an image of {pixels.shape[1]} x {pixels.shape[0]} px in a video of"
                f" {self._size[1]} x {self._size[0]}; keep the images as JPEG"
            )
        height, width = self._size
        even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        # Not by the library's own conversion: that one darkens by two levels of 255.
        planes = cv2.cvtColor(np.ascontiguousarray(even), cv2.COLOR_BGR2YUV_I420)
        frame = _library().VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts = self._count * 100
        self._count += 1
        return b"".join(bytes(packet) for packet in self._context.encode(frame))


def _library() -> Any:
    try:
        import av
    except ImportError as error:
        raise LogError("video needs the library av: pip install 'fusion-rt[video]'") from error
    return av
