"""What two seconds of radar points say about a person: where the points that do not stand still lie about
the body, and how fast they are, counted frame by frame.

Walls and furniture give the same points in every frame: what lies in one small cube in a third of the frames
is left out. The rest is seen from its own middle, so that it does not matter where in the room the person
is. Points of a frame are few, and another number of them comes back each time; square roots of counts have
about the same noise everywhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

NEAREST_M = 0.3  # what is nearer is the antenna's own cover
REGION_M = (3.0, 1.2)  # forward, to either side: people are looked for here
CUBE_M, PERSISTENT = 0.08, 0.35
MOVING_MPS = 0.05
FORWARD_M, SIDE_M, HEIGHT_M = (
    np.linspace(-0.9, 0.9, 10),
    np.linspace(-0.8, 0.8, 9),
    np.linspace(-1.6, 1.6, 13),
)
# Seven classes of Doppler speed, of the step that the radar of RadHAR has.
SPEED_STEP_MPS, SPEEDS = 0.6147, 7
FEATURES = (
    *(
        f"{what} {axis} {low:.2f} m"
        for what in ("still", "moving")
        for axis, edges in (("forward", FORWARD_M), ("side", SIDE_M), ("height", HEIGHT_M))
        for low in edges[:-1]
    ),
    *(f"speed {(k - SPEEDS // 2) * SPEED_STEP_MPS:.2f} m/s" for k in range(SPEEDS)),
    *("middle forward", "middle side", "middle height"),
)


def window_features(xyz: Any, velocity: Any, frame: Any, frames: int) -> Array:
    """xyz (N, 3) m, x forward, y left, z up; velocity (N,) m/s; frame (N,) which of the `frames` a point
    belongs to. Returns (frames, FEATURES) float32. Points that are not finite do not count."""
    finite = np.isfinite(xyz).all(1) & np.isfinite(velocity)
    xyz, velocity, frame = xyz[finite].astype(float), velocity[finite].astype(float), frame[finite]
    far = np.linalg.norm(xyz, axis=1) > NEAREST_M
    near = far & (xyz[:, 0] < REGION_M[0]) & (np.abs(xyz[:, 1]) < REGION_M[1])
    chosen = near & ~_persistent(xyz, frame, frames)
    xyz, velocity, frame = xyz[chosen], velocity[chosen], frame[chosen]
    if len(xyz):
        xyz[:, :2] -= np.median(xyz[:, :2], axis=0)
    moving = np.abs(velocity) > MOVING_MPS
    counts = [
        _count(_bin(xyz[of, axis], edges), len(edges) - 1, frame[of], frames)
        for of in (~moving, moving)
        for axis, edges in enumerate((FORWARD_M, SIDE_M, HEIGHT_M))
    ]
    speed = np.clip(np.round(velocity / SPEED_STEP_MPS) + SPEEDS // 2, 0, SPEEDS - 1).astype(int)
    counts.append(_count(speed, SPEEDS, frame, frames))
    number = np.maximum(np.bincount(frame, minlength=frames), 1)
    middle = [np.bincount(frame, weights=xyz[:, axis], minlength=frames) / number for axis in range(3)]
    return np.concatenate([np.sqrt(np.concatenate(counts, 1)), np.stack(middle, 1)], 1).astype(np.float32)


def _persistent(xyz: Any, frame: Any, frames: int) -> Any:
    """(N,) whether a point's cube is filled in so many frames that it is no person."""
    cubes = np.clip(np.round(xyz / CUBE_M), -400, 400).astype(np.int64) + 500
    key = (cubes[:, 0] * 1000 + cubes[:, 1]) * 1000 + cubes[:, 2]
    _, cube = np.unique(key, return_inverse=True)
    filled = np.unique(cube * frames + frame) // frames
    return (np.bincount(filled) / frames >= PERSISTENT)[cube] if len(xyz) else np.zeros(0, bool)


def _bin(values: Any, edges: Any) -> Any:
    """The bin of each value, -1 outside."""
    index = np.searchsorted(edges, values) - 1
    return np.where(index < len(edges) - 1, index, -1)


def _count(index: Any, size: int, frame: Any, frames: int) -> Any:
    """(frames, size): how many points of each frame lie in each bin."""
    inside = index >= 0
    return np.bincount(frame[inside] * size + index[inside], minlength=frames * size).reshape(frames, size)
