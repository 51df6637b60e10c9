import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fusion_rt import transforms as tf

angles = st.floats(-3.1, 3.1)
metres = st.floats(-1e3, 1e3)


@st.composite
def rigid(draw):
    return tf.from_translation_rpy(
        [draw(metres) for _ in range(3)], (draw(angles), draw(st.floats(-1.5, 1.5)), draw(angles))
    )


@given(T_a_b=rigid(), T_b_c=rigid(), seed=st.integers(0, 99), n=st.integers(0, 64))
def test_composing_equals_two_steps(T_a_b, T_b_c, seed, n):
    points_c = np.random.default_rng(seed).uniform(-100, 100, (n, 3))
    once = tf.transform_points(T_a_b @ T_b_c, points_c)
    twice = tf.transform_points(T_a_b, tf.transform_points(T_b_c, points_c))
    np.testing.assert_allclose(once, twice, rtol=0, atol=1e-9)


def test_float32_points_stay_float32_and_keep_a_millimetre():
    T = tf.from_translation_rpy((5000.0, -3000.0, 10.0), (0.1, 0.2, 3.0))
    points = np.random.default_rng(1).uniform(-80, 80, (1000, 3)).astype(np.float32)
    moved = tf.transform_points(T, points)
    assert moved.dtype == np.float32
    np.testing.assert_allclose(moved, tf.transform_points(T, points.astype(np.float64)), atol=1e-3)


@given(T=rigid())
def test_inverse(T):
    np.testing.assert_allclose(tf.inverse(T) @ T, np.eye(4), atol=1e-9)


@given(roll=angles, pitch=st.floats(-1.5, 1.5), yaw=angles)
def test_rotations_agree_with_scipy(roll, pitch, yaw):
    R = tf.from_translation_rpy((0, 0, 0), (roll, pitch, yaw))[:3, :3]
    oracle = Rotation.from_euler("ZYX", [yaw, pitch, roll])
    np.testing.assert_allclose(R, oracle.as_matrix(), atol=1e-12)
    np.testing.assert_allclose(tf.rpy_from_matrix(R), (roll, pitch, yaw), atol=1e-9)
    np.testing.assert_allclose(tf.matrix_from_quaternion(tf.quaternion_from_matrix(R)), R, atol=1e-12)
    np.testing.assert_allclose(tf.from_rotation_vector(oracle.as_rotvec()), R, atol=1e-9)
    np.testing.assert_allclose(tf.from_rotation_vector(tf.rotation_vector(R)), R, atol=1e-9)


@pytest.mark.parametrize("axis", [(np.pi, 0, 0), (0, np.pi, 0), (0, 0, -np.pi), (1e-9, 0, 0), (0, 0, 0)])
def test_rotation_vector_at_its_edges(axis):
    R = Rotation.from_rotvec(axis).as_matrix()
    np.testing.assert_allclose(tf.from_rotation_vector(tf.rotation_vector(R)), R, atol=1e-9)


@given(T0=rigid(), T1=rigid())
def test_interpolation_meets_both_ends_and_the_middle_is_half_way(T0, T1):
    np.testing.assert_allclose(tf.interpolate(T0, T1, 0.0), T0, atol=1e-9)
    np.testing.assert_allclose(tf.interpolate(T0, T1, 1.0), T1, atol=1e-6)
    middle = tf.interpolate(T0, T1, 0.5)
    a = np.linalg.norm(tf.rotation_vector(T0[:3, :3].T @ middle[:3, :3]))
    b = np.linalg.norm(tf.rotation_vector(middle[:3, :3].T @ T1[:3, :3]))
    assert a == pytest.approx(b, abs=1e-6)


@given(angle=st.floats(-100, 100))
def test_wrapped_angle_is_the_same_direction(angle):
    wrapped = tf.wrap_angle(angle)
    assert -np.pi <= wrapped < np.pi
    assert np.cos(wrapped) == pytest.approx(np.cos(angle), abs=1e-9)
    assert np.sin(wrapped) == pytest.approx(np.sin(angle), abs=1e-9)
