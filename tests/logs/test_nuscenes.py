"""A data set in the official layout, made here with known numbers: the real one may not be passed on."""

import json

import cv2
import numpy as np
import pytest

from fusion_rt.ego.geodesy import LocalMap
from fusion_rt.errors import LogError
from fusion_rt.logs import truth
from fusion_rt.logs.importing import import_recording
from fusion_rt.logs.nuscenes import ORIGINS, NuScenes
from fusion_rt.logs.nuscenes_radar import read_radar
from fusion_rt.messages import GnssFix, Header, Image, PointCloud
from fusion_rt.transforms import transform_points

START_US = 1_532_402_927_647_951
HALF = 0.5**0.5
# The head of a radar sweep as the data set has it, and a reflection: rcs 10 dBsm, valid, unambiguous.
RADAR_HEAD = """\
# .PCD v0.7 - Point Cloud Data file format
VERSION 0.7
FIELDS x y z dyn_prop id rcs vx vy vx_comp vy_comp is_quality_valid ambig_state x_rms y_rms invalid_state \
pdh0 vx_rms vy_rms
SIZE 4 4 4 1 2 4 4 4 4 4 1 1 1 1 1 1 1 1
TYPE F F F I I F F F F F I I I I I I I I
COUNT 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
WIDTH {n}
HEIGHT 1
VIEWPOINT 0 0 0 1 0 0 0
POINTS {n}
DATA binary
"""
RADAR_POINT = np.dtype(
    {
        "names": RADAR_HEAD.split("FIELDS ")[1].split("\nSIZE")[0].split(),
        "formats": ["<f4"] * 3 + ["i1", "<i2"] + ["<f4"] * 5 + ["i1"] * 8,
    }
)


def radar_file(**columns):
    """Reflections with these columns; where nothing is said they are valid and all else is 0."""
    points = np.zeros(len(columns["x"]), RADAR_POINT)
    points["ambig_state"] = 3
    for name, values in columns.items():
        points[name] = values
    return RADAR_HEAD.format(n=len(points)).encode() + points.tobytes()


@pytest.fixture
def folder(tmp_path):
    """Two key frames with a sweep between; the lidar is turned as on the real car: x right, y forward."""
    root = tmp_path / "nuscenes"
    tables = {
        "scene": [{"token": "s", "name": "scene-0061", "log_token": "l", "nbr_samples": 2}],
        "log": [{"token": "l", "location": "singapore-onenorth", "vehicle": "n015"}],
        "sample": [
            {"token": f"k{i}", "scene_token": "s", "timestamp": START_US + 100_000 * i} for i in range(2)
        ],
        "sensor": [
            {"token": "lidar", "channel": "LIDAR_TOP", "modality": "lidar"},
            {"token": "front", "channel": "CAM_FRONT", "modality": "camera"},
            {"token": "radar", "channel": "RADAR_FRONT", "modality": "radar"},
        ],
        "calibrated_sensor": [
            {
                "token": "cl",
                "sensor_token": "lidar",
                "translation": [0.94, 0.0, 1.84],
                "rotation": [HALF, 0.0, 0.0, -HALF],
                "camera_intrinsic": [],
            },
            {
                "token": "cf",
                "sensor_token": "front",
                "translation": [1.7, 0.01, 1.5],
                "rotation": [0.5, -0.5, 0.5, -0.5],
                "camera_intrinsic": [[30.0, 0.0, 20.0], [0.0, 30.0, 10.0], [0.0, 0.0, 1.0]],
            },
            {
                "token": "cr",
                "sensor_token": "radar",
                "translation": [3.4, 0, 0.5],
                "rotation": [1, 0, 0, 0],
                "camera_intrinsic": [],
            },
        ],
        "ego_pose": [],
        "sample_data": [],
    }
    rng = np.random.default_rng(0)
    for k, (place, sample) in enumerate((("samples", "k0"), ("sweeps", "k1"), ("samples", "k1"))):
        for calibration, channel, suffix in (
            ("cl", "LIDAR_TOP", "pcd.bin"),
            ("cf", "CAM_FRONT", "jpg"),
            ("cr", "RADAR_FRONT", "pcd"),
        ):
            stamp = START_US + 50_000 * k + {"cl": 0, "cf": -7000, "cr": 3000}[calibration]
            file = f"{place}/{channel}/n015-2018__{channel}__{stamp}.{suffix}"
            path = root / file
            path.parent.mkdir(parents=True, exist_ok=True)
            if calibration == "cl":
                sweep = np.array([[0, 10 + k, -1.84, 255, 3], [5, 0, 0, 51, 31]], "<f4")
                path.write_bytes(sweep.tobytes())
            elif calibration == "cf":
                pixels = rng.integers(0, 256, (20, 40, 3), np.uint8)
                path.write_bytes(cv2.imencode(".jpg", pixels)[1].tobytes())
            else:
                path.write_bytes(radar_file(x=[20.0, 30, 40], y=[1, 2, 3], rcs=[10, -30, 70]))
            tables["ego_pose"].append(
                {
                    "token": f"p{calibration}{k}",
                    "timestamp": stamp,
                    "translation": [411.3 + k, 1180.9, 0.0],
                    "rotation": [1.0, 0.0, 0.0, 0.0],
                }
            )
            tables["sample_data"].append(
                {
                    "token": f"{calibration}{k}",
                    "sample_token": sample,
                    "ego_pose_token": f"p{calibration}{k}",
                    "calibrated_sensor_token": calibration,
                    "timestamp": stamp,
                    "fileformat": "pcd" if calibration != "cf" else "jpg",
                    "is_key_frame": place == "samples",
                    "height": 20 if calibration == "cf" else 0,
                    "width": 40 if calibration == "cf" else 0,
                    "filename": file,
                    "prev": "",
                    "next": "",
                }
            )
    (root / "v1.0-mini").mkdir()
    for name, rows in tables.items():
        (root / "v1.0-mini" / f"{name}.json").write_text(json.dumps(rows))
    return root


def test_a_scene(folder):
    scene = NuScenes(folder).scene("scene-0061")
    packets = list(scene)
    assert scene.errors == []
    assert len(packets) == len(scene) == 9
    assert scene.rig.modalities() == {"cam_front": "camera", "lidar": "lidar", "gnss": "gnss"}
    sweeps = [p for p in packets if isinstance(p, PointCloud)]
    assert [p.header.stamp_ns for p in sweeps] == [(START_US + 50_000 * k) * 1000 for k in range(3)]
    np.testing.assert_allclose(sweeps[0].intensity, [1.0, 0.2])
    assert sweeps[0].ring.tolist() == [3, 31]
    # Ten metres ahead of the lidar, on the ground; and five to its right.
    T = scene.rig.lidars["lidar"].T_ego_lidar
    np.testing.assert_allclose(transform_points(T, sweeps[0].xyz), [[10, 0, 0], [0, -5, 1.84]], atol=1e-5)
    camera = scene.rig.cameras["cam_front"]
    np.testing.assert_allclose(camera.pose.translation, (0.76, 0.01, 1.5), atol=1e-9)
    np.testing.assert_allclose(camera.pose.matrix[:3, 2], (1, 0, 0), atol=1e-9)  # it looks ahead
    images = [p for p in packets if isinstance(p, Image)]
    assert {(p.encoding, p.width, p.height) for p in images} == {("jpeg", 40, 20)}
    fixes = [p for p in packets if isinstance(p, GnssFix)]
    local = LocalMap(*ORIGINS["singapore-onenorth"], 0.0)
    for k, fix in enumerate(fixes):
        enu = local.to_enu(fix.latitude_deg, fix.longitude_deg, fix.altitude_m)
        np.testing.assert_allclose(enu, [411.3 + k, 1180.9, 0.0], atol=1e-3)
    np.testing.assert_allclose(scene.rig.gnss["gnss"].lever_arm, (-0.94, 0, 0))  # the pose is the rear axle's


def test_into_a_log(folder, tmp_path):
    tables = NuScenes(folder, "v1.0-mini")
    result = import_recording(tables.scene("scene-0061", cameras=[]), tmp_path / "a.mcap")
    assert result.logs[0].packets == 6


def test_radar_where_it_is_asked_for(folder):
    scene = NuScenes(folder).scene("scene-0061", cameras=[], radars=["RADAR_FRONT"])
    clouds = [p for p in scene if p.header.sensor_id == "radar_front"]
    assert scene.errors == []
    assert len(scene) == 9
    assert [p.header.stamp_ns for p in clouds] == [(START_US + 3000 + 50_000 * k) * 1000 for k in range(3)]
    np.testing.assert_array_equal(clouds[0].xyz, [[20, 1, 0], [30, 2, 0], [40, 3, 0]])
    np.testing.assert_allclose(clouds[0].intensity, [0.5, 0, 1])  # -20 to 40 dBsm, clipped
    np.testing.assert_allclose(scene.rig.lidars["radar_front"].pose.translation, (3.4 - 0.94, 0, 0.5))
    with pytest.raises(LogError, match="no CAM_FRONT; there are: RADAR_FRONT"):
        NuScenes(folder).scene("scene-0061", radars=["CAM_FRONT"])


def test_radar_reflections_that_are_not_valid(tmp_path):
    header = Header(sensor_id="r", frame_id="r", seq=0, stamp_ns=0)
    path = tmp_path / "a.pcd"
    path.write_bytes(radar_file(x=[1.0, 2, 3], invalid_state=[0, 4, 0], ambig_state=[3, 3, 1]))
    assert read_radar(path, header).xyz[:, 0].tolist() == [1]
    path.write_bytes(radar_file(x=[1.0])[:-1])
    with pytest.raises(LogError, match=r"a\.pcd"):
        read_radar(path, header)
    path.write_bytes(radar_file(x=[1.0]).replace(b" rcs ", b" rxs "))
    with pytest.raises(LogError, match="no field rcs: not a radar sweep of nuScenes"):
        read_radar(path, header)


def annotate(folder, boxes):
    """instance, category, sample, place in the map, more: the tables of annotations."""
    categories = sorted({category for _, category, *_ in boxes})
    instances = {instance: category for instance, category, *_ in boxes}
    tables = {
        "category": [{"token": f"c-{name}", "name": name, "description": ""} for name in categories],
        "attribute": [{"token": "rider", "name": "cycle.with_rider", "description": ""}],
        "instance": [
            {"token": instance, "category_token": f"c-{category}", "nbr_annotations": 1}
            for instance, category in instances.items()
        ],
        "sample_annotation": [
            {
                "token": f"a{i}",
                "sample_token": sample,
                "instance_token": instance,
                "visibility_token": "4",
                "attribute_tokens": [],
                "translation": place,
                "size": [1.9, 4.5, 1.6],
                "rotation": [HALF, 0.0, 0.0, HALF],
                "prev": "",
                "next": "",
                "num_lidar_pts": 7,
                "num_radar_pts": 1,
                **more,
            }
            for i, (instance, _, sample, place, more) in enumerate(boxes)
        ],
    }
    for name, rows in tables.items():
        (folder / "v1.0-mini" / f"{name}.json").write_text(json.dumps(rows))


def test_annotations_are_the_truth_of_the_drive(folder, tmp_path):
    """Boxes of key frames in our ego frame, 0.94 m before theirs. The ego drives 2 m in 0.1 s."""
    rider = {"attribute_tokens": ["rider"]}
    annotate(
        folder,
        [
            ("one", "vehicle.car", "k0", [422.24, 1185.9, 0.8], {}),
            ("one", "vehicle.car", "k1", [422.24, 1186.9, 0.8], {"num_lidar_pts": 3}),
            ("two", "vehicle.bicycle", "k0", [422.24, 1180.9, 0.8], rider),
            ("two", "vehicle.bicycle", "k1", [422.24, 1180.9, 0.8], {}),
            ("far", "vehicle.truck", "k0", [513.0, 1180.9, 0.8], {}),
            ("far", "vehicle.truck", "k1", [513.0, 1180.9, 0.8], {}),
            ("once", "vehicle.car", "k0", [422.24, 1180.9, 0.8], {}),
            ("dog", "animal", "k0", [422.24, 1180.9, 0.8], {}),
            ("dog", "animal", "k1", [422.24, 1180.9, 0.8], {}),
        ],
    )
    scene = NuScenes(folder).scene("scene-0061")
    frames, left_out = scene.truth()
    assert left_out == [
        "scene-0061: 2 boxes of no class of the detection challenge are left out",
        "scene-0061: 1 boxes without a neighbour in time are left out: no velocity",
    ]
    sweeps = [p.header.stamp_ns for p in scene if isinstance(p, PointCloud)]
    assert [frame.stamp_ns for frame in frames] == [sweeps[0], sweeps[2]]
    for k, frame in enumerate(frames):
        T_map_ego = np.eye(4)
        T_map_ego[:2, 3] = 412.24 + 2 * k, 1180.9
        np.testing.assert_allclose(np.reshape(frame.T_map_ego, (4, 4)), T_map_ego)
        np.testing.assert_allclose(frame.velocity, (20, 0, 0), atol=1e-6)
    told = [[(o.track_id, o.label, o.points) for o in frame.objects] for frame in frames]
    assert told == [[(0, "car", 7), (1, "cyclist", 7)], [(0, "car", 3), (1, "bicycle", 7), (2, "truck", 7)]]
    car = frames[1].objects[0]
    np.testing.assert_allclose(car.center, (8, 6, 0.8), atol=1e-9)
    np.testing.assert_allclose(car.velocity, (0, 10), atol=1e-6)
    assert car.size == (4.5, 1.9, 1.6)
    assert car.yaw == pytest.approx(np.pi / 2)
    truth.write(tmp_path / "a.truth.jsonl", frames)
    assert truth.read(tmp_path / "a.truth.jsonl") == frames


def test_without_annotations_there_is_no_truth(folder):
    assert NuScenes(folder).scene("scene-0061").truth() == ([], [])
    annotate(folder, [("one", "vehicle.car", "gone", [0.0, 0, 0], {})])
    with pytest.raises(LogError, match=r"sample\.json has no row 'gone'"):
        NuScenes(folder).scene("scene-0061").truth()


def test_parts_that_are_not_there(folder):
    (folder / "samples" / "LIDAR_TOP").rename(folder / "gone")
    scene = NuScenes(folder).scene("scene-0061")
    assert sum(isinstance(p, PointCloud) for p in scene) == 1
    (fault,) = scene.errors
    assert "cannot be read: No such file" in fault
    assert fault.endswith("(2 such)")
    with pytest.raises(LogError, match=r"no scene 'scene-1'; there are: scene-0061"):
        NuScenes(folder).choose(["scene-1"])
    with pytest.raises(LogError, match=r"no CAM_BACK; there are: CAM_FRONT"):
        NuScenes(folder).scene("scene-0061", cameras=["CAM_BACK"])


def test_damaged_tables(folder, tmp_path):
    with pytest.raises(LogError, match="no tables such as"):
        NuScenes(tmp_path / "empty")
    table = folder / "v1.0-mini" / "calibrated_sensor.json"
    whole = table.read_text()
    table.write_text(whole.replace('"rotation"', '"turn"'))
    with pytest.raises(LogError, match=r"calibrated_sensor\.json: not a table of nuScenes: .*rotation"):
        NuScenes(folder).scene("scene-0061")
    table.write_text(whole.replace('"token": "cl"', '"token": "cx"'))
    with pytest.raises(LogError, match=r"calibrated_sensor\.json has no row 'cl'"):
        NuScenes(folder).scene("scene-0061")
    table.unlink()
    with pytest.raises(LogError, match=r"calibrated_sensor\.json: cannot be read"):
        NuScenes(folder).scene("scene-0061")


def test_a_cut_sweep(folder):
    path = next((folder / "sweeps" / "LIDAR_TOP").glob("*.bin"))
    path.write_bytes(path.read_bytes()[:-1])
    scene = NuScenes(folder).scene("scene-0061")
    list(scene)
    assert "39 bytes are no whole number of points" in scene.errors[0]
