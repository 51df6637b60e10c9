"""The motion model against finite differences, fine integration and the textbook filter."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_rt.tracking.tracks import SPEED, TURN, YAW, X, Y

STATE = st.tuples(
    st.floats(-100, 100), st.floats(-100, 100), st.floats(-3.1, 3.1), st.floats(-3, 30), st.floats(-1, 1)
)


def integrate(state, dt, steps=20_000):
    """Midpoint rule on dx = v cos yaw, dy = v sin yaw, dyaw = w."""
    h = dt / steps
    yaw = state[YAW] + state[TURN] * (np.arange(steps) + 0.5) * h
    v = state[SPEED]
    end = np.array(state, float)
    end[X] += (v * np.cos(yaw) * h).sum()
    end[Y] += (v * np.sin(yaw) * h).sum()
    end[YAW] += state[TURN] * dt
    return end


@given(STATE)
def test_advance_is_the_integral(reference, state):
    got = reference.advance(np.array([state]), 0.1)[0]
    expected = integrate(state, 0.1)
    # Third order: v dt (w dt)^2 / 24 is left, 1.25 mm at 30 m/s and 1 rad/s.
    np.testing.assert_allclose(got[:2], expected[:2], atol=1.3e-3)
    assert np.cos(got[YAW] - expected[YAW]) == pytest.approx(1, abs=1e-12)
    np.testing.assert_array_equal(got[3:], state[3:])


@given(STATE, st.sampled_from([0.05, 0.1, 0.5]))
def test_jacobian_against_finite_differences(reference, state, dt):
    x, h = np.array(state), 1e-6
    ways = [[reference.advance((x + d)[None], dt)[0] for d in (e, -e)] for e in np.eye(5) * h]
    columns = [(there - back) / (2 * h) for there, back in ways]
    F = np.stack(columns, axis=1)
    got = reference.jacobian(x[None], dt)[0]
    F[YAW] = np.where(np.abs(F[YAW]) > 2, got[YAW], F[YAW])  # where the angle wraps
    np.testing.assert_allclose(got, F, atol=1e-6)


def test_predict_moves_all_and_grows_their_doubt(reference):
    states = np.array([[0, 0, 0, 10, 0], [5, 5, np.pi / 2, 2, 0.5]], float)
    P = np.stack([np.diag([0.1, 0.1, 0.01, 1, 0.1])] * 2)
    moved, grown = reference.predict(states, P, 0.1, np.array([3.0, 1.0]), np.array([0.8, 2.0]))
    np.testing.assert_array_equal(moved, reference.advance(states, 0.1))
    for i, accel, turn in ((0, 3.0, 0.8), (1, 1.0, 2.0)):
        F = reference.jacobian(states[i : i + 1], 0.1)[0]
        extra = grown[i] - F @ P[i] @ F.T
        assert np.linalg.eigvalsh(extra).min() > -1e-12
        assert extra[SPEED, SPEED] == pytest.approx((accel * 0.1) ** 2)
        assert extra[TURN, TURN] == pytest.approx((turn * 0.1) ** 2)
        np.testing.assert_array_equal(grown[i], grown[i].T)


def test_correct_is_the_joint_gaussian_conditioned(reference):
    """The information form, which shares no step with the gain form."""
    rng = np.random.default_rng(0)
    A = rng.normal(size=(4, 5, 5))
    P = A @ A.transpose(0, 2, 1) + np.eye(5)
    states, residuals, variances = (
        rng.normal(size=(4, 5)),
        rng.normal(size=(4, 3)),
        rng.uniform(0.1, 2, (4, 3)),
    )
    rows = [X, YAW, SPEED]
    got, left = reference.correct(states, P, rows, residuals, variances)
    H = np.eye(5)[rows]
    for i in range(4):
        R_inverse = np.diag(1 / variances[i])
        expected = np.linalg.inv(np.linalg.inv(P[i]) + H.T @ R_inverse @ H)
        np.testing.assert_allclose(left[i], expected, atol=1e-9)
        np.testing.assert_allclose(got[i] - states[i], expected @ H.T @ R_inverse @ residuals[i], atol=1e-9)
