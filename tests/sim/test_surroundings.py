"""What stands around the road, in numbers: a wall is smooth, foliage is not, and there may be nothing."""

import numpy as np
import pytest

from fusion_rt.sim import scenery
from fusion_rt.sim.frame_files import LIDAR_HEIGHT_M
from fusion_rt.sim.raycast import Scene
from fusion_rt.sim.surroundings import Around, around, report
from fusion_rt.transforms import from_translation_rpy

GREY = np.full((192, 640), 100, np.uint8)


def seen(kind: str, seed: int):
    """Where a fan of beams ends on a thing that stands across the way, 12 m ahead."""
    mesh = scenery.MAKERS[kind](np.random.default_rng(seed))
    scene = Scene(mesh.moved(from_translation_rpy((12.0, 0, 0), (0, 0, np.pi / 2))))
    azimuth, elevation = np.meshgrid(np.arange(-0.3, 0.3, 0.003), np.arange(-0.09, 0.1, 0.007))
    az, el = azimuth.ravel(), elevation.ravel()
    ray = np.stack([np.cos(el) * np.cos(az), np.cos(el) * np.sin(az), np.sin(el)], axis=1)
    eye = np.array([0, 0, LIDAR_HEIGHT_M])
    d = scene.cast(np.tile(eye, (len(ray), 1)), ray).distance
    return (eye + ray * d[:, None])[np.isfinite(d)]


@pytest.mark.parametrize("seed", range(4))
def test_foliage_is_rough_and_walls_are_smooth(seed):
    wall, thicket = (around(seen(kind, seed), GREY).steps for kind in ("wall", "thicket"))
    assert wall[0] > 0.95
    assert thicket[0] < 0.7
    assert thicket[1] > 0.2
    assert thicket.sum() == pytest.approx(1)


def test_beams_aside_and_on_the_ground_are_left_out():
    nothing = np.array(
        [[10.0, 10, 1], [10, 10.01, 1], [10, 0, 0.1], [10, 0.01, 0.1], [70, 0, 1], [70, 0.01, 1]]
    )
    assert np.isnan(around(nothing, GREY).steps).all()
    assert np.isnan(around(np.zeros((0, 3)), GREY).steps).all()
    # Directions are taken in cells: two of one cell are neighbours, a third of another is not.
    pair = np.array([[10.0, 0.001, 1.7], [10.3, 0.002, 1.7], [30.0, 4.0, 1.7]])
    np.testing.assert_array_equal(around(pair, GREY).steps, [0, 1, 0])


def test_the_dark_is_counted_about_the_horizon():
    image = GREY.copy()
    image[:20], image[110:] = 0, 0  # sky and road
    image[30:109, :160] = 10
    told = around(np.zeros((0, 3)), image)
    assert told.dark == pytest.approx(0.25, abs=0.02)
    assert told.level == pytest.approx(0.25 * 10 + 0.75 * 100, abs=2)


def test_the_report_leaves_out_frames_without_points():
    some = Around(np.array([0.5, 0.3, 0.2]), 0.4, 80.0)
    none = Around(np.full(3, np.nan), 0.2, 60.0)
    text = report([some, none], [none])
    assert "| neighbouring beams end within 5 cm | 50 % | nan % |" in text
    assert "| pixels about the horizon that are dark | 30 % | 20 % |" in text
    assert "| ... their mean, of 255 | 70 | 60 |" in text
