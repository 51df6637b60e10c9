"""Object frames, against the projection that KITTI documents and the labels that people drew."""

import shutil

import numpy as np
import pytest

from fusion_rt.errors import LogError
from fusion_rt.logs import kitti_object
from fusion_rt.logs.importing import import_kitti
from fusion_rt.logs.kitti_calibration import read_values
from fusion_rt.logs.kitti_object import Label
from fusion_rt.messages import Image, PointCloud


@pytest.fixture(scope="session")
def original(shared_data):
    return shared_data / "kitti_object" / "training"


@pytest.fixture
def copied(original, tmp_path):
    """Two frames, to be damaged."""
    for folder in ("image_2", "velodyne", "calib", "label_2"):
        (tmp_path / "training" / folder).mkdir(parents=True)
        for name in ("000000", "000008"):
            (source,) = (original / folder).glob(f"{name}.*")
            shutil.copy(source, tmp_path / "training" / folder)
    for path in tmp_path.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return tmp_path


def documented_projection(original, name, points):
    """Pixels by the readme's formula, `P2 R0_rect Tr_velo_to_cam x`, from the file itself."""
    lines = (
        line.split(":") for line in (original / "calib" / f"{name}.txt").read_text().splitlines() if line
    )
    values = {key: np.array(rest.split(), float) for key, rest in lines}
    R, Tr = np.eye(4), np.eye(4)
    R[:3, :3] = values["R0_rect"].reshape(3, 3)
    Tr[:3] = values["Tr_velo_to_cam"].reshape(3, 4)
    uvw = np.column_stack([points, np.ones(len(points))]) @ (values["P2"].reshape(3, 4) @ R @ Tr).T
    return uvw[:, :2] / uvw[:, 2:]


def project(rig, points):
    """Pixels through the rig, of points in the lidar's frame."""
    T = rig.cameras["camera"].T_camera_ego @ rig.lidars["lidar"].T_ego_lidar
    uvw = (points @ T[:3, :3].T + T[:3, 3]) @ rig.cameras["camera"].intrinsics.T
    return uvw[:, :2] / uvw[:, 2:]


def test_frames_are_what_lies_in_the_folder(original):
    frames = list(kitti_object.frames(original))
    assert [f.name for f in frames] == sorted(p.stem for p in (original / "velodyne").iterdir())
    assert frames[-1].name == "007347"
    for index, frame in enumerate(frames):
        image, sweep = frame.packets
        assert isinstance(image, Image)
        assert isinstance(sweep, PointCloud)
        assert image.header.stamp_ns == sweep.header.stamp_ns
        assert image.header.seq == index
        assert image.data.tobytes() == (original / "image_2" / f"{frame.name}.png").read_bytes()
        stored = np.fromfile(original / "velodyne" / f"{frame.name}.bin", "<f4").reshape(-1, 4)
        np.testing.assert_array_equal(stored, np.column_stack([sweep.xyz, sweep.intensity]))


def test_the_rig_projects_as_kitti_documents(original):
    for name in ("000000", "000008", "000134"):
        frame = kitti_object.read_frame(original, name)
        points = frame.packets[1].xyz.astype(float)
        ahead = points[points[:, 0] > 2]
        expected = documented_projection(original, name, ahead)
        # px; the file's seven digits make rotations that are not quite orthogonal.
        assert np.abs(project(frame.rig, ahead) - expected).max() < 1e-3


def test_points_of_a_labelled_car_fall_into_its_rectangle(original):
    cars = 0
    for frame in kitti_object.frames(original):
        points = frame.packets[1].xyz.astype(float)
        points = points[points[:, 0] > 1]
        pixels = project(frame.rig, points)
        T_ego_lidar = frame.rig.lidars["lidar"].T_ego_lidar
        in_ego = points @ T_ego_lidar[:3, :3].T + T_ego_lidar[:3, 3]
        for label in frame.labels:
            if label.type != "Car":
                continue
            x, y, z, length, width, height, yaw = kitti_object.ego_box(label, frame.T_reference_ego)
            cos, sin = np.cos(yaw), np.sin(yaw)
            local = (in_ego - [x, y, z]) @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
            # Of a car at 60 m there are three points, some centimetres outside.
            inside = (np.abs(local) < np.array([length, width, height]) / 2 + 0.1).all(axis=1)
            assert inside.any(), (frame.name, label)
            left, top, right, bottom = label.bbox
            u, v = pixels[inside].T
            camera = frame.rig.cameras["camera"]
            shown = (u > 0) & (u < camera.width) & (v > 0) & (v < camera.height)
            # People drew the rectangle: a few pixels of tolerance.
            hit = (u > left - 4) & (u < right + 4) & (v > top - 4) & (v < bottom + 4)
            assert hit[shown].mean() > 0.97, (frame.name, label)
            cars += 1
    assert cars == 33


def overlap(a, b):
    """Of two rectangles: the part of their union that both cover."""
    width, height = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    both = max(width, 0) * max(height, 0)
    return both / (sum((r[2] - r[0]) * (r[3] - r[1]) for r in (a, b)) - both)


def test_labels_project_by_the_calibration_file(original):
    """The development kit takes a label's location to image 2 by P2, which holds the way from camera 0 to
    camera 2: ours, through the ego frame, comes to the same pixel."""
    for frame in kitti_object.frames(original):
        camera = frame.rig.cameras["camera"]
        P2 = read_values(original / "calib" / f"{frame.name}.txt")["P2"].reshape(3, 4)
        for label in frame.labels:
            if label.type == "DontCare":
                continue
            x, y, z = label.location
            expected = P2 @ [x, y - label.size[0] / 2, z, 1]
            box = kitti_object.ego_box(label, frame.T_reference_ego)
            seen = camera.intrinsics @ (camera.T_camera_ego @ [*box[:3], 1])[:3]
            np.testing.assert_allclose(seen[:2] / seen[2], expected[:2] / expected[2], atol=1e-3)


def test_boxes_there_and_back(original):
    seen = 0
    for frame in kitti_object.frames(original):
        camera = frame.rig.cameras["camera"]
        for label in frame.labels:
            if label.type == "DontCare":
                continue
            T = frame.T_reference_ego
            back = kitti_object.result_label(label.type, kitti_object.ego_box(label, T), 0.5, camera, T)
            np.testing.assert_allclose(back.location, label.location, atol=1e-6)
            np.testing.assert_allclose(back.size, label.size, atol=1e-9)
            # The ego frame's boxes stand upright in it, KITTI's in the camera's, a degree apart.
            np.testing.assert_allclose(np.cos(back.rotation_y - label.rotation_y), 1, atol=1e-3)
            np.testing.assert_allclose(np.cos(back.alpha - label.alpha), 1, atol=5e-3)
            if label.type == "Car":  # people have arms and legs outside their boxes
                assert overlap(back.bbox, label.bbox) > 0.7, (frame.name, label)
            seen += 1
    assert seen == 59


def test_labels_are_written_as_they_were(tmp_path, original):
    for path in sorted((original / "label_2").iterdir()):
        labels = list(kitti_object.read_labels(path))
        kitti_object.write_labels(tmp_path / "a.txt", labels)
        assert list(kitti_object.read_labels(tmp_path / "a.txt")) == labels


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("Car 0 0 1", r"a\.txt:2: 4 columns, expected 15"),
        ("Car " + "x " * 14, r"a\.txt:2: could not convert"),
    ],
)
def test_a_damaged_label_is_named(tmp_path, line, says):
    (tmp_path / "a.txt").write_text(f"\n{line}\n")
    with pytest.raises(LogError, match=says):
        list(kitti_object.read_labels(tmp_path / "a.txt"))


def test_a_score_makes_a_result(tmp_path):
    label = Label("Car", -1, -1, 0.5, (1, 2, 3, 4), (1.5, 1.6, 4.0), (1, 2, 30), 0.25, score=0.875)
    kitti_object.write_labels(tmp_path / "a.txt", [label])
    assert list(kitti_object.read_labels(tmp_path / "a.txt")) == [label]


@pytest.mark.parametrize(
    ("file", "damage", "says"),
    [
        (
            "calib/000000.txt",
            lambda b: b.replace(b"Tr_velo_to_cam", b"Tr"),
            "000000.txt: no line Tr_velo_to_cam",
        ),
        (
            "calib/000000.txt",
            lambda b: b.replace(b"P2: ", b"P2: 1 "),
            "000000.txt: P2 has 13 numbers, expected 12",
        ),
        ("calib/000000.txt", lambda b: b.replace(b"R0_rect: 9.9", b"R0_rect: nan 9.9"), "R0_rect has 10"),
        ("calib/000000.txt", lambda b: b.replace(b"7.070493000000e+02", b"0"), "000000.txt: .*singular"),
        (
            "calib/000000.txt",
            lambda b: b.replace(b"6.040814000000e+02", b"6e4"),
            "000000.txt.*cx is 60000 px",
        ),
        ("velodyne/000000.bin", lambda b: b[:-3], "000000.bin: .* whole number of points"),
        ("velodyne/000000.bin", lambda b: b"", "000000.bin: 0 bytes"),
        ("image_2/000000.png", lambda b: b[: len(b) // 2], "000000.png: does not decode"),
        ("image_2/000000.png", lambda b: b"", "000000.png: does not decode"),
        ("label_2/000000.txt", lambda b: b[:-20], "000000.txt:1: .* columns"),
    ],
)
def test_a_damaged_frame_is_named_and_the_rest_goes_on(copied, file, damage, says):
    path = copied / "training" / file
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(LogError, match=says):
        list(kitti_object.frames(copied))
    result = import_kitti(copied, copied / "out")
    assert [log.path.name for log in result.logs] == ["000008.mcap"]
    assert result.logs[0].packets == 2
    (error,) = result.errors
    assert str(path) in error


@pytest.mark.parametrize("column", [1, 2, 12])
def test_a_label_with_a_number_that_is_none(tmp_path, column):
    words = ["Car", *map(str, (0, 0, 1, 10, 20, 30, 40, 1, 1, 4, 1, 1, 20, 0))]
    words[column] = "nan"
    (tmp_path / "l.txt").write_text(" ".join(words))
    with pytest.raises(LogError, match=r"l\.txt:1: numbers that are not finite"):
        list(kitti_object.read_labels(tmp_path / "l.txt"))


def test_what_is_labelled_has_its_middle_in_the_image(original):
    """Even what is cut off by 0.88; and what stands beside the image or behind the camera has not."""
    labelled = 0
    for frame in kitti_object.frames(original):
        camera = frame.rig.cameras["camera"]
        boxes = [
            kitti_object.ego_box(label, frame.T_reference_ego)
            for label in frame.labels
            if label.type != "DontCare"
        ]
        assert all(kitti_object.has_its_middle_in(box, camera) for box in boxes)
        labelled += len(boxes)
        for x, y in ((10.0, 10.0), (10.0, -10.0), (-10.0, 0.0)):
            assert not kitti_object.has_its_middle_in(np.array([x, y, 0.8, 4, 2, 1.5, 0.0]), camera)
    assert labelled > 50
