"""Spinning lidars: rays, returns, and what gets lost on the way."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from msgspec import Struct

from fusion_rt.sim.lidar_weather import through_weather, wet_reflectivity
from fusion_rt.sim.raycast import REFLECTIVITY, Material, Scene, TriMesh
from fusion_rt.sim.receiver import detected, echo, gain
from fusion_rt.sim.weather import CLEAR, Weather
from fusion_rt.transforms import Array, transform_points

SWEEP_S = 0.1
PULSE_M = 0.5  # echoes closer together than a pulse is long are one
# The power of the cosine of incidence that an echo falls with, by material. The ground is rough enough to
# send light back that grazes it: on free ground KITTI's HDL-64E loses next to none of its beams up to 40 m.
_FALL = np.full(len(Material), 0.6)
_FALL[[Material.ROAD, Material.PAVEMENT, Material.GRASS]] = 0.15


class Pattern(Struct, frozen=True):
    """The beams of one model.

    elevation_rad  (rings,) highest first
    columns        firings a turn
    beam_rad       half the beam's divergence, by the makers' data sheets
    """

    name: str
    elevation_rad: Array
    columns: int
    max_range_m: float
    range_noise_m: float
    beam_rad: float


PATTERNS = {
    # Velodyne's HDL-64E: an upper block every 1/3 degree from +2, a lower every 1/2 degree from -8.87.
    "HDL-64": Pattern(
        "HDL-64",
        np.radians(np.concatenate([2.0 - np.arange(32) / 3, -8.87 - np.arange(32) / 2])),
        2083,
        120.0,
        0.018,
        0.001,
    ),
    "VLP-16": Pattern("VLP-16", np.radians(15.0 - 2.0 * np.arange(16)), 1800, 100.0, 0.02, 0.0015),
    "OS1-64": Pattern("OS1-64", np.radians(np.linspace(22.5, -22.5, 64)), 1024, 120.0, 0.015, 0.003),
}


class Returns(Struct, frozen=True):
    """One sweep in the sensor's frame: xyz (N, 3) m, intensity (N,) 0..1, t (N,) s from the start of the
    turn, all float32; ring (N,) uint16; instance (N,) int32 of what was hit."""

    xyz: Array
    intensity: Array
    t: Array
    ring: Array
    instance: Array


def face_reflectivity(
    mesh: TriMesh, rng: np.random.Generator, *, dark_share: float = 0.12, wet: bool = False
) -> Array:
    """(F,) float32: share of the light that each face sends back, drawn once a material and object; wet ones
    send back less."""
    low, high = np.array([REFLECTIVITY[m] for m in Material]).T
    base = rng.uniform(low, high)[mesh.material]
    objects = int(mesh.instance.max(initial=-1)) + 1
    factor = rng.uniform(0.6, 1.4, objects + 1)
    factor[:objects][rng.random(objects) < dark_share] = 0.25
    factor[objects] = 1.0
    shade = mesh.color.mean(1) / 255.0  # dark paint and cloth send less back
    coloured = np.isin(mesh.material, [Material.PAINT, Material.CLOTH, Material.WALL])
    base = np.where(coloured, base * (0.5 + shade), base)
    reflectivity: Array = (base * factor[mesh.instance]).astype(np.float32)
    return wet_reflectivity(reflectivity, mesh.material) if wet else reflectivity


def sweep(
    scene_at: Callable[[float], Scene],
    pose_at: Callable[[float], Array],
    pattern: Pattern,
    reflectivity: Array,
    rng: np.random.Generator,
    *,
    azimuth_rad: tuple[float, float] = (-np.pi, np.pi),
    sectors: int = 1,
    weather: Weather = CLEAR,
) -> Returns:
    """One turn, clockwise seen from above and starting behind, as the HDL-64E's data come.

    scene_at(t_s)  the world t_s seconds after the start of the turn; asked once a sector
    pose_at(t_s)   T_world_lidar (4, 4); asked at each sector's ends and interpolated between
    reflectivity   (F,) of the scene's mesh
    azimuth_rad    only these azimuths are cast; 0 is forward
    sectors        1 freezes the world and the sensor in mid-turn: an instantaneous sweep
    weather        what is in the air; its own echoes belong to instance -1
    """
    azimuth = np.pi - 2 * np.pi * (np.arange(pattern.columns) + 0.5) / pattern.columns
    wanted = (azimuth >= azimuth_rad[0]) & (azimuth <= azimuth_rad[1])
    column = np.flatnonzero(wanted)
    pieces = []
    for part in np.array_split(column, sectors):
        if len(part) == 0:
            continue
        begin, end = part[0] / pattern.columns * SWEEP_S, (part[-1] + 1) / pattern.columns * SWEEP_S
        middle = SWEEP_S / 2 if sectors == 1 else (begin + end) / 2
        scene = scene_at(middle)
        pose = (pose_at(middle),) * 2 if sectors == 1 else (pose_at(begin), pose_at(end))
        pieces.append(_cast(scene, pose, pattern, reflectivity, rng, part, azimuth[part], weather))
    return Returns(
        *(np.concatenate([getattr(p, field) for p in pieces]) for field in Returns.__struct_fields__)
    )


def _cast(
    scene: Scene,
    pose: tuple[Array, Array],
    pattern: Pattern,
    reflectivity: Array,
    rng: np.random.Generator,
    column: Array,
    azimuth: Array,
    weather: Weather,
) -> Returns:
    """One sector: (columns, rings) rays, column by column."""
    rings = len(pattern.elevation_rad)
    az, el = np.meshgrid(azimuth, pattern.elevation_rad, indexing="ij")
    az = az + rng.normal(0, 0.0003, az.shape)
    aside, above = _in_disc(az.shape, pattern.beam_rad, rng)
    u = np.linspace(0, 1, len(column))[:, None, None]
    origin = ((1 - u) * pose[0][:3, 3] + u * pose[1][:3, 3] + np.zeros((1, rings, 1))).reshape(-1, 3)
    R0, R1 = pose[0][:3, :3], pose[1][:3, :3]
    halves = []
    for sign in (1.0, -1.0):
        local = _direction(az + sign * aside, el + sign * above)
        ray = ((1 - u) * (local @ R0.T) + u * (local @ R1.T)).reshape(-1, 3)
        halves.append(_meet(scene, origin, ray, reflectivity, pattern.max_range_m))
    met = _strongest(*halves)
    d, strength, hit = met.distance, met.strength, np.isfinite(met.distance)
    d = np.where(hit, d, 1.0)
    # Glass lets most rays through and returns few of the rest.
    found = detected(echo(strength, d))
    found = np.where(scene.mesh.material[met.face] == Material.GLASS, found * 0.35, found)
    keep = hit & (rng.random(len(d)) < found)
    d = d + rng.normal(0, pattern.range_noise_m, len(d))
    instance = scene.mesh.instance[met.face]
    if not weather.clear:
        end = np.where(hit, d, np.inf)
        echoes = through_weather(end, strength, keep, weather, rng, range_noise_m=pattern.range_noise_m)
        d, strength, keep = echoes.distance, echoes.strength, echoes.seen
        instance = np.where(echoes.airborne, np.int32(-1), instance)
    xyz = (_direction(az, el).reshape(-1, 3) * d[:, None])[keep]
    intensity = np.clip(gain(d) * strength * rng.normal(1.0, 0.08, len(d)), 0, 1)[keep]
    t = np.repeat((column + 0.5) / pattern.columns * SWEEP_S, rings)[keep]
    ring = np.tile(np.arange(rings), len(column))[keep]
    return Returns(
        xyz.astype(np.float32),
        intensity.astype(np.float32),
        t.astype(np.float32),
        ring.astype(np.uint16),
        instance[keep],
    )


class _Met(Struct, frozen=True):
    """Where the halves of beams end: distance (N,) m, inf where there is nothing; strength (N,) share of the
    whole beam's light that comes back; face (N,)."""

    distance: Array
    strength: Array
    face: Array


def _meet(scene: Scene, origin: Array, ray: Array, reflectivity: Array, max_range_m: float) -> _Met:
    hits = scene.cast(origin, ray)
    d = hits.distance.astype(np.float64)
    hit = (hits.face >= 0) & (d < max_range_m) & (d > 0.9)
    face = np.where(hit, hits.face, 0)
    cosine = np.abs(np.einsum("ij,ij->i", scene.normals[face], ray))
    fall = _FALL[scene.mesh.material[face]]
    strength = np.where(hit, 0.5 * reflectivity[face] * np.maximum(cosine, 0.02) ** fall, 0.0)
    return _Met(np.where(hit, d, np.inf), strength, face)


def _strongest(a: _Met, b: _Met) -> _Met:
    """What the receiver reports of two halves of a beam: one echo where they end within its pulse, else the
    stronger one. So thin things look wider than they are, by as much as beams spread."""
    both = a.strength + b.strength
    with np.errstate(invalid="ignore"):  # of halves that meet nothing, which are never one with another
        one = np.abs(a.distance - b.distance) < PULSE_M
        mean = (a.strength * a.distance + b.strength * b.distance) / np.maximum(both, 1e-12)
    first = echo(a.strength, a.distance) >= echo(b.strength, b.distance)
    return _Met(
        np.where(one, mean, np.where(first, a.distance, b.distance)),
        np.where(one, both, np.where(first, a.strength, b.strength)),
        np.where(first, a.face, b.face),
    )


def _in_disc(shape: tuple[int, ...], radius: float, rng: np.random.Generator) -> tuple[Array, Array]:
    r, turn = radius * np.sqrt(rng.random(shape)), rng.uniform(0, 2 * np.pi, shape)
    return r * np.cos(turn), r * np.sin(turn)


def _direction(azimuth: Array, elevation: Array) -> Array:
    """(..., 3): unit vectors in the sensor's frame."""
    level = np.cos(elevation)
    return np.stack([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)], axis=-1)


def deskewed(returns: Returns, pose_at: Callable[[float], Array], T_target_world: Array) -> Array:
    """(N, 3) float32 in the target frame, each point with the true pose at its time, 64 steps a turn."""
    out = np.empty_like(returns.xyz)
    step = np.minimum((returns.t / SWEEP_S * 64).astype(int), 63)
    for k in np.unique(step):
        mine = step == k
        out[mine] = transform_points(T_target_world @ pose_at((k + 0.5) / 64 * SWEEP_S), returns.xyz[mine])
    return out
