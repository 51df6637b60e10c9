"""The cheapest pairing of tracks and detections."""

from __future__ import annotations

import math

from fusion_rt.tracking import core

Costs = dict[int, dict[int, float]]  # row -> column -> cost, of the pairs that are allowed


def assign(costs: Costs) -> dict[int, int]:
    """Row -> column: as many as possible and, of those, at least cost. Equal costs give equal pairs; the rows
    come in any order. Rows and columns count from 0. Raises ValueError unless the costs' sum is finite."""
    pairs = [(i, j, cost) for i, row in sorted(costs.items()) for j, cost in sorted(row.items())]
    if not pairs:
        return {}
    rows, columns, values = zip(*pairs)
    if not math.isfinite(2 * sum(map(abs, values))):
        raise ValueError("a cost is not finite; leave out the pairs that are not allowed")
    partner = core.assign(rows, columns, values)
    return {i: j for i, j in enumerate(partner.tolist()) if j >= 0}
