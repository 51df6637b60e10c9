import numpy as np
import pytest

from fusion_rt.errors import ConfigError, RigError
from fusion_rt.rig import Camera, Imu, Lidar, Pose, Rig, Vehicle
from fusion_rt.transforms import from_translation_rpy, transform_points

FORWARD = Pose(translation=(0.3, 0.0, 1.6), rpy_deg=(-90.0, 0.0, -90.0))


def a_rig(width: int = 1242) -> Rig:
    camera = Camera(
        width=width, height=375, K=((721.5, 0, 609.6), (0, 721.5, 172.9), (0, 0, 1)), pose=FORWARD
    )
    lidar = Lidar(pose=Pose(translation=(0, 0, 1.73)))
    return Rig(cameras={"camera": camera}, lidars={"lidar": lidar}, imus={"imu": Imu()})


def test_yaml_round_trip():
    rig = a_rig()
    assert Rig.from_yaml(rig.to_yaml()) == rig


def test_forward_camera_sees_a_point_ahead_in_its_middle():
    camera = a_rig().cameras["camera"]
    x, y, z = transform_points(camera.T_camera_ego, np.array([[10.3, 1.0, 1.1]]))[0]
    np.testing.assert_allclose((x, y, z), (-1.0, 0.5, 10.0), atol=1e-12)


def test_pose_from_matrix_is_exact():
    T = from_translation_rpy((1.0, -2.0, 0.5), (0.3, -0.2, 2.5))
    np.testing.assert_allclose(Pose.from_matrix(T).matrix, T, atol=1e-12)


def test_a_footprint_covers_what_stands_in_it():
    us = Vehicle(front_m=3.0, rear_m=1.0, width_m=2.0)
    middles = np.array([[0.0, 0, 0.8], [2.9, 0.9, 0.8], [3.1, 0, 0.8], [-1.1, 0, 0.8], [1, -1.1, 0.8]])
    assert us.covers(middles).tolist() == [True, True, False, False, False]
    assert not Vehicle(front_m=0, rear_m=0, width_m=0).covers(middles).any()  # on a pole


def test_modalities():
    assert a_rig().modalities() == {"camera": "camera", "lidar": "lidar", "imu": "imu"}


@pytest.mark.parametrize(
    ("rig", "says"),
    [
        (a_rig(width=500), "another resolution"),
        (Rig(lidars={"a": Lidar(pose=Pose())}, imus={"a": Imu()}), "unique"),
    ],
)
def test_a_wrong_rig_is_refused(rig, says):
    with pytest.raises(RigError, match=says):
        rig.check("rig.yaml")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("camras: {}", r"rig.yaml: camras: unknown key, did you mean 'cameras'\? allowed here: .*lidars"),
        ("lidars: {top: {pose: {tranlation: [1, 2, 3]}}}", r"lidars\.top\.pose\.tranlation: unknown key"),
        ("lidars: {top: {pose: {translation: [1, 2]}}}", r"lidars\.top\.pose\.translation: .*length 3"),
        ("lidars: [", "not YAML"),
        ("[]", "Expected `object`"),
    ],
)
def test_wrong_yaml_says_where_and_what(text, says):
    with pytest.raises(ConfigError, match=says):
        Rig.from_yaml(text, "rig.yaml")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read"):
        Rig.load(tmp_path / "absent.yaml")
