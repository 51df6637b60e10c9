"""What a surface sends towards a camera: colour, procedural texture, sun, sky, gloss.

Colours and vectors are planar, (3, N): numpy is several times faster on long rows than on rows of three.
"""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np
from msgspec import Struct

from fusion_rt.messages import Vec3
from fusion_rt.sim.look import Look
from fusion_rt.sim.raycast import Material, TriMesh
from fusion_rt.transforms import Array

_TILE = 512  # texels a side of the noise texture


class Texture(Struct, frozen=True):
    """Noise on a material: texels a metre and contrast of a fine and of a coarse layer; gloss is the
    share of light mirrored at normal incidence; rough tilts the normals (leaves, grass)."""

    fine_per_m: float
    fine: float
    coarse_per_m: float
    coarse: float
    gloss: float = 0.0
    rough: float = 0.0


TEXTURES: dict[Material, Texture] = {
    Material.ROAD: Texture(60.0, 0.22, 3.0, 0.14, gloss=0.02, rough=0.05),
    Material.PAVEMENT: Texture(40.0, 0.25, 4.0, 0.18, rough=0.1),
    Material.GRASS: Texture(45.0, 0.5, 3.0, 0.3, rough=0.5),
    Material.WALL: Texture(16.0, 0.12, 1.5, 0.12, rough=0.05),
    Material.LEAVES: Texture(30.0, 0.7, 5.0, 0.6, rough=0.9),
    Material.POLE: Texture(20.0, 0.15, 2.0, 0.2, gloss=0.02),
    Material.SIGN: Texture(30.0, 0.1, 6.0, 0.35, gloss=0.02),
    Material.PAINT: Texture(20.0, 0.03, 4.0, 0.06, gloss=0.06),
    Material.GLASS: Texture(10.0, 0.05, 5.0, 0.3, gloss=0.1),
    Material.TYRE: Texture(60.0, 0.2, 10.0, 0.15),
    Material.CLOTH: Texture(50.0, 0.2, 9.0, 0.3, rough=0.2),
    Material.SKIN: Texture(30.0, 0.1, 8.0, 0.15),
    Material.METAL: Texture(30.0, 0.15, 6.0, 0.25, gloss=0.08),
    Material.LAMP: Texture(60.0, 0.15, 12.0, 0.25, gloss=0.06),
}
_FIELDS = ("fine_per_m", "fine", "coarse_per_m", "coarse", "gloss", "rough")
_TABLE = np.array([[getattr(TEXTURES[m], f) for m in Material] for f in _FIELDS], np.float32)
_LINEAR = ((np.arange(256) / 255.0) ** 2.2).astype(np.float32)


class Hit(Struct, frozen=True):
    """Where N rays ended, world frame.

    points, directions (unit), normals (unit, towards the camera)  (3, N) float32
    distance (N,) float32 m; material (N,) uint8; instance (N,) int32; color (3, N) uint8 RGB
    tall (N,) bool: on a wall that is high enough for windows
    """

    points: Array
    directions: Array
    normals: Array
    distance: Array
    material: Array
    instance: Array
    color: Array
    tall: Array


def hit(mesh: TriMesh, normals: Array, origin: Array, directions: Array, distance: Array, face: Array) -> Hit:
    """The surface at the end of rays from origins (3, 1 or N); normals (F, 3) of the mesh's faces."""
    face = face.astype(np.intp)
    n = np.stack([np.ascontiguousarray(normals[:, i], np.float32).take(face) for i in range(3)])
    away = dot(n, directions) > 0
    n *= np.where(away, np.float32(-1), np.float32(1))
    color = np.stack([np.ascontiguousarray(mesh.color[:, i]).take(face) for i in range(3)])
    tall = np.zeros(len(mesh.faces), bool)
    walls = np.flatnonzero(mesh.material == Material.WALL)
    z = mesh.vertices[:, 2][mesh.faces[walls]]
    tall[walls] = z.max(1) - z.min(1) > 3.5
    return Hit(
        directions * distance + origin,
        directions,
        n,
        distance,
        mesh.material.take(face),
        mesh.instance.take(face),
        color,
        tall.take(face),
    )


def dot(a: Array, b: Array | Vec3) -> Array:
    """(N,) float32 of (3, N) and (3, N) or (3,)."""
    product: Array = a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
    return product


@lru_cache(maxsize=1)
def noise_tile() -> Array:
    """(512, 512, 2) float32, tileable, zero mean, unit deviation: fractal noise, the same for ever."""
    rng = np.random.default_rng(20240229)
    total = np.zeros((_TILE, _TILE, 2), np.float32)
    for cells, weight in ((512, 1.0), (256, 1.0), (128, 0.9), (32, 0.5), (8, 0.3)):
        coarse = rng.normal(size=(cells, cells, 2)).astype(np.float32)
        wrapped = np.pad(coarse, ((2, 2), (2, 2), (0, 0)), mode="wrap")
        k = _TILE // cells
        layer = cv2.resize(wrapped, None, fx=k, fy=k, interpolation=cv2.INTER_LINEAR)
        total += weight * layer[2 * k : 2 * k + _TILE, 2 * k : 2 * k + _TILE]
    tile: Array = (total - total.mean((0, 1))) / total.std((0, 1))
    return tile


def noise(u: Array, v: Array) -> Array:
    """(2, N) float32: the noise tile at texel coordinates u, v (N,) float32, repeated without end."""
    # Texels, not interpolated: a look-up for each point; what is finer than a pixel is averaged by `shade`.
    index = (u.astype(np.int32) & (_TILE - 1)) * _TILE + (v.astype(np.int32) & (_TILE - 1))
    tile = _planar_tile()
    return np.stack([tile[0].take(index), tile[1].take(index)])


@lru_cache(maxsize=1)
def _planar_tile() -> Array:
    return np.ascontiguousarray(noise_tile().reshape(-1, 2).T)


def surroundings(directions: Array, look: Look) -> Array:
    """(3, N) float32 BGR radiance in unit directions (3, N) that meet nothing: sky, far trees and hills."""
    level = _sky(directions, look)
    _skyline(level, directions, look)
    return level


def _sky(directions: Array, look: Look) -> Array:
    """(3, N) float32: gradient, clouds, the sun's glow; below the horizon as at it."""
    up = np.maximum(directions[2], 0.0)
    height = np.sqrt(up)
    level = np.empty_like(directions)
    for c in range(3):
        np.multiply(height, look.sky_zenith[c] - look.sky_horizon[c], out=level[c])
        level[c] += look.sky_horizon[c]
    if look.clouds > 0.05:
        spread = 14.0 / (up + np.float32(0.12))
        u, v = directions[0] * spread + look.seed % 401, directions[1] * spread
        cover = np.clip(_smooth_noise(u, v) * 0.6 + (2.2 * look.clouds - 1.3), 0.0, 1.0) * np.float32(0.85)
        level += cover * (1.25 * max(*look.sky_horizon, 0.8) - level)
    if look.sun > 0:
        glow = np.exp((dot(directions, look.sun_direction) - 1.0) * 12.0) * np.float32(0.25 * look.sun)
        for c in range(3):
            level[c] += glow * look.sun_color[c]
    return level


def _skyline(level: Array, directions: Array, look: Look) -> None:
    """Far trees and hills in front of the lower sky, in place."""
    near = np.flatnonzero(directions[2] < 0.15 + look.skyline_rad)
    d = directions[:, near]
    azimuth = np.arctan2(d[1], d[0])
    profile = _smooth_noise(azimuth * 90.0 + look.seed % 409, np.full(len(near), 7.0, np.float32))
    inside = d[2] < look.skyline_rad * (1.0 + 0.45 * profile)
    d, azimuth, near = d[:, inside], azimuth[inside], near[inside]
    leaves = noise(azimuth * 700.0, d[2] * 700.0)
    shade = np.clip(0.035 + 0.02 * leaves[0] * look.texture, 0.008, 0.15) * (1.0 + 0.3 * look.sun)
    hue = (0.5, 1.1, 0.8)
    clear = math.exp(-150.0 * look.haze_per_m)
    for c in range(3):
        level[c, near] = clear * hue[c] * shade + (1.0 - clear) * look.sky_horizon[c]


def _smooth_noise(u: Array, v: Array) -> Array:
    """(N,) float32: the tile's first channel, interpolated, for what is seen much enlarged."""
    # cv2.remap takes images of at most 32767 columns, not lists, and not empty ones.
    n, width = len(u), 512
    grid = np.zeros((2, max(1, -(-n // width)) * width), np.float32)
    np.remainder(u, _TILE, out=grid[0, :n])
    np.remainder(v, _TILE, out=grid[1, :n])
    u_map, v_map = grid.reshape(2, -1, width)
    plane = np.ascontiguousarray(noise_tile()[..., 0])
    value: Array = cv2.remap(plane, u_map, v_map, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return value.reshape(-1)[:n]


def shade(at: Hit, light: Array, look: Look, focal_px: float) -> Array:
    """(3, N) float32 BGR radiance of N hits, before haze.

    light (N,) 0..1: how much of the sun (or of the sky, when look.sun is 0) reaches the point.
    """
    n = at.normals
    gloss, rough = _TABLE[4].take(at.material), _TABLE[5].take(at.material)
    seen = -dot(at.directions, n)
    # Metres a pixel covers on the surface: texture finer than that is averaged away.
    footprint = at.distance / (focal_px * np.maximum(seen, 0.08))
    level, grain = _texture(at, footprint, rough, look)
    albedo = np.stack([_LINEAR.take(at.color[c]) for c in (2, 1, 0)])
    _windows(albedo, gloss, at, footprint, look)
    albedo *= level
    albedo[0] *= 1.0 + (0.2 * look.texture) * rough * grain  # hue wanders: no two leaves are one colour

    open_sky = 0.5 + 0.5 * n[2]
    if look.sun > 0:
        direct = np.maximum(dot(n, look.sun_direction) + 0.6 * rough * grain, 0.0) * light
    else:
        open_sky *= light
    closed = 1.0 - open_sky
    radiance = albedo
    for c in range(3):
        below = look.ambient[c] * look.bounce * (1.0 + 0.5 * look.sun)
        irradiance = open_sky * look.ambient[c] + closed * below
        if look.sun > 0:
            irradiance += direct * (look.sun * look.sun_color[c])
        radiance[c] *= irradiance
    _mirror(radiance, gloss, at, seen, light, look)
    return radiance


def _texture(at: Hit, footprint: Array, rough: Array, look: Look) -> tuple[Array, Array]:
    """Brightness (about 1) and tilt of the surface (about 0), (N,) each, averaged over the footprint."""
    n, p = at.normals, at.points
    flat = np.abs(n[2]) > 0.7
    shift = (17.0 * at.instance + look.seed % 1009).astype(np.float32)
    u = np.where(flat, p[0], _along(n, p)) + shift
    v = np.where(flat, p[1], p[2])
    level = np.ones_like(footprint)
    grain = np.zeros_like(footprint)
    for layer in (0, 2):
        per_m, contrast = _TABLE[layer].take(at.material), _TABLE[layer + 1].take(at.material)
        keep = 1.0 / (1.0 + 0.5 * footprint * per_m)
        if layer == 0:  # foliage keeps its contrast at every scale
            keep = np.maximum(keep, 0.5 * rough)
            value = noise(u * per_m, v * per_m) * keep
            level += look.texture * contrast * value[0]
            grain += value[1]
        else:
            level += look.texture * contrast * keep * _smooth_noise(u * per_m, v * per_m)
    np.clip(level, 0.15, 2.2, out=level)
    return level, grain


def _along(n: Array, p: Array) -> Array:
    """(N,) horizontal coordinate on upright surfaces, m."""
    length = np.sqrt(n[0] ** 2 + n[1] ** 2) + np.float32(1e-6)
    along: Array = (n[0] * p[1] - n[1] * p[0]) / length
    return along


def _windows(albedo: Array, gloss: Array, at: Hit, footprint: Array, look: Look) -> None:
    """Rows of panes and courses of bricks on the walls, in place. A wall's colour decides its pattern:
    one building has one."""
    upright = np.abs(at.normals[2]) < 0.3
    wall = np.flatnonzero((at.material == Material.WALL) & upright & (footprint < 0.5))
    if not len(wall):
        return
    z = at.points[2].take(wall)
    along = _along(at.normals[:, wall], at.points[:, wall])
    r, g, b = (at.color[c].take(wall).astype(np.int64) for c in range(3))
    kind = ((r * 73856093 ^ g * 19349663 ^ b * 83492791 ^ look.seed) >> 5) & 0xFF
    width, storey = 2.2 + (kind % 5) * 0.5, 2.7 + (kind % 3) * 0.3
    u, v = along / width, (z - 0.4) / storey
    column, row = u - np.floor(u), v - np.floor(v)
    pane = (
        at.tall[wall]
        & (kind % 4 > 0)
        & (column > 0.28)
        & (column < 0.74)
        & (row > 0.24)
        & (row < 0.78)
        & (v > 0)
    )
    frame = pane & ((column < 0.31) | (column > 0.71) | (row < 0.27) | (np.abs(column - 0.51) < 0.015))
    albedo[:, wall[frame]] = 0.7
    glass = wall[pane & ~frame]
    albedo[:, glass] = albedo[:, glass] * 0.1 + 0.01
    gloss[glass] = 0.12
    bricks = np.flatnonzero((kind % 3 == 0) & ~pane)
    course = z[bricks] / 0.25
    brick = along[bricks] / 0.5 + 0.5 * (np.floor(course) % 2)
    mortar = (course - np.floor(course) < 0.12) | (brick - np.floor(brick) < 0.06)
    fade = 1.0 / (1.0 + (footprint[wall[bricks]] / 0.1) ** 2)
    albedo[:, wall[bricks]] *= 1.0 - 0.35 * fade * mortar


def _mirror(radiance: Array, gloss: Array, at: Hit, seen: Array, light: Array, look: Look) -> None:
    """Adds what glossy surfaces mirror of the sky and the sun, in place (Schlick 1994)."""
    glossy = np.flatnonzero(gloss > 0.03)
    if not len(glossy):
        return
    d, n = at.directions[:, glossy], at.normals[:, glossy]
    cos = np.clip(seen[glossy], 0.0, 1.0)
    reflected = d + 2.0 * cos * n
    base = gloss[glossy]
    share = base + (1.0 - base) * (1.0 - cos) ** 5
    # Cars mirror blurred: a dark ground and horizon that fade into the sky.
    open_sky = np.clip((reflected[2] + 0.05) * 5.0, 0.0, 1.0)
    mirrored = (0.04 + open_sky) * _sky(reflected, look)
    shone = radiance[:, glossy] * (1.0 - share) + share * mirrored
    if look.sun > 0:
        toward = np.clip(dot(reflected, look.sun_direction), 0.0, 1.0)
        shone += toward**200 * share * light[glossy] * (20.0 * look.sun)
    radiance[:, glossy] = shone
