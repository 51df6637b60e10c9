"""A simulated drive as a folder in the layout of KITTI's raw data ("synced"), as of Geiger et al. 2013.

    ROOT/2023_11_14/calib_cam_to_cam.txt calib_velo_to_cam.txt calib_imu_to_velo.txt
    ROOT/2023_11_14/2023_11_14_drive_0001_sync/
        image_02/{timestamps.txt, data/0000000000.png, ...}
        velodyne_points/{timestamps.txt, timestamps_start.txt, timestamps_end.txt, data/0000000000.bin, ...}
        oxts/{timestamps.txt, dataformat.txt, data/0000000000.txt, ...}

As in the real ones, points carry no time and are not deskewed, and oxts holds what a GNSS/INS with RTK
made of its measurements: the truth within a few centimetres. Time stamps are UTC.
"""

from __future__ import annotations

import math
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from fusion_rt.errors import ConfigError
from fusion_rt.logs.kitti_layout import calibration, write_stamps
from fusion_rt.messages import Image, Packet, PointCloud
from fusion_rt.sim import imu, lidar
from fusion_rt.transforms import Array, rpy_from_matrix

if TYPE_CHECKING:  # drive.py records through this module
    from fusion_rt.sim.drive import Drive

POSITION_STD_M = 0.02
VELOCITY_STD_MPS = 0.01
ANGLE_STD_RAD = math.radians(0.03)

OXTS_FIELDS = {
    "lat": "latitude of the oxts-unit (deg)",
    "lon": "longitude of the oxts-unit (deg)",
    "alt": "altitude of the oxts-unit (m)",
    "roll": "roll angle (rad), 0 = level, positive = left side up",
    "pitch": "pitch angle (rad), 0 = level, positive = front down",
    "yaw": "heading (rad), 0 = east, positive = counter clockwise",
    "vn": "velocity towards north (m/s)",
    "ve": "velocity towards east (m/s)",
    "vf": "forward velocity, parallel to the earth's surface (m/s)",
    "vl": "leftward velocity, parallel to the earth's surface (m/s)",
    "vu": "upward velocity, perpendicular to the earth's surface (m/s)",
    "ax": "acceleration in x, the direction of the vehicle's front (m/s^2)",
    "ay": "acceleration in y, the direction of the vehicle's left (m/s^2)",
    "az": "acceleration in z, the direction of the vehicle's top (m/s^2)",
    "af": "forward acceleration (m/s^2)",
    "al": "leftward acceleration (m/s^2)",
    "au": "upward acceleration (m/s^2)",
    "wx": "angular rate around x (rad/s)",
    "wy": "angular rate around y (rad/s)",
    "wz": "angular rate around z (rad/s)",
    "wf": "angular rate around the forward axis (rad/s)",
    "wl": "angular rate around the leftward axis (rad/s)",
    "wu": "angular rate around the upward axis (rad/s)",
    "pos_accuracy": "position accuracy (m)",
    "vel_accuracy": "velocity accuracy (m/s)",
    "navstat": "navigation status",
    "numsats": "number of satellites tracked by the primary GPS receiver",
    "posmode": "position mode of the primary GPS receiver",
    "velmode": "velocity mode of the primary GPS receiver",
    "orimode": "orientation mode of the primary GPS receiver",
}


class KittiRawWriter:
    """Writes the packets of one drive. `write` each packet, then `close`.

    Raises ConfigError: the drive has more than one camera, lidar or IMU, or its camera does not keep step
    with its lidar, which this layout cannot hold."""

    def __init__(self, root: str | Path, drive: Drive, *, number: int = 1) -> None:
        self._drive = drive
        rig = drive.rig
        for part, sensors in (("cameras", rig.cameras), ("lidars", rig.lidars), ("imus", rig.imus)):
            if len(sensors) > 1:
                raise ConfigError(f"{part}: KITTI's raw layout holds one, the rig has {', '.join(sensors)}")
        for name, model in drive.config.cameras.items():
            if rig.lidars and (model.rate_hz, model.phase_s) != (1.0 / lidar.SWEEP_S, 0.0):
                raise ConfigError(f"cameras.{name}: KITTI's synced layout needs rate_hz 10 and phase_s 0")
        day = datetime.fromtimestamp(drive.config.start_ns // 10**9, timezone.utc)
        date = f"{day:%Y_%m_%d}"
        self.folder = Path(root) / date / f"{date}_drive_{number:04d}_sync"
        self._rng = np.random.default_rng([drive.seed, *b"oxts"])
        self._stamps: dict[str, list[int]] = {"image_02": [], "velodyne_points": [], "oxts": []}
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, text in calibration(rig, day).items():
            (self.folder.parent / name).write_text(text)

    def write(self, packet: Packet) -> None:
        """Stores an image or a sweep (and with it an oxts record); other packets are passed over."""
        stamp_ns = packet.header.stamp_ns
        if isinstance(packet, Image):
            pixels = packet.data if packet.encoding == "bgr8" else cv2.imdecode(packet.data, cv2.IMREAD_COLOR)
            png = cv2.imencode(".png", np.asarray(pixels))[1].tobytes()
            self._next("image_02", stamp_ns, "png").write_bytes(png)
        elif isinstance(packet, PointCloud):
            points = np.column_stack([packet.xyz, packet.intensity]).astype("<f4")
            self._next("velodyne_points", stamp_ns, "bin").write_bytes(points.tobytes())
            if self._drive.rig.imus:
                record = self._oxts((stamp_ns - self._drive.config.start_ns) * 1e-9)
                text = " ".join(f"{v:d}" if isinstance(v, int) else f"{v:.13g}" for v in record)
                self._next("oxts", stamp_ns, "txt").write_text(text + "\n")

    def close(self) -> None:
        """Writes the time stamps: only now is the folder complete."""
        half_ns = round(lidar.SWEEP_S * 0.5e9)
        for sensor, stamps in self._stamps.items():
            if not stamps:
                continue
            folder = self.folder / sensor
            write_stamps(folder / "timestamps.txt", stamps)
            if sensor == "velodyne_points":
                write_stamps(folder / "timestamps_start.txt", [s - half_ns for s in stamps])
                write_stamps(folder / "timestamps_end.txt", [s + half_ns for s in stamps])
            if sensor == "oxts":
                lines = [f"{name}: {meaning}\n" for name, meaning in OXTS_FIELDS.items()]
                (folder / "dataformat.txt").write_text("".join(lines))

    def _next(self, sensor: str, stamp_ns: int, suffix: str) -> Path:
        folder = self.folder / sensor / "data"
        folder.mkdir(parents=True, exist_ok=True)
        self._stamps[sensor].append(stamp_ns)
        return folder / f"{len(self._stamps[sensor]) - 1:010d}.{suffix}"

    def _oxts(self, t_s: float) -> list[float | int]:
        """The 30 columns at a time."""
        drive, rng = self._drive, self._rng
        T_ego_imu = next(iter(drive.rig.imus.values())).T_ego_imu

        def pose_at(at_s: float) -> Array:
            T_map_imu: Array = drive.ego_pose(at_s) @ T_ego_imu
            return T_map_imu

        T = pose_at(t_s)
        step = 2e-3
        velocity = (pose_at(t_s + step)[:3, 3] - pose_at(t_s - step)[:3, 3]) / (2 * step)
        velocity = velocity + rng.normal(0, VELOCITY_STD_MPS, 3)
        position = T[:3, 3] + rng.normal(0, POSITION_STD_M, 3)
        roll, pitch, yaw = rpy_from_matrix(T[:3, :3]) + rng.normal(0, ANGLE_STD_RAD, 3)
        force, rate = imu.feel(pose_at, t_s)
        force, rate = force + rng.normal(0, 0.02, 3), rate + rng.normal(0, 5e-4, 3)
        # Level axes: forward and left parallel to the ground, up.
        c, s = math.cos(yaw), math.sin(yaw)
        level = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]]) @ T[:3, :3]
        forward, left = c * velocity[0] + s * velocity[1], -s * velocity[0] + c * velocity[1]
        satellites = max((model.satellites for model in drive.config.gnss.values()), default=0)
        numbers = [
            *drive.local_map.geodetic(position), roll, pitch, yaw,
            velocity[1], velocity[0], forward, left, velocity[2],
            *force, *(level @ force), *rate, *(level @ rate),
            POSITION_STD_M, VELOCITY_STD_MPS,
        ]  # fmt: skip
        return [*(float(v) for v in numbers), 4, satellites, 6, 6, 6]
