"""The cheapest pairing of tracks and detections."""

from __future__ import annotations

import math

Costs = dict[int, dict[int, float]]  # row -> column -> cost, of the pairs that are allowed


def assign(costs: Costs) -> dict[int, int]:
    """Row -> column: as many as possible and, of those, at least cost.

    Shortest augmenting paths (Jonker and Volgenant 1987), on each group of rows and columns that are
    connected by allowed pairs: gating leaves groups of a few, for which plain floats are faster than numpy.
    Equal costs give equal pairs; the rows come in any order."""
    rows_of: dict[int, list[int]] = {}
    for i, row in costs.items():
        for j in row:
            rows_of.setdefault(j, []).append(i)
    pairs: dict[int, int] = {}
    grouped: set[int] = set()
    for start, row in costs.items():
        if len(row) == 1 and len(rows_of[next(iter(row))]) == 1:
            pairs[start] = next(iter(row))  # most have one candidate that nobody else wants
        elif start not in grouped:
            group = _group(start, costs, rows_of)
            grouped.update(group)
            pairs.update(_solve({i: costs[i] for i in group}))
    return pairs


def _group(start: int, costs: Costs, rows_of: dict[int, list[int]]) -> list[int]:
    """The rows that are connected to one, itself included, in order."""
    group = {start: None}
    grown = [start]
    for i in grown:  # grows as it goes
        new = [k for j in costs[i] for k in rows_of[j] if k not in group]
        group.update(dict.fromkeys(new))
        grown += dict.fromkeys(new)
    return sorted(group)


def _solve(group: Costs) -> list[tuple[int, int]]:
    """The pairs of one group."""
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
