"""A camera, or a file that stands in for one: whatever OpenCV opens."""

from __future__ import annotations

import cv2

OPEN_TIMEOUT_MS = 3000


def open_capture(
    source: str | int, *, width: int | None = None, height: int | None = None, fps: float | None = None
) -> cv2.VideoCapture:
    """source: a number or /dev/video0 (USB), rtsp://... (IP camera), or a video file. width, height, fps:
    asked of a USB camera. The caller looks whether it is open."""
    source = int(source) if str(source).isdigit() else source
    if isinstance(source, str) and "://" in source:
        timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC]
        return cv2.VideoCapture(source, cv2.CAP_FFMPEG, [*timeouts, OPEN_TIMEOUT_MS])
    capture = cv2.VideoCapture(source)
    wishes = {cv2.CAP_PROP_FRAME_WIDTH: width, cv2.CAP_PROP_FRAME_HEIGHT: height, cv2.CAP_PROP_FPS: fps}
    for wish, value in wishes.items():
        if value is not None:
            capture.set(wish, value)
    return capture


def is_file(source: str | int) -> bool:
    """Whether it ends."""
    text = str(source)
    return not text.isdigit() and "://" not in text and not text.startswith("/dev/")
