"""A film of somebody who walks to and fro in a room, drawn so that a network for people finds him."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fusion_rt.errors import NodeError

RATE_HZ, SECONDS = 15.0, 6.0
HEADS = 8.0  # a body is so many heads tall
SKIN, SHIRT, TROUSERS, HAIR, SHOES = (140, 170, 215), (150, 70, 50), (70, 55, 50), (30, 40, 60), (30, 30, 35)
NOISE = 4.0  # of a pixel, standard deviation

Pixels = NDArray[np.uint8]


def film(path: Path, size: tuple[int, int] = (640, 480)) -> None:
    """Motion JPEG, .avi. Raises NodeError where OpenCV cannot write it."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), RATE_HZ, size)
    if not writer.isOpened():
        raise NodeError(f"{path}: this OpenCV writes no Motion JPEG")
    empty, rng = room(size), np.random.default_rng(0)
    frames = round(RATE_HZ * SECONDS)
    for i in range(frames):
        turn = 2 * math.pi * i / frames
        image = empty.copy()
        x = size[0] * (0.5 + 0.3 * math.sin(turn))
        person(image, x, 0.94 * size[1], 0.6 * size[1], stride=4 * turn)
        noisy = cv2.GaussianBlur(image, (3, 3), 0) + rng.normal(0, NOISE, image.shape)
        writer.write(np.clip(noisy, 0, 255).astype(np.uint8))
    writer.release()


def room(size: tuple[int, int]) -> Pixels:
    """A wall, a floor, a cupboard and a window: (height, width, 3) uint8, BGR."""
    width, height = size
    horizon = round(0.62 * height)
    image = np.empty((height, width, 3))
    image[:horizon] = np.linspace(170, 205, horizon)[:, None, None] * np.array([0.95, 0.98, 1.0])
    image[horizon:] = np.linspace(90, 130, height - horizon)[:, None, None] * np.array([0.7, 0.85, 1.0])
    pixels = image.astype(np.uint8)
    cv2.rectangle(
        pixels, (width * 2 // 3, height // 4), (width * 7 // 8, horizon), (120, 140, 160), cv2.FILLED
    )
    cv2.rectangle(
        pixels, (width // 10, height // 6), (width // 3, height * 2 // 5), (230, 220, 190), cv2.FILLED
    )
    return pixels


def person(image: Pixels, x: float, foot: float, tall: float, stride: float) -> None:
    """Somebody who faces the camera, px; stride: radians of his step."""
    head = tall / HEADS
    hips, shoulders = np.array([x, foot - 4.0 * head]), np.array([x, foot - 6.55 * head])
    step = 0.35 * math.sin(stride)
    for side in (-1, 1):
        hip = hips + [side * 0.38 * head, 0]
        knee = hip + [side * (0.05 + 0.9 * step) * head, 2.0 * head]
        ankle = np.array([hip[0] + side * (0.08 + step) * head, foot - 0.2 * head])
        _limb(image, (hip, knee, ankle), 0.75 * head, TROUSERS)
        _blob(image, ankle + [side * 0.15 * head, 0.1 * head], (0.42 * head, 0.2 * head), SHOES)
    wide, narrow = 0.86 * head, 0.62 * head
    corners = [shoulders + [-wide, 0], shoulders + [wide, 0], hips + [narrow, 0], hips + [-narrow, 0]]
    cv2.fillConvexPoly(image, np.array(corners, np.int32), SHIRT, cv2.LINE_AA)
    for side in (-1, 1):
        shoulder = shoulders + [side * 0.9 * head, 0.25 * head]
        elbow = shoulder + [side * 0.35 * head, 1.35 * head]
        wrist = elbow + [side * (0.05 - 0.6 * step) * head, 1.3 * head]
        _limb(image, (shoulder, elbow), 0.5 * head, SHIRT)
        _limb(image, (elbow, wrist), 0.36 * head, SKIN)
        _blob(image, wrist + [0, 0.2 * head], (0.26 * head, 0.26 * head), SKIN)
    _limb(image, (shoulders, shoulders - [0, 0.4 * head]), 0.45 * head, SKIN)
    face = shoulders - [0, 0.95 * head]
    _blob(image, face - [0, 0.1 * head], (0.46 * head, 0.6 * head), HAIR)
    _blob(image, face + [0, 0.05 * head], (0.38 * head, 0.5 * head), SKIN)
    for side in (-1, 1):
        _blob(image, face + [side * 0.15 * head, 0], (0.06 * head, 0.06 * head), (40, 40, 40))
    _limb(image, (face + [-0.12 * head, 0.28 * head], face + [0.12 * head, 0.28 * head]), 2.0, (90, 90, 160))


def _limb(image: Pixels, joints: tuple[NDArray[Any], ...], width: float, colour: tuple[int, ...]) -> None:
    points = np.round(np.stack(joints)).astype(np.int32)
    cv2.polylines(image, [points], False, colour, max(round(width), 1), cv2.LINE_AA)


def _blob(image: Pixels, at: NDArray[Any], radii: tuple[float, float], colour: tuple[int, ...]) -> None:
    x, y = (round(float(v)) for v in at)
    axes = (max(round(radii[0]), 1), max(round(radii[1]), 1))
    cv2.ellipse(image, (x, y), axes, 0, 0, 360, colour, cv2.FILLED, cv2.LINE_AA)
