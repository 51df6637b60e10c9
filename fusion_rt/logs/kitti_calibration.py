"""KITTI's calibration files as a rig.

The ego frame has its origin on the ground below the lidar, which KITTI mounted 1.73 m above the road.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fusion_rt.errors import LogError, RigError
from fusion_rt.rig import Camera, Gnss, Imu, Lidar, Pose, Rig
from fusion_rt.transforms import Array, from_rotation_translation, inverse

LIDAR_HEIGHT_M = 1.73
T_EGO_LIDAR = from_rotation_translation(np.eye(3), np.array([0.0, 0.0, LIDAR_HEIGHT_M]))


def read_values(path: Path) -> dict[str, Array]:
    """ "KEY: numbers" lines, in the tracking files partly without the colon; lines whose value is not numbers
    (a date) are left out. Raises LogError."""
    values = {}
    for line in _text(path).splitlines():
        key, *words = line.split() or [""]
        try:
            numbers = np.array(words, dtype=np.float64)
        except ValueError:
            continue
        if numbers.size:
            values[key.rstrip(":")] = numbers
    return values


def object_rig(path: Path, width: int, height: int) -> Rig:
    """A rig with camera (image_2), lidar and, where the file has it, GNSS/IMU, from an object or tracking
    calib file and the image's size. Raises LogError when a line is missing or wrong."""
    values = read_values(path)
    P2 = _matrix(path, values, ("P2",), (3, 4))
    T_lidar_imu = None
    if "Tr_imu_to_velo" in values or "Tr_imu_velo" in values:
        T_lidar_imu = _rigid(_matrix(path, values, ("Tr_imu_to_velo", "Tr_imu_velo"), (3, 4)))
    return _rig(path, P2, _T_reference_lidar(path, values), T_lidar_imu, width, height)


def object_reference(path: Path) -> Array:
    """T_reference_ego (4, 4) of an object or tracking calib file: labels are given in the rectified frame of
    camera 0, which stands 6 cm beside camera 2, whose images we use. Raises LogError."""
    return _T_reference_lidar(path, read_values(path)) @ inverse(T_EGO_LIDAR)


def raw_rig(folder: Path, width: int, height: int) -> Rig:
    """The rig of a raw day: calib_cam_to_cam.txt, calib_velo_to_cam.txt and, if there, calib_imu_to_velo.txt.

    Raises LogError when a file or a line is missing or wrong."""
    cam, velo = folder / "calib_cam_to_cam.txt", folder / "calib_velo_to_cam.txt"
    values = read_values(cam)
    P2 = _matrix(cam, values, ("P_rect_02",), (3, 4))
    T_rect_cam0 = from_rotation_translation(_matrix(cam, values, ("R_rect_00",), (3, 3)), np.zeros(3))
    T_cam0_lidar = _raw_rigid(velo)
    imu = folder / "calib_imu_to_velo.txt"
    T_lidar_imu = _raw_rigid(imu) if imu.is_file() else None
    return _rig(cam, P2, T_rect_cam0 @ T_cam0_lidar, T_lidar_imu, width, height)


def only(rig: Rig, *, camera: bool, lidar: bool, oxts: bool) -> Rig:
    """The rig without the sensors that have no data here: nobody should wait for them."""
    return Rig(
        cameras=rig.cameras if camera else {},
        lidars=rig.lidars if lidar else {},
        gnss=rig.gnss if oxts else {},
        imus=rig.imus if oxts else {},
    )


def _T_reference_lidar(path: Path, values: dict[str, Array]) -> Array:
    R_rect = _matrix(path, values, ("R0_rect", "R_rect"), (3, 3))
    T_cam0_lidar = _rigid(_matrix(path, values, ("Tr_velo_to_cam", "Tr_velo_cam"), (3, 4)))
    return from_rotation_translation(R_rect, np.zeros(3)) @ T_cam0_lidar


def _rig(
    path: Path, P2: Array, T_rect_lidar: Array, T_lidar_imu: Array | None, width: int, height: int
) -> Rig:
    K = P2[:, :3]
    if abs(np.linalg.det(K)) < 1e-9:
        raise LogError(
            f"{path}: the left 3 x 3 of the projection of camera 2 is singular, not a camera matrix"
        )
    # P2 = K [I | t]: the left colour camera stands t beside the reference camera.
    T_camera_rect = from_rotation_translation(np.eye(3), np.linalg.solve(K, P2[:, 3]))
    T_camera_ego = T_camera_rect @ T_rect_lidar @ inverse(T_EGO_LIDAR)
    rows = tuple(tuple(float(v) for v in row) for row in K)
    camera = Camera(width=width, height=height, K=rows, pose=Pose.from_matrix(inverse(T_camera_ego)))
    imus, gnss = {}, {}
    if T_lidar_imu is not None:
        T_ego_imu = T_EGO_LIDAR @ T_lidar_imu
        imus["imu"] = Imu(pose=Pose.from_matrix(T_ego_imu))
        x, y, z = (float(v) for v in T_ego_imu[:3, 3])
        gnss["gnss"] = Gnss(lever_arm=(x, y, z))  # oxts positions are those of the IMU
    rig = Rig(
        cameras={"camera": camera},
        lidars={"lidar": Lidar(pose=Pose.from_matrix(T_EGO_LIDAR))},
        gnss=gnss,
        imus=imus,
    )
    try:
        rig.check(str(path))
    except RigError as error:
        raise LogError(str(error)) from error
    return rig


def _matrix(path: Path, values: dict[str, Array], names: tuple[str, ...], shape: tuple[int, int]) -> Array:
    for name in names:
        if name in values:
            if values[name].size != shape[0] * shape[1]:
                raise LogError(
                    f"{path}: {name} has {values[name].size} numbers, expected {shape[0] * shape[1]}"
                )
            if not np.isfinite(values[name]).all():
                raise LogError(f"{path}: {name} holds numbers that are not finite")
            return values[name].reshape(shape)
    raise LogError(f"{path}: no line {' or '.join(names)}; is the calibration complete?")


def _rigid(matrix: Array) -> Array:
    return from_rotation_translation(matrix[:, :3], matrix[:, 3])


def _raw_rigid(path: Path) -> Array:
    values = read_values(path)
    R, T = _matrix(path, values, ("R",), (3, 3)), _matrix(path, values, ("T",), (3, 1))
    return from_rotation_translation(R, T[:, 0])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LogError(f"{path}: calibration cannot be read: {error}") from error
