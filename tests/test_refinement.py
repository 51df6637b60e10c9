"""The runtime's refinement against the one that was trained."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_rt import refinement


def decoded(n, seed):
    rng = np.random.default_rng(seed)
    rows = rng.uniform(-30, 60, (n, 16)).astype(np.float32)
    rows[:, 3:6] = rng.uniform(0.2, 12, (n, 3))
    rows[:, 6] = rng.uniform(-np.pi, np.pi, n)
    rows[:, refinement.SCORE] = rng.choice([0.0, 1e-5, 0.05, 0.5, 0.99, 1.0], n)
    rows[:, refinement.CLASS] = rng.integers(0, 3, n)
    rows[:, refinement.SIGMA] = rng.uniform(0.02, 20, (n, 5))
    return rows


@pytest.mark.parametrize("n", [0, 1, 50])
def test_context_is_the_trained_one(n):
    torch = pytest.importorskip("torch")
    from fusion_rt.train.boxes import box_context

    rows = decoded(n, 0)
    got = refinement.box_context(rows)
    assert (got.dtype, got.shape) == (np.float32, (n, 16))
    np.testing.assert_allclose(got, box_context(torch.from_numpy(rows)).numpy(), atol=1e-5)


@pytest.mark.parametrize("n", [0, 1, 50])
def test_answer_is_applied_as_trained(n):
    torch = pytest.importorskip("torch")
    from fusion_rt.train.boxes import refine

    rows, rng = decoded(n, 1), np.random.default_rng(2)
    score, deltas = rng.normal(0, 3, (n, 1)).astype(np.float32), rng.normal(0, 1.5, (n, 7)).astype(np.float32)
    before = rows.copy()
    got = refinement.refine(rows, score, deltas)
    expected = refine(*(torch.from_numpy(a) for a in (rows, score, deltas))).numpy()
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(rows, before)


@given(st.floats(-1e4, 1e4, width=32))
def test_sigmoid_never_overflows(logit):
    got = float(refinement.sigmoid(np.array([logit], np.float32))[0])
    expected = 1 / (1 + np.exp(-logit)) if logit > 0 else np.exp(logit) / (1 + np.exp(logit))
    assert got == pytest.approx(expected, abs=1e-6)
