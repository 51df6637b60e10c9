"""The simulated camera against its own geometry and the light's."""

import math

import cv2
import msgspec
import numpy as np
import pytest

from fusion_rt.sim import camera, look, meshes, surface
from fusion_rt.sim.raycast import Material, Scene, merge
from fusion_rt.transforms import from_translation_rpy

WIDTH, HEIGHT = 320, 120
K = np.array([[250.0, 0.0, 150.3], [0.0, 260.0, 61.7], [0.0, 0.0, 1.0]])
OPTICAL = from_translation_rpy((0, 0, 0), (-np.pi / 2, 0, -np.pi / 2))
T_WORLD_CAMERA = from_translation_rpy((1.0, 0.5, 1.6), (0.02, -0.03, 0.05)) @ OPTICAL
CLEAN = look.Look(shot_noise=0.0, read_noise=0.0, blur_px=0.0, sharpen=0.0, vignette=0.0, texture=0.0)


def cube(center, size=2.0):
    return meshes.box((size,) * 3, center, Material.CLOTH, (200, 60, 40)).of(7)


def project(points, T_world_camera):
    local = (points - T_world_camera[:3, 3]) @ T_world_camera[:3, :3]
    uv = local @ K.T
    return uv[:, :2] / uv[:, 2:]


def corners(center, size=2.0):
    signs = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
    return np.array(center) + size * signs


@pytest.mark.parametrize("center", [(15.0, 0.0, 1.0), (9.0, 3.0, 2.0), (25.0, -8.0, 0.0)])
def test_cube_lands_on_its_pixels(center):
    image, instance = camera.render(
        Scene(cube(center)), K, WIDTH, HEIGHT, T_WORLD_CAMERA, CLEAN, np.random.default_rng(0)
    )
    hull = cv2.convexHull(project(corners(center), T_WORLD_CAMERA).astype(np.float32))
    # Signed distance of every pixel's centre, at + 0.5, to the analytic outline.
    inside = np.array(
        [[cv2.pointPolygonTest(hull, (i + 0.5, j + 0.5), True) for i in range(WIDTH)] for j in range(HEIGHT)]
    )
    assert (inside > 0).sum() > 100
    clear = np.abs(inside) > 0.01
    np.testing.assert_array_equal((instance == 7)[clear], (inside > 0)[clear])
    assert set(np.unique(instance)) == {camera.SKY, 7}
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert image.dtype == np.uint8


def test_rays_go_through_pixel_centres():
    directions = camera.rays(K, WIDTH, HEIGHT).reshape(3, HEIGHT, WIDTH)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=0), 1.0, atol=1e-6)
    x, y, z = directions[:, 33, 217]
    np.testing.assert_allclose(K[0, 0] * x / z + K[0, 2], 217.5, atol=1e-3)
    np.testing.assert_allclose(K[1, 1] * y / z + K[1, 2], 33.5, atol=1e-3)


def test_rolling_shutter_shears():
    center, size = (15.0, 0.0, 1.6), 3.0
    start = from_translation_rpy((0, 0, 1.6), (0, 0, 0)) @ OPTICAL
    end = from_translation_rpy((0, 1.0, 1.6), (0, 0, 0)) @ OPTICAL
    scene = Scene(cube(center, size))
    rng = np.random.default_rng(0)
    _, instance = camera.render(scene, K, WIDTH, HEIGHT, np.stack([start, end]), CLEAN, rng)
    for row in (40, 80):
        y = row / (HEIGHT - 1)  # the camera's way to the left by then
        columns = np.flatnonzero(instance[row] == 7)
        left = K[0, 2] - K[0, 0] * (size / 2 - y) / (center[0] - size / 2)
        assert 0.0 <= columns.min() + 0.5 - left < 1.0


def test_same_state_same_bytes():
    scene = Scene(cube((12.0, 0.0, 1.0)))
    sight = look.sample(np.random.default_rng(5))
    first, second = (
        camera.render(scene, K, WIDTH, HEIGHT, T_WORLD_CAMERA, sight, np.random.default_rng(9))
        for _ in range(2)
    )
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_shadow_lies_away_from_the_sun():
    ground = meshes.box((80.0, 80.0, 0.1), (10.0, 0.0, -0.05), Material.PAVEMENT, (120, 120, 120))
    scene = Scene(merge([ground, cube((12.0, 0.0, 1.0))]))
    elevation = math.radians(40.0)
    left = (0.0, math.cos(elevation), math.sin(elevation))  # the sun stands to the left
    sunny = msgspec.structs.replace(CLEAN, sun=6.0, sun_direction=left)
    T = from_translation_rpy((0, 0, 3.0), (0, 0.2, 0)) @ OPTICAL
    image, _ = camera.render(scene, K, WIDTH, HEIGHT, T, sunny, np.random.default_rng(0))
    (u, v), (mirror_u, mirror_v) = project(np.array([[12.0, -2.0, 0.0], [12.0, 2.0, 0.0]]), T).astype(int)
    assert image[v, u].mean() < 0.6 * image[mirror_v, mirror_u].mean()


def test_looks_keep_exposure_in_range():
    ground = meshes.box((200.0, 200.0, 0.1), (50.0, 0.0, -0.05), Material.ROAD, (90, 90, 92))
    scene = Scene(merge([ground, cube((12.0, 0.0, 1.0))]))
    for seed in range(20):
        rng = np.random.default_rng(seed)
        sight = look.sample(rng)
        image, instance = camera.render(scene, K, WIDTH, HEIGHT, T_WORLD_CAMERA, sight, rng)
        seen = image[instance != camera.SKY].mean() / 255.0
        assert abs(seen - sight.brightness) < 0.12, sight


def test_sun_is_a_unit_vector_above_the_horizon():
    for seed in range(50):
        sight = look.sample(np.random.default_rng(seed))
        np.testing.assert_allclose(np.linalg.norm(sight.sun_direction), 1.0, atol=1e-9)
        assert sight.sun_direction[2] > 0.1


@pytest.mark.parametrize("up", [[], [0.9, 1.0]])
def test_a_sky_between_roofs_has_no_skyline(up):
    """Where houses hide the horizon, only high directions meet nothing, or none does."""
    up = np.array(up, np.float32)
    directions = np.stack([np.sqrt(1 - up**2), 0 * up, up]).astype(np.float32)
    sky = surface.surroundings(directions, look.sample(np.random.default_rng(5)))
    assert sky.shape == (3, len(up))
    assert np.isfinite(sky).all()
    assert (sky >= 0).all()
