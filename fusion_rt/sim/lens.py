"""From radiance to an 8-bit image: exposure, optics, noise, tone."""

from __future__ import annotations

import cv2
import numpy as np

from fusion_rt.sim.look import Look
from fusion_rt.transforms import Array


def develop(radiance: Array, metered: Array, look: Look, rng: np.random.Generator) -> Array:
    """(h, w, 3) uint8 BGR of linear radiance (3, h, w) float32 BGR, which is overwritten.

    metered: (h, w) bool, the pixels that automatic exposure looks at."""
    _, height, width = radiance.shape
    gain = _exposure(radiance, metered, look)
    shade = gain * _vignette(width, height, look.vignette)
    for c in range(3):
        radiance[c] *= shade * np.float32(look.white_balance[c])
    if look.saturation != 1.0:
        grey = (radiance[0] + radiance[1] + radiance[2]) / 3
        radiance -= grey
        radiance *= look.saturation
        radiance += grey
    np.clip(radiance, 0.0, 2.0, out=radiance)
    x: Array = cv2.merge([radiance[0], radiance[1], radiance[2]])
    if look.glare_px > 0:
        small = cv2.resize(np.maximum(x - 0.9, 0.0), None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
        halo = cv2.GaussianBlur(small, (0, 0), look.glare_px / 4 + 0.5)
        x = cv2.addWeighted(x, 1.0, cv2.resize(halo, (width, height)), 0.2, 0.0)
    if look.blur_px > 0:
        x = cv2.GaussianBlur(x, (0, 0), look.blur_px)
    x += _noise(x, look, rng)
    if look.sharpen > 0:
        x = cv2.addWeighted(x, 1.0 + look.sharpen, cv2.GaussianBlur(x, (0, 0), 1.0), -look.sharpen, 0.0)
    # The tone curve by table: 2,048 levels keep every 8-bit step above black.
    levels = np.clip(np.linspace(0.0, 1.0, 2048) ** (1.0 / look.gamma) * 255.0 + 0.5, 0, 255).astype(np.uint8)
    np.clip(x, 0.0, 1.0, out=x)
    x *= 2047.0
    return levels.take(x.astype(np.intp))


def _exposure(radiance: Array, metered: Array, look: Look) -> float:
    """The gain that brings the metered pixels to the look's mean brightness after clip and tone."""
    part = radiance[:, ::4, ::4].mean(0)
    if metered[::4, ::4].any():
        part = part[metered[::4, ::4]]
    gain = look.brightness**look.gamma / max(float(part.mean()), 1e-6)
    for _ in range(4):
        reached = float((np.minimum(part * gain, 1.0) ** (1.0 / look.gamma)).mean())
        gain *= (look.brightness / max(reached, 1e-3)) ** look.gamma
    return gain


def _vignette(width: int, height: int, strength: float) -> Array:
    """(h, w) float32: 1 in the middle, 1 - strength in the corners."""
    u = (np.arange(width, dtype=np.float32) / width - 0.5) ** 2
    v = (np.arange(height, dtype=np.float32) / height - 0.5) ** 2
    return 1.0 - np.float32(2.0 * strength) * (u[None] + v[:, None])


def _noise(x: Array, look: Look, rng: np.random.Generator) -> Array:
    """Shot and read noise of an image (h, w, 3), partly shared by the channels."""
    n = x.shape[0] * x.shape[1]
    # The sum of two random bytes: triangular, near enough to normal and ten times cheaper.
    raw = np.frombuffer(rng.bytes(8 * n), np.int8).reshape(8, *x.shape[:2])
    grains = [cv2.add(raw[i], raw[i + 4], dtype=cv2.CV_32F) for i in range(4)]
    scale = np.sqrt(np.clip(x.mean(-1), 0.0, 1.0) * look.shot_noise**2 + look.read_noise**2) / 104.5
    shared, own = scale * (1.0 - look.chroma_noise) * grains[3], scale * look.chroma_noise
    mixed: Array = cv2.merge([shared + own * g for g in grains[:3]])
    return mixed.astype(np.float32, copy=False)
