"""Kinds of streets: how wide, how busy, with what beside them, and how often each is drawn."""

from __future__ import annotations

from msgspec import Struct

from fusion_rt.sim.raycast import Material


class Street(Struct, frozen=True):
    """What a kind of street is like; counts are means for 100 m of road."""

    half_width: tuple[float, float]  # m
    pavement: tuple[float, float]  # m, range for either side
    beyond: tuple[Material, ...]
    bend: float  # 1/m
    steepness: float
    crossings: float
    speed: tuple[float, float]  # m/s
    parked: tuple[float, float]  # share of the kerb that is taken, range
    traffic: float
    strewn: float  # vehicles anywhere
    pedestrians: float
    cyclists: float
    crowds: float  # of people and bicycles, in all
    houses: float  # share of the street front that is built up
    setback: tuple[float, float]  # m from the pavement
    trees: float
    woods: float  # chance of either side that a stretch runs along a wood
    avenues: float  # chance of either side of a row of old trees
    boundary: float  # walls, hedges, fences
    furniture: float  # poles, signs
    clutter: float


STREETS: dict[str, Street] = {
    "residential": Street(
        (2.5, 5.0), (0.8, 3.5), (Material.GRASS, Material.PAVEMENT), 1 / 90, 0.05, 1.0, (0, 11),
        (0.1, 0.95), 2.0, 4.0, 4.0, 2.2, 0.35, 0.65, (1.0, 14.0), 5.5, 0.6, 0.5, 4.5, 6.0, 4.0,
    ),
    "city": Street(
        (3.4, 10.0), (1.8, 7.0), (Material.PAVEMENT, Material.PAVEMENT, Material.GRASS), 1 / 150, 0.03, 1.5,
        (0, 15), (0.0, 0.8), 5.0, 3.0, 11.0, 3.5, 0.6, 0.7, (0.0, 10.0), 4.5, 0.3, 0.5, 2.0, 8.0, 6.5,
    ),
    "road": Street(
        (3.0, 8.5), (0.0, 1.5), (Material.GRASS,), 1 / 120, 0.06, 0.5, (5, 26),
        (0.0, 0.1), 4.5, 1.5, 0.6, 0.8, 0.15, 0.15, (4.0, 30.0), 6.0, 0.7, 0.5, 2.0, 4.0, 1.2,
    ),
    "campus": Street(
        (1.8, 4.0), (0.0, 6.0), (Material.PAVEMENT, Material.GRASS), 1 / 80, 0.04, 1.0, (0, 9),
        (0.0, 0.4), 1.0, 2.5, 11.0, 5.0, 0.6, 0.5, (2.0, 25.0), 6.0, 0.6, 0.5, 3.0, 6.0, 7.0,
    ),
}  # fmt: skip
SHARES = {"residential": 0.4, "city": 0.24, "road": 0.18, "campus": 0.18}
