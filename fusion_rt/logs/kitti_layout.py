"""KITTI's raw layout on disk, for what writes it: calibration files and time stamps."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from fusion_rt.rig import Rig
from fusion_rt.transforms import Array, inverse


def calibration(rig: Rig, day: datetime) -> dict[str, str]:
    """The calibration files by name. Camera 0, the reference of KITTI's calibration, is camera 2 here."""
    time = f"calib_time: {day:%d-%b-%Y %H:%M:%S}\n"
    files = {}
    T_ego_lidar = next(iter(rig.lidars.values())).T_ego_lidar if rig.lidars else np.eye(4)
    for camera in rig.cameras.values():
        K, size = camera.intrinsics, np.array([camera.width, camera.height])
        lines = [time, "corner_dist: 9.950000e-02\n"]
        for number in ("00", "02"):
            lines += [
                _line(f"S_{number}", size),
                _line(f"K_{number}", K),
                _line(f"D_{number}", np.array(camera.distortion)),
                _line(f"R_{number}", np.eye(3)),
                _line(f"T_{number}", np.zeros(3)),
                _line(f"S_rect_{number}", size),
                _line(f"R_rect_{number}", np.eye(3)),
                _line(f"P_rect_{number}", np.column_stack([K, np.zeros(3)])),
            ]
        files["calib_cam_to_cam.txt"] = "".join(lines)
        T_camera_lidar = camera.T_camera_ego @ T_ego_lidar
        extra = _line("delta_f", np.zeros(2)) + _line("delta_c", np.zeros(2))
        files["calib_velo_to_cam.txt"] = time + _rigid(T_camera_lidar) + extra
    for unit in rig.imus.values():
        files["calib_imu_to_velo.txt"] = time + _rigid(inverse(T_ego_lidar) @ unit.T_ego_imu)
    return files


def _rigid(T: Array) -> str:
    return _line("R", T[:3, :3]) + _line("T", T[:3, 3])


def _line(name: str, numbers: Array) -> str:
    return f"{name}: " + " ".join(f"{v:.12e}" for v in numbers.reshape(-1)) + "\n"


def write_stamps(path: Path, stamps_ns: list[int]) -> None:
    """One a line, as 2011-09-26 13:02:25.964389445."""
    lines = []
    for stamp_ns in stamps_ns:
        seconds, fraction = divmod(stamp_ns, 10**9)
        lines.append(f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d %H:%M:%S}.{fraction:09d}\n")
    path.write_text("".join(lines))


def object_calibration(rig: Rig) -> str:
    """calib/NNNNNN.txt of the object layout; all four cameras are the rig's one."""
    lines = []
    T_ego_lidar = next(iter(rig.lidars.values())).T_ego_lidar if rig.lidars else np.eye(4)
    camera = next(iter(rig.cameras.values()), None)
    P = np.eye(3, 4) if camera is None else np.column_stack([camera.intrinsics, np.zeros(3)])
    T = T_ego_lidar if camera is None else camera.T_camera_ego @ T_ego_lidar
    lines += [_line(f"P{k}", P) for k in range(4)]
    lines += [
        _line("R0_rect", np.eye(3)),
        _line("Tr_velo_to_cam", T[:3]),
        _line("Tr_imu_to_velo", np.eye(3, 4)),
    ]
    return "".join(lines)
