"""A pinhole camera in a simulated world."""

from __future__ import annotations

import cv2
import numpy as np

from fusion_rt.sim import camera_weather, lens, surface
from fusion_rt.sim.look import Look
from fusion_rt.sim.raycast import Scene
from fusion_rt.sim.weather import CLEAR, Weather
from fusion_rt.transforms import Array

SKY = -2  # in the instance image; -1 is the static world


def rays(K: Array, width: int, height: int) -> Array:
    """(3, h * w) float32 unit directions in the camera frame (x right, y down, z forward), row by row.

    The centre of pixel (column i, row j) is (i + 0.5, j + 0.5), as in `rig.Camera`. K has no skew."""
    u = ((np.arange(width) + 0.5 - K[0, 2]) / K[0, 0]).astype(np.float32)
    v = ((np.arange(height) + 0.5 - K[1, 2]) / K[1, 1]).astype(np.float32)
    z = 1.0 / np.sqrt(1.0 + u[None] ** 2 + v[:, None] ** 2)
    return np.stack([u[None] * z, v[:, None] * z, z]).reshape(3, -1)


def render(
    scene: Scene,
    K: Array,
    width: int,
    height: int,
    T_world_camera: Array,
    look: Look,
    rng: np.random.Generator,
    *,
    weather: Weather = CLEAR,
    glass: Array | None = None,
) -> tuple[Array, Array]:
    """The image (h, w, 3) uint8 BGR and whose each pixel is, (h, w) int32.

    K: (3, 3) px, for this width and height. T_world_camera: (4, 4), the camera's optical frame in the
    scene's; or (2, 4, 4), its pose at the top and the bottom row of a rolling shutter. The instance is the
    mesh's, -1 for the static world and -2 for the sky, whatever the weather hides. glass: (h, w), the drops
    on it, as of `camera_weather.drops_on_glass`; None: dry. The same arguments and generator state give the
    same bytes.
    """
    look = camera_weather.look_in(weather, look)
    local = rays(K, width, height)
    top, bottom = np.broadcast_to(np.asarray(T_world_camera, np.float32), (2, 4, 4))
    eye, directions = top[:3, 3:], top[:3, :3] @ local
    if not np.array_equal(top, bottom):
        down = np.repeat(np.linspace(0.0, 1.0, height, dtype=np.float32), width)
        eye = eye + down * (bottom[:3, 3:] - eye)
        directions += down * (bottom[:3, :3] @ local - directions)
    cast = scene.cast(np.broadcast_to(eye, directions.shape).T, directions.T)
    missed = np.flatnonzero(cast.face < 0)
    # Rays into the sky are shaded as if they met face 0 at the eye, then overwritten.
    distance, face = cast.distance.copy(), cast.face.copy()
    distance[missed], face[missed] = 0.0, 0
    at = surface.hit(scene.mesh, scene.normals, eye, directions, distance, face)

    light = _light(scene, at, missed, (height, width), look, rng)
    radiance = surface.shade(at, light, look, float(K[0, 0]))
    through = np.exp(distance * -look.haze_per_m)
    radiance *= through
    for c in range(3):
        radiance[c] += (1.0 - through) * look.sky_horizon[c]
    sky = surface.surroundings(directions[:, missed], look)
    if not weather.clear:
        camera_weather.veil_sky(sky, directions[:, missed], weather, look)
    radiance[:, missed] = sky
    radiance = radiance.reshape(3, height, width)
    if weather.wet:
        dry = np.zeros((height, width), np.float32)
        drops = dry if glass is None else glass
        radiance = camera_weather.rain_before(radiance, weather, look, float(K[0, 0]), drops, rng)

    instance = at.instance.reshape(height, width).copy()
    instance.reshape(-1)[missed] = SKY
    return lens.develop(radiance, instance != SKY, look, rng), instance


def _light(
    scene: Scene,
    at: surface.Hit,
    missed: Array,
    shape: tuple[int, int],
    look: Look,
    rng: np.random.Generator,
) -> Array:
    """(h * w,) float32: how much sun reaches each pixel; under a covered sky, how much of the sky.

    One ray for every fourth pixel, spread over its neighbours: shadows have soft edges."""
    height, width = shape
    if not look.shadows and look.sun > 0:
        return np.ones(height * width, np.float32)
    small: Array = np.ones(((height + 1) // 2, (width + 1) // 2), np.float32)
    chosen = (np.arange(0, height, 2)[:, None] * width + np.arange(0, width, 2)[None]).reshape(-1)
    solid = np.ones(height * width, bool)
    solid[missed] = False
    n = at.normals[:, chosen]
    if look.sun > 0:
        directions = np.broadcast_to(np.array(look.sun_direction, np.float32)[:, None], n.shape)
        wanted = solid[chosen] & (surface.dot(n, look.sun_direction) > 0)
    else:  # a random part of the sky for each: the mean over neighbours is how open the place is
        directions = rng.standard_normal(n.shape, dtype=np.float32)
        directions = directions / np.sqrt(surface.dot(directions, directions)) + np.float32(1.02) * n
        wanted = solid[chosen] & (directions[2] > 0)
    # Leave the surface by 2 cm: the ray must not meet the face that it starts from.
    origins = (at.points[:, chosen] + np.float32(0.02) * n)[:, wanted]
    small.reshape(-1)[wanted] = ~scene.occluded(origins.T, directions[:, wanted].T)
    if look.sun <= 0:
        small = cv2.blur(small, (5, 5))
    size = (2 * small.shape[1], 2 * small.shape[0])
    full: Array = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)
    return full[:height, :width].reshape(-1)
