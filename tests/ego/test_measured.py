"""A fix that is exactly right leaves no residual, however the antenna swings."""

import numpy as np
from scipy.spatial.transform import Rotation

from fusion_rt.ego import strapdown
from fusion_rt.ego.measured import Measured, position_residual, velocity_residual


def test_exact_fix_has_no_residual():
    rng = np.random.default_rng(2)
    R, lever = Rotation.random(rng=rng), np.array([-0.8, 0.3, 1.6])
    p, v, rate, h = rng.normal(size=3) * 100, rng.normal(size=3) * 10, np.array([0.3, -0.5, 1.2]), 1e-5
    row = strapdown.row(tuple(p), tuple(v), tuple(R.as_quat()), (0, 0, 9.81, *rate), (0, 0, 0), (0, 0, 0))
    before, after = (p + k * h * v + (R * Rotation.from_rotvec(k * h * rate)).apply(lever) for k in (-1, 1))
    fix = Measured(
        stamp_ns=0,
        position=p + R.apply(lever),
        position_noise=np.eye(3),
        velocity=(after - before) / (2 * h),
        velocity_noise=np.eye(3),
        lever=lever,
        gravity=(0.0, 0.0, -9.81),
    )
    np.testing.assert_allclose(position_residual(row, fix)[0], 0, atol=1e-9)
    np.testing.assert_allclose(velocity_residual(row, fix)[0], 0, atol=1e-6)
    moved = fix._replace(position=fix.position + [1, 2, 3], velocity=fix.velocity + np.array([4, 5, 6]))
    np.testing.assert_allclose(position_residual(row, moved)[0], [1, 2, 3], atol=1e-9)
    np.testing.assert_allclose(velocity_residual(row, moved)[0], [4, 5, 6], atol=1e-6)
