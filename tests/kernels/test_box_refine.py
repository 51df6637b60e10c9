"""Before and after the second look: what it is told, and its answer applied."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_rt.device import CpuDevice

FITS = np.float32([(1, 0), (1.4, -0.2), (0.7, 0.3)])


def decoded(n, seed):
    rng = np.random.default_rng(seed)
    rows = rng.uniform(-30, 60, (n, 16)).astype(np.float32)
    rows[:, 3:6] = rng.uniform(0.2, 12, (n, 3))
    rows[:, 6] = rng.uniform(-np.pi, np.pi, n)
    rows[:, 9] = rng.choice([0.0, 1e-5, 0.05, 0.5, 0.99, 1.0], n)
    rows[:, 10] = rng.integers(0, 3, n)
    rows[:, 11:] = rng.uniform(0.02, 20, (n, 5))
    return rows


def answers(n, seed):
    rng = np.random.default_rng(seed)
    spread = ((1, 3), (8, 1.5), (1, 1), (5, 4))
    return [rng.normal(0, s, (n, width)).astype(np.float32) for width, s in spread]


def refine(device, rows, answer, fits=FITS):
    out = np.full((len(rows), 16), np.nan, np.float32)
    device.kernel("box_refine")(rows, fits, *answer, out)
    return out


@pytest.mark.parametrize("n", [0, 1, 200])
def test_context_equals_the_reference(device, reference, n):
    rows, out = decoded(n, 0), np.full((n, 16), np.nan, np.float32)
    device.kernel("box_context")(rows, out)
    np.testing.assert_allclose(out, reference.box_context(rows), rtol=5e-5, atol=5e-5)


@pytest.mark.parametrize("n", [0, 1, 200])
def test_answer_equals_the_reference(device, reference, n):
    rows, answer = decoded(n, 1), answers(n, 2)
    before = rows.copy()
    expected = reference.box_refine(rows, FITS, *answer)
    got = refine(device, rows, answer)
    turned = np.abs(got[:, 6] - expected[:, 6]) > 6  # at the seam a half turn is one or the other
    got[turned, 6] += 2 * np.pi * np.sign(expected[turned, 6] - got[turned, 6])
    np.testing.assert_allclose(got, expected, rtol=5e-5, atol=5e-5)
    np.testing.assert_array_equal(rows, before)


def test_nothing_changes_nothing(device):
    rows = decoded(50, 3)
    rows[:, 9] = 0.3
    nothing = [np.zeros((50, width), np.float32) for width in (1, 8, 1, 5)]
    np.testing.assert_allclose(
        refine(device, rows, nothing, np.float32([(1, 0)] * 3)), rows, rtol=1e-5, atol=1e-5
    )


@given(st.floats(-1e4, 1e4, width=32))
def test_a_score_never_leaves_its_range(delta):
    row = decoded(1, 4)
    answer = [np.zeros((1, width), np.float32) for width in (1, 8, 1, 5)]
    answer[0][0, 0] = delta
    assert 0 <= refine(CpuDevice(1), row, answer)[0, 9] <= 1
