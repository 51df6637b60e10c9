"""Where an image shows boxes."""

from __future__ import annotations

import numpy as np

from fusion_rt.rig import Camera
from fusion_rt.transforms import Array, transform_points

NEAR_M = 0.1  # nothing nearer to the camera is projected
_TURN = np.arange(8) * np.pi / 4
_ROUND = np.array([[np.cos(a) / 2, np.sin(a) / 2, z] for a in _TURN for z in (-0.5, 0.5)])
_SQUARE = np.sign(np.round(_ROUND, 9)) / 2
_SQUARE[np.abs(_SQUARE).min(1) == 0] = (0.5, 0.5, 0.5)  # a corner twice, for four of the eight


def outlines(boxes: Array, rounded: Array, camera: Camera, T_camera_ego: Array) -> Array:
    """Left, top, right, bottom (n, 4) px of boxes (n, 7) x y z l w h yaw in the ego frame, cut to the image;
    NaN where less than a pixel of one is seen. rounded (n,) bool: seen from above not the rectangle but the
    ellipse in it; a person's box is a third wider in an image than the person."""
    c, s = np.cos(boxes[:, 6]), np.sin(boxes[:, 6])
    local = np.where(rounded[:, None, None], _ROUND, _SQUARE) * boxes[:, None, 3:6]  # (n, 16, 3)
    corners = np.empty_like(local)
    corners[..., 0] = local[..., 0] * c[:, None] - local[..., 1] * s[:, None]
    corners[..., 1] = local[..., 0] * s[:, None] + local[..., 1] * c[:, None]
    corners[..., 2] = local[..., 2]
    corners += boxes[:, None, :3]
    seen = transform_points(T_camera_ego, corners.reshape(-1, 3)) @ camera.intrinsics.T
    depth = seen[:, 2].reshape(-1, 16, 1)
    behind = depth <= NEAR_M
    uv = seen[:, :2].reshape(-1, 16, 2) / np.where(behind, 1.0, depth)
    limit = (camera.width - 1, camera.height - 1)
    low = np.clip(np.where(behind, np.inf, uv).min(1), 0, limit)
    high = np.clip(np.where(behind, -np.inf, uv).max(1), 0, limit)
    out = np.concatenate([low, high], axis=1)
    out[behind.all((1, 2)) | (high - low < 1).any(1)] = np.nan
    return out
