"""Polygons as triangles, for viewers that fill nothing else."""

from __future__ import annotations

import numpy as np

from fusion_rt.plan import inside
from fusion_rt.transforms import Array


def triangles(corners: Array) -> list[Array]:
    """A polygon (N, 2) without crossing edges, in either sense, as N - 2 triangles (3, 2) counter-clockwise,
    by cutting ears (Meisters 1975). Fewer where corners lie on one line."""
    left = [np.asarray(corner, dtype=np.float64) for corner in corners]
    if sum(_turn(np.zeros(2), a, b) for a, b in zip(left, left[1:] + left[:1])) < 0:
        left.reverse()
    found: list[Array] = []
    while len(left) >= 3:
        ear = next((i for i in range(len(left)) if _is_ear(left, i)), None)
        if ear is None:
            break  # what is left has no area
        corner = left[ear - 1], left[ear], left[(ear + 1) % len(left)]
        if _turn(*corner) > 0:
            found.append(np.stack(corner))
        del left[ear]
    return found


def middle(corners: Array) -> tuple[float, float]:
    """A point in the polygon (N, 2): the mean of its corners, or where that is outside, the middle of its
    largest triangle."""
    at = corners.mean(axis=0)
    if not inside(corners, at[None])[0]:
        at = max(triangles(corners), key=lambda t: _turn(*t)).mean(axis=0)
    return float(at[0]), float(at[1])


def _is_ear(corners: list[Array], i: int) -> bool:
    """Whether nothing of the polygon lies in the triangle of this corner and its neighbours."""
    a, b, c = corners[i - 1], corners[i], corners[(i + 1) % len(corners)]
    turn = _turn(a, b, c)
    if turn <= 0:
        return turn == 0  # on one line: it can go
    others = (p for p in corners if not any(p is q for q in (a, b, c)))
    return not any(
        _turn(a, b, p) >= 0 and _turn(b, c, p) >= 0 and _turn(c, a, p) >= 0 and not _is_one(p, (a, b, c))
        for p in others
    )


def _is_one(p: Array, of: tuple[Array, ...]) -> bool:
    return any(np.array_equal(p, q) for q in of)


def _turn(a: Array, b: Array, c: Array) -> float:
    """Twice the area of a, b, c; positive counter-clockwise."""
    return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))
