"""A log as folders in KITTI's layouts: raw ("synced") or object frames. One camera and one lidar each.

KITTI's images are rectified: where the camera has a distortion, it is taken out of them."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from fusion_rt.errors import LogError
from fusion_rt.images import camera_pixels
from fusion_rt.logs.kitti_layout import calibration, object_calibration, write_stamps
from fusion_rt.messages import Image, Packet, PointCloud
from fusion_rt.rig import Camera, Rig
from fusion_rt.transforms import Array

PAIRED_NS = 50_000_000  # an object frame's image is at most so far from its sweep


def one_of_each(rig: Rig, camera: str | None, lidar: str | None) -> Rig:
    """The rig with these alone. Raises LogError where there are several and none is named."""
    chosen = {}
    for kind, name, sensors in (("camera", camera, rig.cameras), ("lidar", lidar, rig.lidars)):
        if name is not None and name not in sensors:
            raise LogError(f"no {kind} {name!r}; the rig has: {', '.join(sensors) or 'none'}")
        if name is None and len(sensors) > 1:
            raise LogError(
                f"KITTI's layouts hold one {kind}, the rig has {', '.join(sensors)}; say --{kind} NAME"
            )
        chosen[kind] = name or next(iter(sensors), None)
    return Rig(
        cameras={k: v for k, v in rig.cameras.items() if k == chosen["camera"]},
        lidars={k: v for k, v in rig.lidars.items() if k == chosen["lidar"]},
    )


class KittiWriter:
    """Writes each image and sweep of a rig with one of each; a context manager. Raises LogError.

    layout "raw": image_02/, velodyne_points/ with their own time stamps, so that nothing is left out;
    "object": a frame a sweep, with the newest image, which comes not more than 50 ms before or after."""

    def __init__(self, path: str | Path, rig: Rig, *, layout: str) -> None:
        self.path, self._rig, self._layout = Path(path), rig, layout
        self._camera = next(iter(rig.cameras.values()), None)
        self._stamps: dict[str, list[int]] = {"image_02": [], "velodyne_points": []}
        self._image: Image | None = None
        self._sweep: PointCloud | None = None
        self._frames = 0
        self.alone = 0  # sweeps without an image of their time, left out of the object layout
        if self.path.exists() and any(self.path.iterdir() if self.path.is_dir() else [self.path]):
            raise LogError(f"{path}: is there already; nothing is overwritten")
        _make(self.path)

    def write(self, packet: Packet) -> bool:
        """False for what the layout has no place for."""
        sensor = packet.header.sensor_id
        if sensor not in self._rig.modalities() or not isinstance(packet, (Image, PointCloud)):
            return False
        if self._layout == "object":
            self._pair(packet)
            return True
        if isinstance(packet, Image):
            _write(self._next("image_02", packet.header.stamp_ns, ".png"), self._png(packet))
        else:
            _write(self._next("velodyne_points", packet.header.stamp_ns, ".bin"), _points(packet))
        return True

    def __enter__(self) -> KittiWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            return
        if self._layout == "object":
            self._flush()
            return
        first = min((stamps[0] for stamps in self._stamps.values() if stamps), default=0)
        day = datetime.fromtimestamp(first // 10**9, timezone.utc)
        for name, text in calibration(_rectified(self._rig), day).items():
            _write(self.path / name, text.encode())
        for sensor, stamps in self._stamps.items():
            if stamps:
                write_stamps(self.path / sensor / "timestamps.txt", stamps)

    def _pair(self, packet: Image | PointCloud) -> None:
        """A sweep waits for the image behind it, which may be nearer than the one before."""
        if isinstance(packet, Image):
            waiting = self._sweep
            if waiting is not None and not self._near(self._image, waiting):
                self._image = packet
                self._flush()
            self._image = packet
            return
        self._flush()
        self._sweep = packet
        if self._near(self._image, packet) or self._camera is None:
            self._flush()

    def _flush(self) -> None:
        sweep, self._sweep = self._sweep, None
        if sweep is None:
            return
        near = self._near(self._image, sweep)
        if self._camera is not None and not near:
            self.alone += 1
            return
        name = f"{self._frames:06d}"
        self._frames += 1
        if near and self._image is not None:
            _write(self.path / "training" / "image_2" / f"{name}.png", self._png(self._image))
        _write(self.path / "training" / "velodyne" / f"{name}.bin", _points(sweep))
        text = object_calibration(_rectified(self._rig))
        _write(self.path / "training" / "calib" / f"{name}.txt", text.encode())

    @staticmethod
    def _near(image: Image | None, sweep: PointCloud) -> bool:
        return image is not None and abs(image.header.stamp_ns - sweep.header.stamp_ns) <= PAIRED_NS

    def _next(self, sensor: str, stamp_ns: int, suffix: str) -> Path:
        self._stamps[sensor].append(stamp_ns)
        return self.path / sensor / "data" / f"{len(self._stamps[sensor]) - 1:010d}{suffix}"

    def _png(self, image: Image) -> bytes:
        assert self._camera is not None  # of this rig, or it would not have come here
        if image.encoding == "png" and not any(self._camera.distortion):
            return image.data.tobytes()
        pixels = camera_pixels(image, self._camera)
        if image.encoding == "rgb8":
            pixels = np.ascontiguousarray(pixels[:, :, ::-1])
        png = cv2.imencode(".png", _undistorted(pixels, self._camera))[1]
        return bytes(png.tobytes())


def _undistorted(pixels: Array, camera: Camera) -> Array:
    if not any(camera.distortion):
        return pixels
    K = camera.intrinsics
    K[:2, 2] -= 0.5  # OpenCV's pixels have their centres at whole numbers
    return cv2.undistort(pixels, K, np.array(camera.distortion))


def _rectified(rig: Rig) -> Rig:
    cameras = {
        name: Camera(width=c.width, height=c.height, K=c.K, pose=c.pose) for name, c in rig.cameras.items()
    }
    return Rig(cameras=cameras, lidars=rig.lidars)


def _points(packet: PointCloud) -> bytes:
    return np.column_stack([packet.xyz, packet.intensity]).astype("<f4").tobytes()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LogError(f"{folder}: the folder cannot be made: {error.strerror}") from error


def _write(path: Path, data: bytes) -> None:
    _make(path.parent)
    try:
        path.write_bytes(data)
    except OSError as error:
        raise LogError(f"{path}: cannot be written: {error.strerror}") from error
