"""What stands beside a road: houses, trees, hedges, posts, and what closes the view."""

from __future__ import annotations

import numpy as np

from fusion_rt.sim import meshes
from fusion_rt.sim.plot import THINGS, Plot, mesh_of
from fusion_rt.sim.raycast import Material


def houses(plot: Plot, side: int) -> None:
    """The street front on one side, -1 right or 1 left: gaps, lines and closed rows."""
    rng, street = plot.rng, plot.street
    edge = plot.edge(side)
    share = min(1.0, street.houses * rng.uniform(0.3, 1.3))
    setback = rng.uniform(*street.setback)
    s = plot.start
    while s < plot.end:
        mesh = mesh_of("building", int(rng.integers(THINGS)))
        width = float(np.ptp(mesh.vertices[:, 0]))
        middle = s + width / 2
        s += width + (0.0 if rng.random() < 0.4 else rng.uniform(0.5, 10))
        if rng.random() > share or plot.road.in_crossing(middle, width / 2):
            continue
        d = side * (edge + setback + rng.uniform(0, 1.5))
        depth = float(mesh.vertices[:, 1].max())
        if not plot.claim(middle, d + side * depth / 2, 0.0, width, depth, 0.1):
            continue
        T = plot.road.upright(middle, d, 0.0 if side > 0 else np.pi)
        plot.statics.append(mesh.moved(T))


def belt(plot: Plot, side: int) -> None:
    """A strip of bushes and trees along the road, as it closes most real streets."""
    rng = plot.rng
    if rng.random() > 0.45:
        return
    edge = plot.edge(side)
    distance, depth, pitch = edge + rng.uniform(0.8, 20.0), rng.uniform(0.3, 3.0), rng.uniform(1.3, 3.5)
    low, high = plot.stretch()
    share = rng.uniform(0.1, 0.7)
    for s in np.arange(low, high, pitch):
        if not plot.road.in_crossing(s, 2.0):
            kind = str(rng.choice(["tree", "great_tree"])) if rng.random() < share else "bush"
            plot.thing(kind, s, side * (distance + rng.uniform(0, depth)), rng.uniform(-3, 3), 0.8, 0.8, 0.0)


def wood(plot: Plot, side: int) -> None:
    """A stretch of road along the edge of a wood or of grown-up shrubs, some deep."""
    rng = plot.rng
    if rng.random() > plot.street.woods:
        return
    edge = plot.edge(side)
    distance, pitch = edge + 0.8 + rng.exponential(7.0), rng.uniform(4.0, 7.0)
    low, high = plot.stretch()
    if rng.random() < 0.4:
        low, high = plot.start, plot.end
    for row in range(int(rng.integers(1, 4))):
        for s in np.arange(low, high, pitch):
            d = side * (distance + 2.6 * row + rng.uniform(0, 0.8))
            if not plot.road.in_crossing(s, 4.0):
                plot.thing("thicket", s, d, rng.normal(0, 0.1) + rng.choice([0, np.pi]), pitch, 1.4, -0.5)


def avenue(plot: Plot, side: int) -> None:
    """A row of old trees beside the road, which it lies in the shade of."""
    rng = plot.rng
    if rng.random() > plot.street.avenues:
        return
    edge = plot.edge(side)
    distance, pitch = max(plot.road.half_width + 0.6, edge + rng.uniform(-1.0, 5.0)), rng.uniform(5, 13)
    low, high = plot.stretch()
    for s in np.arange(low, high, pitch) + rng.uniform(0, pitch):
        if not plot.road.in_crossing(s, 1.0):
            d = side * (distance + rng.normal(0, 0.15))
            plot.thing("great_tree", s, d, rng.uniform(-np.pi, np.pi), 0.9, 0.9, 0.0)


def boundaries(plot: Plot) -> None:
    """Walls, hedges, fences and crash barriers."""
    rng = plot.rng
    for _ in range(plot.count(plot.street.boundary)):
        side = rng.choice([-1, 1])
        edge = plot.edge(side)
        kind = str(rng.choice(["wall", "hedge", "fence", "guard_rail"], p=[0.28, 0.42, 0.22, 0.08]))
        across = rng.random() < 0.2
        d = side * (edge + rng.uniform(0.3, 2.0) + (6.0 if across else 0.0))
        s = plot.somewhere()
        if not plot.road.in_crossing(s, 3.0):
            plot.thing(kind, s, float(d), (np.pi / 2 if across else 0.0) + rng.normal(0, 0.03), 8.0, 0.7, 0.1)


# Of a street's clutter: the share that is of a kind, and the ground that it takes, m.
_CLUTTER = {
    "clutter": (1.0, 1.2, 1.2), "parked_bicycle": (0.3, 0.8, 0.8), "bicycle_rack": (0.2, 3.6, 1.8),
    "bollards": (0.1, 8.0, 0.3), "stop": (0.15, 1.2, 1.0), "cabinet": (0.3, 1.6, 0.6),
    "wheelie_bins": (0.25, 2.2, 0.8), "terrace": (0.15, 3.4, 2.8), "scooter": (0.25, 1.6, 0.7),
    "roadworks": (0.12, 5.0, 0.5), "conifer": (0.5, 0.7, 0.7), "display": (0.2, 1.4, 0.8),
    "meter": (0.4, 0.5, 0.5), "trailer": (0.06, 3.6, 1.6),
}  # fmt: skip
_ALONG = {"pole", "sign", "bollards", "stop", "roadworks", "tree", "great_tree", "bush"}
_SQUARE = {"bicycle_rack", "cabinet", "wheelie_bins", "terrace", "display", "trailer"}


def furniture(plot: Plot) -> None:
    """Posts, signs, bins, parked bicycles, single trees: what is taken for a person now and then."""
    rng, half = plot.rng, plot.road.half_width
    street = plot.street
    plan: list[tuple[str, float, float, float]] = [  # kind, mean number for 100 m, the ground it takes, m
        ("pole", street.furniture * 0.6, 0.3, 0.3),
        ("sign", street.furniture * 0.4, 0.3, 0.3),
        *((kind, street.clutter * share, long, wide) for kind, (share, long, wide) in _CLUTTER.items()),
        ("tree", street.trees, 0.6, 0.6),
        ("great_tree", street.trees * 0.6, 0.9, 0.9),
        ("bush", street.trees * 0.6, 1.4, 1.4),
    ]
    for kind, mean, length, width in plan:
        reach = 14.0 if kind in ("tree", "great_tree", "bush") else 4.0
        for _ in range(plot.count(mean * rng.uniform(0.0, 1.6))):
            d = rng.choice([-1, 1]) * (half + 0.35 + width / 4 + rng.exponential(reach / 2))
            s = plot.somewhere()
            if abs(d) > 65 or plot.road.in_crossing(s):
                continue
            if kind in _ALONG:
                yaw = rng.choice([0, np.pi])
            elif kind in _SQUARE:
                yaw = rng.choice(4) * np.pi / 2 + rng.normal(0, 0.1)
            else:
                yaw = rng.uniform(-np.pi, np.pi)
            plot.thing(kind, s, float(d), float(yaw), length, width, 0.05)


# Of what stands behind the front: the share that is of a kind, and the ground that it takes, m.
_FAR = {
    "tree": (0.18, 2.0, 2.0), "great_tree": (0.3, 2.0, 2.0), "thicket": (0.24, 5.0, 2.0),
    "bush": (0.06, 2.0, 2.0), "building": (0.12, 14.0, 14.0), "hedge": (0.07, 5.0, 2.0),
    "wall": (0.03, 5.0, 2.0),
}  # fmt: skip


def backdrop(plot: Plot) -> None:
    """Gardens, trees and houses behind the street's front, as far as a lidar sees and beyond."""
    rng, shares = plot.rng, [share for share, _, _ in _FAR.values()]
    for _ in range(plot.count(rng.gamma(2.0, 50.0))):
        kind = str(rng.choice(list(_FAR), p=shares))
        _, length, width = _FAR[kind]
        side = rng.choice([-1, 1])
        d = side * (plot.edge(side) + 4.0 + 56.0 * rng.random() ** 1.2)
        s = float(rng.uniform(plot.start, plot.end))
        if not plot.road.in_crossing(s, length / 2):
            square = length > 2
            yaw = rng.choice(4) * np.pi / 2 + rng.normal(0, 0.1) if square else rng.uniform(-np.pi, np.pi)
            plot.thing(kind, s, float(d), float(yaw), length, width, 0.1)
    for turn in np.arange(-1.9, 1.9, 0.12):  # woods and blocks on the horizon, beyond the lidar
        if rng.random() < 0.75:
            far, height = rng.uniform(125, 240), rng.uniform(3, 14)
            color = (
                rng.uniform((35, 50, 25), (75, 85, 60)) if rng.random() < 0.75 else rng.uniform(90, 190, 3)
            )
            at = (far * np.cos(turn), far * np.sin(turn), height / 2 - 4)
            material = Material.LEAVES if color.max() < 90 else Material.WALL
            plot.statics.append(
                meshes.box(rng.uniform(10, 36, 3) * (1, 1, 0) + (0, 0, height + 8), at, material, color)
            )
    if rng.random() < 0.5:  # the street closes behind a bend or at a house
        d = float(rng.uniform(-12, 12))
        plot.thing("building", plot.end - 6.0, d, np.pi / 2 * rng.choice([-1, 1]), 12.0, 8.0)
