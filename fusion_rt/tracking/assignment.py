"""The cheapest pairing of tracks and detections."""

from __future__ import annotations

import math

import numpy as np

from fusion_rt.transforms import Array

_Row = dict[int, float]  # column -> cost, of the allowed pairs


def assign(cost: Array) -> list[tuple[int, int]]:
    """Pairs (row, column) that match as many as possible and, of those, cost least; inf or NaN forbids one.

    cost: (n, m) float64. Shortest augmenting paths (Jonker and Volgenant 1987), on each group of rows and
    columns that are connected by allowed pairs: gating leaves groups of a few. Equal costs give equal pairs.
    """
    allowed = np.flatnonzero(np.isfinite(cost))
    if len(allowed) == 0:
        return []
    rows, columns = np.divmod(allowed, cost.shape[1])
    # Most have one candidate that nobody else wants.
    alone = (np.bincount(rows)[rows] == 1) & (np.bincount(columns)[columns] == 1)
    pairs = list(zip(rows[alone].tolist(), columns[alone].tolist()))
    contested: dict[int, _Row] = {}
    rest = ~alone
    for i, j, c in zip(rows[rest].tolist(), columns[rest].tolist(), cost.ravel()[allowed[rest]].tolist()):
        contested.setdefault(i, {})[j] = c
    for group in _groups(contested):
        pairs += _solve(group)
    return sorted(pairs)


def _groups(rows: dict[int, _Row]) -> list[dict[int, _Row]]:
    """The rows of each connected part, in the order of their first rows."""
    wanted_by: dict[int, list[int]] = {}
    for i, row in rows.items():
        for j in row:
            wanted_by.setdefault(j, []).append(i)
    groups, grouped = [], set()
    for start in rows:
        if start in grouped:
            continue
        grouped.add(start)
        group = [start]
        for i in group:  # grows as it goes
            for j in rows[i]:
                new = [k for k in wanted_by[j] if k not in grouped]
                grouped.update(new)
                group += new
        groups.append({i: rows[i] for i in sorted(group)})
    return groups


def _solve(group: dict[int, _Row]) -> list[tuple[int, int]]:
    """The pairs of one group. In plain floats: for a few rows numpy is the slower one."""
    names, columns = list(group), sorted({j for row in group.values() for j in row})
    n, m = len(names), len(columns)
    if min(n, m) == 1:  # one that several want, or that wants several: by far the most frequent
        _, i, j = min((c, i, j) for i, row in group.items() for j, c in row.items())
        return [(i, j)]
    # A forbidden pair, or no partner at all, costs more than any pairing of allowed ones.
    forbidden = (sum(abs(c) for row in group.values() for c in row.values()) + 1.0) * 2
    size = max(n, m)
    square = [[row.get(j, forbidden) for j in columns] + [forbidden] * (size - m) for row in group.values()]
    u, v = [0.0] * (n + 1), [0.0] * (size + 1)
    match, way = [0] * (size + 1), [0] * (size + 1)
    for i in range(1, n + 1):
        match[0], j = i, 0
        shortest, used, free = [math.inf] * (size + 1), [0], list(range(1, size + 1))
        while True:
            costs, spent = square[match[j] - 1], u[match[j]]
            step, nearest = math.inf, 0
            for k in free:
                reduced = costs[k - 1] - spent - v[k]
                if reduced < shortest[k]:
                    shortest[k], way[k] = reduced, j
                if shortest[k] < step:
                    step, nearest = shortest[k], k
            for k in used:
                u[match[k]] += step
                v[k] -= step
            for k in free:
                shortest[k] -= step
            j = nearest
            if match[j] == 0:
                break
            used.append(j)
            free.remove(j)
        while j:
            match[j], j = match[way[j]], way[j]
    pairs = [(names[match[k] - 1], columns[k - 1]) for k in range(1, m + 1) if match[k]]
    return [(i, j) for i, j in pairs if j in group[i]]
