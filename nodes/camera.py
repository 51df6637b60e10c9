"""A live camera, or a file that stands in for one: whatever OpenCV opens."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import cv2
import numpy as np
from msgspec import Meta, Struct

from fusion_rt.bus import Bus, Publisher
from fusion_rt.errors import NodeError
from fusion_rt.messages import Header, Image
from fusion_rt.sensors.capture import is_file, open_capture

RETRY_S = (0.5, 1.0, 2.0, 5.0)  # then 5 s each


class CameraConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """sensor_id  the camera's name in the rig, and its topic
    source     a number or /dev/video0 (USB), rtsp://... (IP camera), or a video file
    width, height, fps  asked of a USB camera; null: as it is
    delay_s    from mid-exposure to the frame's arrival here: stamps are set back by it
    loop       a file begins again at its end
    """

    sensor_id: str
    source: str | int
    width: Annotated[int, Meta(gt=0)] | None = None
    height: Annotated[int, Meta(gt=0)] | None = None
    fps: Annotated[float, Meta(gt=0)] | None = None
    delay_s: Annotated[float, Meta(ge=0)] = 0.0
    loop: bool = False


def run(config: CameraConfig, bus: Bus) -> None:
    """Frames until told to stop. A live camera that goes away is waited for; a file ends the node."""
    seq = failures = 0
    with bus.publisher(config.sensor_id) as output:
        while not bus.stopping:
            capture = open_capture(config.source, width=config.width, height=config.height, fps=config.fps)
            before = seq
            if capture.isOpened():
                try:
                    seq = _stream(config, capture, output, bus, seq)
                finally:
                    capture.release()
            failures = 0 if seq > before else failures + 1
            if bus.stopping or (is_file(config.source) and seq > before and not config.loop):
                return
            if is_file(config.source):
                if seq == before:
                    raise NodeError(f"{config.sensor_id}: {config.source}: no frame can be read from it")
                continue
            if failures <= 1:
                print(f"{config.sensor_id}: {config.source}: no frames; trying again", file=sys.stderr)
            bus.detail["reopened"] = bus.detail.get("reopened", 0) + 1
            bus.wait(RETRY_S[min(failures, len(RETRY_S) - 1)])


def _stream(config: CameraConfig, capture: cv2.VideoCapture, output: Publisher, bus: Bus, seq: int) -> int:
    """Frames until the camera gives none; returns the next seq. Files are played at their own speed."""
    period_s = 1.0 / (capture.get(cv2.CAP_PROP_FPS) or 30.0) if is_file(config.source) else 0.0
    due = time.monotonic()
    while not bus.stopping and capture.grab():
        stamp_ns = time.time_ns() - round(config.delay_s * 1e9)
        width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        with output.loan((height, width, 3), np.uint8) as loan:
            read, frame = capture.retrieve(loan.array)  # decoded straight into the ring
            if not read:
                return seq
            header = Header(sensor_id=config.sensor_id, frame_id=config.sensor_id, seq=seq, stamp_ns=stamp_ns)
            height, width = frame.shape[:2]  # some cameras change their mind
            pixels = np.asarray(frame, np.uint8)
            loan.publish(Image(header=header, height=height, width=width, encoding="bgr8", data=pixels))
        seq += 1
        due += period_s
        if period_s:
            bus.wait(max(0.0, due - time.monotonic()))
    return seq
