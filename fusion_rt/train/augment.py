"""Random changes to a frame that keep lidar, camera and boxes consistent with each other."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from fusion_rt.sim.frame_files import LIDAR_HEIGHT_M, Frame
from fusion_rt.sim.outline import Pixels, outline
from fusion_rt.transforms import Array

Rng = np.random.Generator


@dataclass(frozen=True)
class WorldChange:
    """A mirror, turn, scale and lift of the whole world, the same for both frames of a scene."""

    flip: bool = False
    turn_rad: float = 0.0
    scale: float = 1.0
    lift_m: float = 0.0

    @classmethod
    def draw(cls, rng: Rng) -> WorldChange:
        return cls(
            flip=bool(rng.random() < 0.5),
            # Now and then far: roads lead ahead, and who crosses one must not be taken for who follows it.
            turn_rad=float(rng.uniform(-1, 1) * (0.9 if rng.random() < 0.3 else 0.35)),
            scale=float(rng.uniform(0.96, 1.04)),
            lift_m=float(rng.uniform(-0.15, 0.15)),
        )

    @property
    def matrix(self) -> Array:
        """(4, 4): changed from unchanged ego coordinates."""
        cos, sin = np.cos(self.turn_rad), np.sin(self.turn_rad)
        A = np.eye(4)
        A[:2, :2] = [[cos, -sin], [sin, cos]]
        A[:3, :3] *= self.scale
        if self.flip:
            A = A @ np.diag([1.0, -1.0, 1.0, 1.0])
        A[2, 3] = self.lift_m
        return A


def change_world(frame: Frame, change: WorldChange) -> Frame:
    """Points, boxes, image and calibration after the change; a mirrored world has a mirrored image."""
    A = change.matrix
    R = A[:3, :3].astype(np.float32)
    boxes = frame.boxes.copy()
    boxes[:, :3] = frame.boxes[:, :3] @ R.T + A[:3, 3].astype(np.float32)
    boxes[:, 3:6] *= change.scale
    yaw = -frame.boxes[:, 6] if change.flip else frame.boxes[:, 6]
    boxes[:, 6] = np.mod(yaw + change.turn_rad + np.pi, 2 * np.pi) - np.pi
    boxes[:, 7:9] = frame.boxes[:, 7:9] @ R[:2, :2].T
    image, K = frame.image, frame.K
    if change.flip:
        image = np.ascontiguousarray(image[:, ::-1])
        K = np.array([[-1.0, 0, image.shape[1]], [0, 1, 0], [0, 0, 1]]) @ K
    return replace(
        frame,
        points=frame.points @ R.T + A[:3, 3].astype(np.float32),
        boxes=boxes,
        image=image,
        K=K,
        T_camera_ego=frame.T_camera_ego @ np.linalg.inv(A),
    )


@dataclass(frozen=True)
class LidarChange:
    """Points lost at random, whole rings lost, the intensity of another sensor."""

    keep: float
    ring_rad: float
    lost_rings: Array
    gain: float

    @classmethod
    def draw(cls, rng: Rng) -> LidarChange:
        thin = rng.random() < 0.3
        lost = rng.random(512) < (rng.uniform(0.1, 0.5) if thin else 0.0)
        return cls(
            keep=float(rng.uniform(0.6, 1.0)) if rng.random() < 0.4 else 1.0,
            ring_rad=float(rng.uniform(0.3, 0.6) * np.pi / 180),
            lost_rings=lost,
            gain=0.0 if rng.random() < 0.35 else float(rng.uniform(0.5, 1.6)),
        )


def change_lidar(frame: Frame, change: LidarChange, rng: Rng) -> Frame:
    """Rings are told apart by their elevation from a sensor at its nominal height."""
    p = frame.points
    keep = np.ones(len(p), bool)
    if change.keep < 1:
        keep &= rng.random(len(p)) < change.keep
    if change.lost_rings.any():
        elevation = np.arctan2(p[:, 2] - LIDAR_HEIGHT_M, np.hypot(p[:, 0], p[:, 1]))
        ring = np.floor(elevation / change.ring_rad).astype(np.int64) + 256
        keep &= ~change.lost_rings[ring.clip(0, 511)]
    intensity = np.clip(frame.intensity * np.float32(change.gain), 0, 1)
    return replace(frame, points=p[keep], intensity=intensity[keep])


def change_image(frame: Frame, rng: Rng) -> Frame:
    """Another camera, another light: zoom, tone, colour, blur, noise, patches lost."""
    image, K = _zoom(frame.image, frame.K, rng) if rng.random() < 0.5 else (frame.image, frame.K)
    if rng.random() < 0.4:
        found = [outline(box, K, frame.T_camera_ego) for box in frame.boxes]
        image = _light(image, [pixels for pixels in found if pixels is not None], rng)
    if rng.random() < 0.5:
        K = _misjudged(K, image.shape[1], rng)
    image = _tone(image, rng)
    if rng.random() < 0.3:
        image = _grain(image, rng)
    if rng.random() < 0.5:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None].repeat(3, axis=2)
        colour = 0.0 if rng.random() < 0.3 else float(rng.uniform(0.2, 1.6))
        image = cv2.addWeighted(image, colour, grey, 1 - colour, 0)
    if rng.random() < 0.25:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.6)))
    if rng.random() < 0.35:
        image = _noise(image, float(rng.uniform(2, 16)), rng)
    if rng.random() < 0.35:
        image = image.copy()
        h, w = image.shape[:2]
        for _ in range(int(rng.integers(1, 5))):
            y, x = int(rng.integers(h)), int(rng.integers(w))
            dy, dx = (int(w * rng.uniform(0.012, most)) for most in (0.08, 0.14))
            image[y : y + dy, x : x + dx] = rng.integers(0, 256, 3)
    return replace(frame, image=image, K=K)


def _misjudged(K: Array, width: int, rng: Rng) -> Array:
    """A calibration that is a little wrong, or a camera that was a little late: what the image shows lies up
    to a hundredth of its width (px) beside where the lidar has it."""
    off = np.eye(3)
    off[:2, 2] = rng.normal(0, 0.0023 * width, 2)
    off[[0, 1], [0, 1]] = rng.normal(1, 0.004)
    return off @ K


def _zoom(image: Array, K: Array, rng: Rng) -> tuple[Array, Array]:
    h, w = image.shape[:2]
    s = float(rng.uniform(0.85, 1.25))
    M = np.array(
        [
            [s, 0, (1 - s) * w / 2 + w * rng.uniform(-0.04, 0.04)],
            [0, s, (1 - s) * h / 2 + h * rng.uniform(-0.05, 0.05)],
            [0, 0, 1.0],
        ]
    )
    return warped(image, M, w, h), M @ K


def warped(image: Array, M: Array, width: int, height: int) -> Array:
    """An image of that size (px) that shows at M @ (u, v, 1) what the given one shows at u, v; black where
    that shows nothing."""
    # warpAffine counts pixel centres at integers, M counts them at + 0.5 as K does.
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])
    W = np.linalg.inv(half) @ M @ half
    return cv2.warpAffine(image, W[:2], (width, height), flags=cv2.INTER_LINEAR)


def _light(image: Array, outlines: list[Pixels], rng: Rng) -> Array:
    """Light that differs from place to place, and objects much brighter, darker or of another colour than
    what is around them: a white shirt in the sun, a face in a shadow."""
    h, w = image.shape[:2]
    coarse = np.exp(rng.normal(0, rng.uniform(0, 0.4), (3, 8))).astype(np.float32)
    gain = cv2.merge([cv2.resize(coarse, (w, h), interpolation=cv2.INTER_LINEAR)] * 3)
    for left, top, right, bottom in outlines:
        if rng.random() < 0.3:
            cut = top + int((bottom - top) * rng.uniform(0.3, 1.0))  # the upper part, or all of it
            other = np.exp(rng.uniform(-0.9, 0.9) + rng.normal(0, 0.2, 3))
            gain[max(top, 0) : max(cut, 0), max(left, 0) : max(right, 0)] *= other.astype(np.float32)
    gain = cv2.GaussianBlur(gain, (0, 0), float(rng.uniform(0.6, 2.5)))
    return cv2.multiply(image, gain, dtype=cv2.CV_8U)


def _grain(image: Array, rng: Rng) -> Array:
    """The texture and the colours of another world: partly what a random convolution makes of the image (Xu
    et al. 2021, "Robust and generalizable visual representation learning via random convolutions")."""
    side = int(rng.choice([1, 3, 5]))
    kernel = rng.normal(0, 1, (side, side))
    mixed = cv2.filter2D(image, cv2.CV_32F, kernel / max(np.abs(kernel).sum(), 1e-6))
    mixed = cv2.transform(mixed, rng.normal(0, 1, (3, 3)) / 1.7)
    low, high = np.percentile(mixed[::8, ::8], [1, 99])
    other = np.clip((mixed - low) * (255 / max(high - low, 1.0)), 0, 255).astype(np.uint8)
    share = float(rng.uniform(0.1, 0.6))
    return cv2.addWeighted(image, 1 - share, other, share, 0)


def _tone(image: Array, rng: Rng) -> Array:
    level = np.arange(256, dtype=np.float64) / 255
    gamma = np.exp(rng.uniform(-0.5, 0.5))
    contrast, brightness = rng.uniform(0.6, 1.5), rng.uniform(-0.18, 0.18)
    curves = []
    for _ in range(3):
        gain = rng.uniform(0.85, 1.15)
        curves.append(((level**gamma - 0.5) * contrast + 0.5 + brightness) * gain * 255)
    table = np.clip(np.stack(curves, axis=1), 0, 255).astype(np.uint8)[None]
    return cv2.LUT(image, table)


def _noise(image: Array, sigma: float, rng: Rng) -> Array:
    h, w, _ = image.shape
    strip = rng.normal(0, sigma, (h // 4, w, 3)).astype(np.int16)
    noise = np.concatenate([np.roll(strip, int(rng.integers(w)), axis=1) for _ in range(5)])[:h]
    return np.clip(image + noise, 0, 255).astype(np.uint8)
