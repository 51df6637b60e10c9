"""The second look, h(E, D(E)): what the refinement is told of each decoded box, and its answer applied.

A row is what the decode kernel writes: x y z l w h yaw vx vy score class, then one standard deviation of
x, y, z (m), size (share) and yaw (rad); ego frame, float32, (n, 16).
"""

from __future__ import annotations

import numpy as np

from fusion_rt.transforms import Array

SCORE, CLASS, SIGMA = 9, 10, slice(11, 16)
_MARGIN = 1e-4
_REACH_M = np.array([70, 35, 2], np.float32)
_KINDS = np.arange(3)


def box_context(rows: Array) -> Array:
    """(n, 16) float32: scaled box, score and class, as model.yaml's `box_context` lists them."""
    context = np.empty((len(rows), 16), np.float32)
    context[:, :3] = rows[:, :3] / _REACH_M
    context[:, 3:6] = np.log(rows[:, 3:6])
    context[:, 6], context[:, 7] = np.sin(rows[:, 6]), np.cos(rows[:, 6])
    context[:, 8:10] = rows[:, 7:9] / 10
    context[:, 10] = _logit(rows[:, SCORE]) / 4
    context[:, 11:14] = rows[:, CLASS, None] == _KINDS
    context[:, 14:] = np.log(rows[:, 11:16:4]) / 4
    return context


def refine(rows: Array, score_delta: Array, deltas: Array) -> Array:
    """The rows with the answer applied: score_delta (n, 1) on the score's logit; deltas (n, 7) along and
    across the box (m), z (m), log length, width, height, yaw (rad)."""
    out = rows.copy()
    cos, sin = np.cos(rows[:, 6]), np.sin(rows[:, 6])
    out[:, 0] += cos * deltas[:, 0] - sin * deltas[:, 1]
    out[:, 1] += sin * deltas[:, 0] + cos * deltas[:, 1]
    out[:, 2] += deltas[:, 2]
    out[:, 3:6] *= np.exp(np.minimum(np.maximum(deltas[:, 3:6], -1), 1))
    out[:, 6] += deltas[:, 6]
    out[:, SCORE] = sigmoid(_logit(rows[:, SCORE]) + score_delta[:, 0])
    return out


def sigmoid(logit: Array) -> Array:
    """1 / (1 + exp(-logit)) without overflow."""
    p: Array = 0.5 + 0.5 * np.tanh(0.5 * logit)
    return p


def _logit(score: Array) -> Array:
    p = np.minimum(np.maximum(score, _MARGIN), 1 - _MARGIN)
    logit: Array = np.log(p / (1 - p))
    return logit
