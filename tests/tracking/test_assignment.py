"""As many pairs as possible and least cost, with scipy as the oracle."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from fusion_rt.tracking import assignment

INF = np.inf


def assign(cost):
    """Pairs (row, column) in order, of a matrix with inf where a pair is forbidden."""
    allowed = np.argwhere(np.isfinite(cost)).tolist()
    costs = {i: {j: float(cost[i, j]) for k, j in allowed if k == i} for i, _ in allowed}
    return sorted(assignment.assign(costs).items())


def oracle(cost):
    """(pairs, least cost): forbidden pairs cost more than all allowed ones together."""
    allowed = np.isfinite(cost)
    if not allowed.any():
        return 0, 0.0
    forbidden = 2 * np.abs(cost[allowed]).sum() + 1
    rows, columns = linear_sum_assignment(np.where(allowed, cost, forbidden))
    good = allowed[rows, columns]
    return int(good.sum()), float(cost[rows[good], columns[good]].sum())


@st.composite
def costs(draw):
    n, m = draw(st.integers(0, 9)), draw(st.integers(0, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    cost = rng.uniform(-5, 20, (n, m))
    if draw(st.booleans()):
        cost = np.round(cost / 5)  # many ties
    cost[rng.random((n, m)) < draw(st.sampled_from([0.0, 0.3, 0.7, 0.9]))] = INF
    return cost


@given(costs())
def test_most_pairs_then_least_cost(cost):
    pairs = assign(cost)
    rows, columns = [i for i, _ in pairs], [j for _, j in pairs]
    assert len(set(rows)) == len(set(columns)) == len(pairs)
    assert np.isfinite(cost[rows, columns]).all()
    count, least = oracle(cost)
    assert len(pairs) == count
    assert cost[rows, columns].sum() == pytest.approx(least, abs=1e-9)


@given(costs())
def test_the_same_again(cost):
    assert assign(cost) == assign(cost.copy())


def test_ties_go_to_the_first():
    assert assign(np.zeros((3, 3))) == [(0, 0), (1, 1), (2, 2)]
    assert assign(np.zeros((1, 3))) == [(0, 0)]


def test_more_pairs_beat_a_cheap_one():
    assert assign(np.array([[0.0, 50.0], [60.0, INF]])) == [(0, 1), (1, 0)]


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (2, 2)])
def test_nothing_to_pair(shape):
    assert assign(np.full(shape, INF)) == []


def test_a_crowd():
    rng = np.random.default_rng(5)
    cost = rng.random((60, 70))
    cost[rng.random(cost.shape) < 0.9] = INF
    pairs = assign(cost)
    count, least = oracle(cost)
    assert (len(pairs), sum(cost[p] for p in pairs)) == (count, pytest.approx(least))


@pytest.mark.parametrize("wrong", [np.nan, INF, 1e308])
def test_costs_that_cannot_be_added_are_refused(wrong):
    with pytest.raises(ValueError, match="not finite"):
        assignment.assign({0: {0: wrong, 1: 1.0}, 1: {0: 1.0, 1: -wrong}})
