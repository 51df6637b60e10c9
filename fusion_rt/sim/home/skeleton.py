"""A body: where its points are by posture, for cameras and radars."""

from __future__ import annotations

import numpy as np

from fusion_rt.scene import POSTURES
from fusion_rt.transforms import Array

# COCO's 17 points in a body frame (forward, left, up), as shares of the body's height. Lengths of segments:
# Winter, Biomechanics and Motor Control of Human Movement, fig. 4.1 (after Drillis & Contini).
_HEAD = [(0.07, 0.0, 0.93), (0.06, 0.02, 0.95), (0.06, -0.02, 0.95), (0.0, 0.045, 0.94), (0.0, -0.045, 0.94)]
STANDING = np.array(
    [
        *_HEAD,
        (0.0, 0.115, 0.815),
        (0.0, -0.115, 0.815),
        (0.02, 0.14, 0.63),
        (0.02, -0.14, 0.63),
        (0.07, 0.14, 0.485),
        (0.07, -0.14, 0.485),
        (0.0, 0.06, 0.53),
        (0.0, -0.06, 0.53),
        (0.0, 0.06, 0.285),
        (0.0, -0.06, 0.285),
        (0.0, 0.06, 0.04),
        (0.0, -0.06, 0.04),
    ]
)
# On a seat: hips at 0, knees ahead, shins down. Heights are added to the seat's.
SITTING = np.array(
    [
        *[(x, y, z - 0.50) for x, y, z in _HEAD],
        (0.0, 0.115, 0.315),
        (0.0, -0.115, 0.315),
        (0.06, 0.14, 0.15),
        (0.06, -0.14, 0.15),
        (0.2, 0.10, 0.10),
        (0.2, -0.10, 0.10),
        (0.0, 0.06, 0.05),
        (0.0, -0.06, 0.05),
        (0.245, 0.07, 0.04),
        (0.245, -0.07, 0.04),
        (0.25, 0.07, -0.21),
        (0.25, -0.07, -0.21),
    ]
)
# On the back, head backwards from the middle; what was up is along the body.
LYING = np.stack([0.5 - STANDING[:, 2], STANDING[:, 1] * 1.3, 0.07 + STANDING[:, 0]], axis=1)
_BODIES = {"standing": STANDING, "sitting": SITTING, "lying": LYING}


def body_points(
    xy: Array, facing: Array, posture: Array, support: Array, height_m: Array, phase: Array, stride: Array
) -> Array:
    """(N, 17, 3) m, home frame, of N bodies.

    xy (N, 2) m; facing (N,) rad; posture (N,) indices of scene.POSTURES; support (N,) m: height of the seat
    or the bed; phase (N,) rad of the step; stride (N,) m: how far legs and arms swing."""
    points = np.empty((len(xy), 17, 3))
    for name, body in _BODIES.items():
        mask = posture == POSTURES.index(name)
        points[mask] = body * height_m[mask, None, None]
    other = posture == POSTURES.index("unknown")
    points[other] = STANDING * height_m[other, None, None]
    swing = np.sin(phase) * stride
    for joint, share in (
        (9, 0.8),
        (7, 0.4),
        (16, 1.0),
        (14, 0.5),
        (10, -0.8),
        (8, -0.4),
        (15, -1.0),
        (13, -0.5),
    ):
        points[:, joint, 0] += share * swing
    cos, sin = np.cos(facing)[:, None], np.sin(facing)[:, None]
    x = xy[:, :1] + points[..., 0] * cos - points[..., 1] * sin
    y = xy[:, 1:] + points[..., 0] * sin + points[..., 1] * cos
    return np.stack([x, y, points[..., 2] + support[:, None]], axis=-1)


def extent(posture: Array, support: Array, height_m: Array | float) -> tuple[Array, Array]:
    """Lowest and highest point of bodies (N,), m above the floor."""
    sits, lies = posture == POSTURES.index("sitting"), posture == POSTURES.index("lying")
    low = np.where(lies, support, np.where(sits, np.maximum(support - 0.2, 0.0), 0.1))
    high = np.where(lies, support + 0.25, np.where(sits, support + 0.5 * height_m, height_m))
    return low, high
