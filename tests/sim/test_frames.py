"""Training frames: what the file says of a scene agrees with the scene's own sweeps and images."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from fusion_rt.sim import camera, look
from fusion_rt.sim.frame_files import POINT_M, read_scene
from fusion_rt.sim.frames import HEIGHT, RANGE_M, WIDTH, make_scene, weather_of, write_frames
from fusion_rt.sim.raycast import Scene
from fusion_rt.sim.statistics import points_in_box
from fusion_rt.sim.weather import CLEAR, Weather
from fusion_rt.sim.world import World
from fusion_rt.transforms import from_translation_rpy, inverse, transform_points

UNIT = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])


@pytest.fixture(scope="module")
def scenes():
    return [make_scene(2, index) for index in range(3)]


def corners(box):
    return transform_points(from_translation_rpy(box[:3], (0, 0, box[6])), UNIT * box[3:6])


def test_same_seed_same_bits(scenes):
    again = make_scene(2, 1)
    assert set(again) == set(scenes[1])
    for key, value in again.items():
        assert np.asarray(value).tobytes() == np.asarray(scenes[1][key]).tobytes(), key
    assert scenes[0]["points1"].shape != scenes[1]["points1"].shape


def test_weather_changes_what_is_seen_and_not_the_world(scenes):
    clear, foggy = scenes[1], make_scene(2, 1, weather=Weather(visibility_m=60.0, rain_mm_h=10.0))
    assert set(foggy) == set(clear)
    for key in ("K", "T_camera_ego", "T_ego1_ego0", "boxes0", "boxes1"):
        np.testing.assert_array_equal(foggy[key], clear[key])
    away = np.hypot(*clear["boxes1"][:, :2].T)
    assert (foggy["visible1"][away > 50] == 0).all()
    assert (foggy["npoints1"][away > 40] <= clear["npoints1"][away > 40]).all()
    assert foggy["npoints1"].sum() < clear["npoints1"].sum()


def test_weather_comes_to_a_share_of_the_scenes():
    drawn = [weather_of(2, index, 0.3) for index in range(200)]
    assert 0.2 < np.mean([not w.clear for w in drawn]) < 0.4
    assert drawn[7] == weather_of(2, 7, 0.3)
    assert all(weather_of(2, index, 0.0) is CLEAR for index in range(200))
    # More weather leaves the scenes that had some as they were.
    more = [weather_of(2, index, 0.6) for index in range(200)]
    assert all(a == b for a, b in zip(drawn, more) if not a.clear)


def test_a_longer_scene_begins_with_the_same_frames(scenes):
    longer = make_scene(2, 1, length=3)
    assert set(longer) - set(scenes[1]) >= {"points2", "image2", "boxes2", "T_ego2_ego1"}
    for key, value in scenes[1].items():
        if not key.startswith("ego_"):
            assert np.asarray(value).tobytes() == np.asarray(longer[key]).tobytes(), key
    assert longer["ego_speed"] == pytest.approx(scenes[1]["ego_speed"], abs=1.0)


def test_boxes_hold_their_points(scenes):
    """The lidar counted its returns of each road user: as many points lie in that one's box."""
    checked = 0
    for scene in scenes:
        for k in (0, 1):
            points = scene[f"points{k}"] * POINT_M
            for box, count in zip(scene[f"boxes{k}"].astype(float), scene[f"npoints{k}"]):
                if count < 20:
                    continue
                # Noise, and beams that meet an edge beside their middle.
                margin_m = 0.08 + 0.001 * np.hypot(box[0], box[1])
                held = points_in_box(points, box, margin_m=margin_m).sum()
                assert held >= 0.95 * count, (box, held, count)
                # Nobody else is in the box: what is more than counted is ground under it.
                above = points_in_box(points, box + np.array([0, 0, 0.2, 0, 0, -0.4, 0, 0, 0])).sum()
                assert above <= count
                checked += 1
    assert checked > 10


def test_unseen_road_users_are_ignored(scenes):
    for scene in scenes:
        for k in (0, 1):
            boxes, cls = scene[f"boxes{k}"], scene[f"cls{k}"]
            assert (boxes[:, 0] >= 0).all()
            assert (np.hypot(boxes[:, 0], boxes[:, 1]) <= RANGE_M + 1e-3).all()
            visible, npoints = scene[f"visible{k}"], scene[f"npoints{k}"]
            assert ((visible >= 0) & (visible <= 1)).all()
            assert (cls[(npoints == 0) & (visible < 0.1)] == -1).all()


def test_the_camera_looks_along_the_boxes(scenes):
    """What is seen of a road user is in front of the camera and inside the image."""
    checked = 0
    for scene in scenes:
        for box, visible in zip(scene["boxes1"].astype(float), scene["visible1"]):
            if visible < 0.5:
                continue
            seen = transform_points(scene["T_camera_ego"], corners(box))
            uv = seen @ scene["K"].T
            uv = uv[:, :2] / uv[:, 2:]
            assert seen[:, 2].min() > 0.3
            assert uv[:, 0].max() > 0
            assert uv[:, 0].min() < WIDTH
            checked += 1
    assert checked > 3


def test_ego_motion_and_velocities_carry_one_frame_into_the_other(scenes):
    moved = fast = 0
    for scene in scenes:
        T = scene["T_ego1_ego0"]
        np.testing.assert_allclose(np.linalg.norm(T[:2, 3]) / 0.1, scene["ego_speed"], atol=1e-9)
        # Only what stands up: the rings on the ground travel with the sensor.
        before, now = (p[p[:, 2] > 0.5] for p in (scene[f"points{k}"] * POINT_M for k in (0, 1)))
        apart, without = (cKDTree(now).query(p)[0].clip(0, 1) for p in (transform_points(T, before), before))
        assert np.median(apart) < 0.12
        if scene["ego_speed"] > 3:
            assert apart.mean() < 0.9 * without.mean()
            fast += 1
        first = {box[3:6].tobytes(): box for box in scene["boxes0"]}  # no two have the same size
        for box in scene["boxes1"]:
            if (old := first.get(box[3:6].tobytes())) is not None:
                expected = transform_points(T, old[None, :3].astype(float))[0, :2] + 0.1 * box[7:9]
                np.testing.assert_allclose(box[:2], expected, atol=0.12)
                moved += 1
    assert moved > 20
    assert fast > 0


def test_boxes_cover_their_pixels():
    """Every pixel of a road user lies within its box's outline in the image."""
    K = np.array([[185.0, 0, 160], [0, 185.0, 48], [0, 0, 1]])
    optical = from_translation_rpy((0.27, 0.06, 1.65), (-np.pi / 2, 0, -np.pi / 2))
    checked = 0
    for seed in (1, 2):
        world = World.generate(seed)
        T_world_ego = world.ego_pose(0.0)
        _, instance = camera.render(
            Scene(world.mesh_at(0.0)),
            K,
            320,
            96,
            T_world_ego @ optical,
            look.Look(),
            np.random.default_rng(0),
        )
        for i in range(len(world.actors)):
            v, u = np.nonzero(instance == i)
            box = world.box(i, 0.0, T_world_ego)
            seen = transform_points(inverse(optical), corners(box))
            if len(u) < 10 or seen[:, 2].min() < 0.5:
                continue
            uv = seen @ K.T
            uv = uv[:, :2] / uv[:, 2:]
            low, high = uv.min(0) - 1.5, uv.max(0) + 1.5
            inside = (u + 0.5 > low[0]) & (u + 0.5 < high[0]) & (v + 0.5 > low[1]) & (v + 0.5 < high[1])
            assert inside.mean() > 0.98, (world.actors[i].label, inside.mean())
            checked += 1
    assert checked > 5


def test_a_folder_is_filled_and_gone_on_with(tmp_path, scenes):
    folder = tmp_path / "frames"
    assert sorted(write_frames(folder, scenes=1, seed=2, workers=1)) == [0]
    first = folder / "2_000000.npz"
    written = first.stat().st_mtime_ns
    assert sorted(write_frames(folder, scenes=2, seed=2, workers=1)) == [0, 1]
    assert first.stat().st_mtime_ns == written
    assert sorted(p.name for p in folder.iterdir()) == ["2_000000.npz", "2_000001.npz"]
    with np.load(folder / "2_000001.npz") as data:
        assert set(data.files) == set(scenes[1])
        for key in data.files:
            np.testing.assert_array_equal(data[key], scenes[1][key])


def test_a_write_that_is_cut_off_leaves_no_scene(tmp_path, monkeypatch):
    def disk_full(file, **arrays):
        file.write(b"half a scene")
        raise OSError("no space left on device")

    monkeypatch.setattr("fusion_rt.sim.frames.make_scene", lambda *args, **options: {"a": np.zeros(1)})
    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", disk_full)
        with pytest.raises(OSError, match="no space"):
            list(write_frames(tmp_path, scenes=1, seed=1, workers=1))
    assert not list(tmp_path.glob("*.npz"))
    assert list(write_frames(tmp_path, scenes=1, seed=1, workers=1)) == [0]
    assert [p.suffix for p in tmp_path.iterdir()] == [".npz"]


def test_training_reads_what_is_written(tmp_path, scenes):
    path = tmp_path / "scene.npz"
    np.savez(path, **scenes[2])
    read = read_scene(path)
    assert read.now.image.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(read.now.boxes, scenes[2]["boxes1"])
    np.testing.assert_allclose(read.now.points, scenes[2]["points1"] * POINT_M, atol=1e-5)
    np.testing.assert_array_equal(read.T_now_previous, scenes[2]["T_ego1_ego0"])
