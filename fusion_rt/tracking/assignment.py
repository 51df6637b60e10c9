"""The cheapest pairing of tracks and detections."""

from __future__ import annotations

import numpy as np

from fusion_rt.transforms import Array


def assign(cost: Array) -> list[tuple[int, int]]:
    """Pairs (row, column) that match as many as possible and, of those, cost least; inf or NaN forbids one.

    cost: (n, m) float64. Shortest augmenting paths (Jonker and Volgenant 1987), on each group of rows and
    columns that are connected by allowed pairs: gating leaves groups of a few. Equal costs give equal pairs.
    """
    allowed = np.isfinite(cost)
    # Most have one candidate that nobody else wants.
    alone = allowed & (allowed.sum(axis=1, keepdims=True) == 1) & (allowed.sum(axis=0, keepdims=True) == 1)
    pairs = list(zip(*(index.tolist() for index in np.nonzero(alone))))
    for rows, columns in _groups(allowed & ~alone):
        block = cost[np.ix_(rows, columns)]
        pairs += [(int(rows[i]), int(columns[j])) for i, j in _solve(block)]
    return sorted(pairs)


def _groups(allowed: Array) -> list[tuple[Array, Array]]:
    """Rows and columns of each connected part, in the order of their first rows."""
    groups = []
    free = np.any(allowed, axis=1)
    for start in np.flatnonzero(free).tolist():
        if not free[start]:
            continue
        rows = np.zeros(len(allowed), bool)
        rows[start] = True
        while True:
            columns = np.any(allowed[rows], axis=0)
            grown = np.any(allowed[:, columns], axis=1)
            if np.array_equal(grown, rows):
                break
            rows = grown
        free &= ~rows
        groups.append((np.flatnonzero(rows), np.flatnonzero(columns)))
    return groups


def _solve(cost: Array) -> list[tuple[int, int]]:
    n, m = cost.shape
    if min(n, m) == 1:  # one that several want, or that wants several: by far the most frequent
        return [divmod(int(np.argmin(cost)), m)]
    finite = cost[np.isfinite(cost)]
    # A forbidden pair, or no partner at all, costs more than any pairing of allowed ones.
    forbidden = float(np.abs(finite).sum() + 1.0) * 2
    square = np.full((n, max(n, m)), forbidden)
    square[:, :m] = np.where(np.isfinite(cost), cost, forbidden)
    size = square.shape[1]
    u, v = np.zeros(n + 1), np.zeros(size + 1)
    match, way = np.zeros(size + 1, int), np.zeros(size + 1, int)
    for i in range(1, n + 1):
        match[0], j = i, 0
        shortest, used = np.full(size + 1, np.inf), np.zeros(size + 1, bool)
        while True:
            used[j] = True
            reduced = square[match[j] - 1] - u[match[j]] - v[1:]
            better = ~used[1:] & (reduced < shortest[1:])
            shortest[1:][better], way[1:][better] = reduced[better], j
            open_ = np.where(used, np.inf, shortest)
            open_[0] = np.inf
            nearest = int(np.argmin(open_))
            step = open_[nearest]
            u[match[used]] += step
            v[used] -= step
            shortest[~used] -= step
            j = nearest
            if match[j] == 0:
                break
        while j:
            match[j], j = match[way[j]], way[j]
    pairs = [(int(match[j]) - 1, j - 1) for j in range(1, size + 1) if match[j]]
    return [(i, j) for i, j in pairs if j < m and np.isfinite(cost[i, j])]
