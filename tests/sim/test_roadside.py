"""Woods and avenues stand beside the road, not on it, and give way to what was there before."""

import msgspec
import numpy as np
import pytest

from fusion_rt.sim import roadside, street_furniture
from fusion_rt.sim.plot import Plot
from fusion_rt.sim.raycast import Material, merge


def plot(seed: int) -> Plot:
    made = Plot(np.random.default_rng(seed), start_m=-12.0, end_m=95.0)
    made.street = msgspec.structs.replace(made.street, woods=1.0, avenues=1.0)
    return made


def from_the_middle(made: Plot, points):
    """How far (N, 3) points lie from the middle of the road, m."""
    middle = np.array([made.road.upright(s, 0.0, 0.0)[:2, 3] for s in np.arange(-17, 100, 0.5)])
    return np.hypot(*(points[:, None, :2] - middle[None]).transpose(2, 0, 1)).min(1)


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("seed", range(4))
def test_a_wood_begins_behind_the_pavement(seed, side):
    made = plot(seed)
    roadside.wood(made, side)
    assert made.statics
    mesh = merge(made.statics)
    assert np.mean(mesh.material == Material.LEAVES) > 0.9
    low = mesh.vertices[mesh.vertices[:, 2] < made.road.height(0.0, 0.0) + 2.5]
    edge = made.road.half_width + made.road.pavement[0 if side > 0 else 1]
    # Twigs may hang over the pavement, not much farther.
    assert np.percentile(from_the_middle(made, low), 2) > edge - 1.0


@pytest.mark.parametrize("seed", range(4))
def test_trunks_of_an_avenue_stand_off_the_road(seed):
    made = plot(seed)
    for side in (-1, 1):
        roadside.avenue(made, side)
    trunks = [mesh.vertices[:10] for mesh in made.statics]  # a tree's first tube, foot first
    assert trunks
    feet = np.array([trunk[1:9].mean(0) for trunk in trunks])
    assert from_the_middle(made, feet).min() > made.road.half_width + 0.3


def test_ground_that_is_taken_stays_free_of_trees():
    made = plot(2)
    for s in np.arange(-12, 95, 4.0):
        for d in np.arange(-30, 31, 4.0):
            made.claim(s, d, 0.0, 4.0, 4.0, margin=-9.0)
    roadside.wood(made, 1)
    roadside.avenue(made, 1)
    assert made.statics == []


def test_all_kinds_of_furniture_stand_beside_the_roads(monkeypatch):
    """None on the carriageway, and streets without much clutter have less of it."""
    placed = []

    def noted(self, kind, s, d, yaw, length, width, margin=0.2):
        placed.append((kind, abs(d) - self.road.half_width))
        return True

    monkeypatch.setattr(Plot, "thing", noted)
    counts = {}
    for seed in range(60):
        made, before = plot(seed), len(placed)
        roadside.furniture(made)
        counts.setdefault(made.kind, []).append(len(placed) - before)
    assert {kind for kind, _ in placed} >= set(street_furniture.MAKERS)
    assert min(beyond for _, beyond in placed) > 0.35
    assert np.mean(counts["city"]) > 1.4 * np.mean(counts["road"])
