"""Echoes through fog and rain: what the formula says of a wall of known range, and what must always hold."""

import msgspec
import numpy as np
import pytest

from fusion_rt.sim import lidar, lidar_weather, meshes
from fusion_rt.sim.raycast import Material, Scene
from fusion_rt.sim.receiver import detected, echo
from fusion_rt.sim.weather import CLEAR, Weather

FOG, RAIN = Weather(visibility_m=60.0), Weather(rain_mm_h=30.0)


def beams(far, weather, *, n=40_000, strength=0.3, seed=1):
    """What n beams report that all meet the same surface."""
    d = np.full(n, far)
    rng = np.random.default_rng(seed)
    return lidar_weather.through_weather(d, np.full(n, strength), np.ones(n, bool), weather, rng)


def test_an_echo_fades_there_and_back():
    """At 10 m in fog of 60 m: exp(-2 x 3.912 / 60 x 10) = 0.2714 of the light."""
    echoes = beams(10.0, FOG)
    surface = echoes.seen & ~echoes.airborne
    np.testing.assert_allclose(echoes.strength[surface], 0.3 * 0.2714, rtol=1e-3)
    np.testing.assert_allclose(echoes.distance[surface].mean(), 10.0, atol=0.005)


def test_as_many_are_lost_as_the_weaker_echo_leaves(monkeypatch):
    """Were it not for the drops that are louder than the surface."""
    monkeypatch.setattr(lidar_weather, "_media", lambda weather: [])
    weather, far, strength = RAIN, 75.0, 0.1
    kept = beams(far, weather, strength=strength).seen.mean()
    faded = strength * np.exp(-2 * weather.laser_per_m * far)
    expected = detected(echo(faded, far)) / detected(echo(strength, far))
    assert expected < 0.9
    np.testing.assert_allclose(kept, expected, atol=0.02)


def test_ranges_scatter_more_behind_fog():
    spread = []
    for far in (5.0, 12.0):
        echoes = beams(far, FOG)
        spread.append(echoes.distance[echoes.seen & ~echoes.airborne].std())
    expected = 0.018 * np.sqrt(np.expm1(2 * FOG.laser_per_m * np.array([5.0, 12.0])))
    np.testing.assert_allclose(spread, expected, rtol=0.05)


@pytest.mark.parametrize("far", [15.0, 30.0, 50.0])
def test_denser_weather_leaves_fewer_far_returns(far):
    def left(weather):
        echoes = beams(far, weather)
        return np.count_nonzero(echoes.seen & ~echoes.airborne)

    fog = [left(Weather(visibility_m=v)) for v in (500.0, 200.0, 100.0, 50.0, 25.0)]
    assert sorted(fog, reverse=True) == fog
    assert fog[-1] < 0.05 * fog[0]
    rain = [left(Weather(rain_mm_h=r)) for r in (1.0, 10.0, 50.0, 200.0)]
    assert sorted(rain, reverse=True) == rain
    assert left(Weather(visibility_m=100.0, rain_mm_h=50.0)) <= left(Weather(visibility_m=100.0))


def open_sky(weather, n=40_000):
    nothing = np.full(n, np.inf)
    rng = np.random.default_rng(2)
    return lidar_weather.through_weather(nothing, np.zeros(n), np.zeros(n, bool), weather, rng)


def test_fog_answers_from_near_and_rain_from_a_few_drops():
    fog, rain = open_sky(FOG), open_sky(RAIN)
    assert fog.seen.mean() > 0.5
    assert np.percentile(fog.distance[fog.seen], 95) < 15.0
    assert 0.02 < rain.seen.mean() < 0.2
    assert rain.distance[rain.seen].std() > 3.0
    assert fog.strength[fog.seen].max() < 0.05
    assert np.median(rain.strength[rain.seen]) < 0.05
    assert open_sky(Weather(rain_mm_h=5.0)).seen.mean() < rain.seen.mean()
    assert open_sky(Weather(visibility_m=500.0)).seen.mean() < fog.seen.mean()


def test_the_air_answers_before_the_surface():
    echoes = beams(4.0, FOG)
    assert (echoes.distance[echoes.airborne] < 4.0).all()


def test_same_state_same_bits():
    first, again, other = beams(20.0, FOG), beams(20.0, FOG), beams(20.0, FOG, seed=3)
    for field in first.__struct_fields__:
        assert getattr(first, field).tobytes() == getattr(again, field).tobytes()
    assert first.distance.tobytes() != other.distance.tobytes()


def test_a_sweep_taken_in_clear_air():
    rng = np.random.default_rng(0)
    xyz = rng.normal(0, 20, (5000, 3)).astype(np.float32)
    intensity = rng.random(5000, np.float32)
    same, as_bright, there = lidar_weather.on_points(xyz, intensity, CLEAR, rng)
    assert same is xyz
    assert as_bright is intensity
    assert there.all()
    points, dimmer, there = lidar_weather.on_points(xyz, intensity, FOG, np.random.default_rng(1))
    assert points.dtype == dimmer.dtype == np.float32
    assert 0.2 < there.mean() < 1.0
    # Every point stays on its beam.
    before, now = np.linalg.norm(xyz, axis=1), np.linalg.norm(points, axis=1)
    cosine = (points * xyz).sum(1)[there] / (before * now)[there]
    np.testing.assert_allclose(cosine, 1.0, atol=1e-4)
    assert (dimmer[there] <= intensity[there] + 0.1).all()
    nothing = lidar_weather.on_points(xyz[:0], intensity[:0], FOG, rng)
    assert [len(x) for x in nothing] == [0, 0, 0]


def test_wet_ground_is_darker():
    """Angstrom's formula for a dry albedo of 0.2: 0.2 / (1.7689 x 0.8 + 0.2) = 0.1238."""
    materials = np.array([Material.ROAD, Material.PAINT, Material.WALL])
    wet = lidar_weather.wet_reflectivity(np.full(3, 0.2, np.float32), materials)
    np.testing.assert_allclose(wet, [0.1238, 0.2, 0.1238], atol=1e-4)
    assert wet.dtype == np.float32


def turn(weather, **options):
    scene = Scene(meshes.box((80.0, 30.0, 12.0), (0, 0, 0), Material.WALL, (128, 128, 128)))
    pattern = msgspec.structs.replace(lidar.PATTERNS["VLP-16"], columns=360)
    shine = np.full(len(scene.mesh.faces), 0.5, np.float32)
    rng = np.random.default_rng(5)
    return lidar.sweep(lambda _: scene, lambda _: np.eye(4), pattern, shine, rng, **options, weather=weather)


def test_a_sweep_in_clear_air_is_the_same_bits():
    scene = Scene(meshes.box((80.0, 30.0, 12.0), (0, 0, 0), Material.WALL, (128, 128, 128)))
    pattern = msgspec.structs.replace(lidar.PATTERNS["VLP-16"], columns=360)
    shine = np.full(len(scene.mesh.faces), 0.5, np.float32)
    rng = np.random.default_rng(5)
    without = lidar.sweep(lambda _: scene, lambda _: np.eye(4), pattern, shine, rng)
    clear = turn(CLEAR)
    for field in clear.__struct_fields__:
        assert getattr(clear, field).tobytes() == getattr(without, field).tobytes()


def test_a_sweep_in_fog_ends_near():
    clear, fog = turn(CLEAR), turn(FOG)
    far = [np.count_nonzero(np.linalg.norm(r.xyz, axis=1) > 25.0) for r in (clear, fog)]
    assert far[1] < 0.2 * far[0]
    near = [np.count_nonzero(np.linalg.norm(r.xyz, axis=1) < 10.0) for r in (clear, fog)]
    assert near[1] > near[0]
    assert {x.dtype for x in (fog.xyz, fog.intensity, fog.t)} == {np.dtype(np.float32)}
    assert (fog.ring.dtype, fog.instance.dtype) == (np.uint16, np.int32)
