"""The tables of nuScenes (www.nuscenes.org, "data format"), as far as an import needs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
from msgspec import Struct

from fusion_rt.errors import LogError
from fusion_rt.messages import Vec3, Vec4
from fusion_rt.transforms import Array, from_rotation_translation, matrix_from_quaternion


class Scene(Struct):
    token: str
    name: str
    log_token: str


class Sample(Struct):
    token: str
    scene_token: str
    timestamp: int  # us


class Data(Struct):
    sample_token: str
    ego_pose_token: str
    calibrated_sensor_token: str
    timestamp: int  # us
    is_key_frame: bool
    filename: str
    width: int
    height: int


class Calibration(Struct):
    token: str
    sensor_token: str
    translation: Vec3
    rotation: Vec4  # w first
    camera_intrinsic: list[list[float]]


class Sensor(Struct):
    token: str
    channel: str
    modality: str


class EgoPose(Struct):
    token: str
    translation: Vec3
    rotation: Vec4


class Log(Struct):
    token: str
    location: str


class Annotation(Struct):
    """A box in the map: translation of its centre, size as width, length, height."""

    sample_token: str
    instance_token: str
    attribute_tokens: list[str]
    translation: Vec3
    size: Vec3
    rotation: Vec4
    num_lidar_pts: int


class Instance(Struct):
    token: str
    category_token: str


class Named(Struct):
    """A category or an attribute."""

    token: str
    name: str


Row = TypeVar("Row", bound=Struct)
T = TypeVar("T")


class Tables:
    """The tables of one version. Raises LogError where one is missing or another than expected."""

    def __init__(self, folder: str | Path, version: str | None = None) -> None:
        self.folder = Path(folder)
        found = sorted(p.parent.name for p in self.folder.glob("*/sample_data.json"))
        if version is None and len(found) != 1:
            several = f"several versions; say --version with one of {', '.join(found)}"
            raise LogError(
                f"{folder}: {several if found else 'no tables such as v1.0-mini/sample_data.json'}"
            )
        self.version = version or found[0]
        self.scenes = {scene.name: scene for scene in self._table("scene", Scene)}

    def choose(self, names: Sequence[str]) -> list[str]:
        """These scenes, or all. Raises LogError where one is not there."""
        for name in names:
            if name not in self.scenes:
                raise LogError(
                    f"{self.folder}: no scene {name!r}; there are: {', '.join(sorted(self.scenes))}"
                )
        return list(names) or sorted(self.scenes)

    @cached_property
    def samples(self) -> dict[str, Sample]:
        return {row.token: row for row in self._table("sample", Sample)}

    @cached_property
    def data(self) -> dict[str, list[Data]]:
        """Scene -> all its files, key frames and what lies between."""
        found: dict[str, list[Data]] = {}
        for data in self._table("sample_data", Data):
            sample = self.row(self.samples, data.sample_token, "sample")
            found.setdefault(sample.scene_token, []).append(data)
        return found

    @cached_property
    def calibrations(self) -> dict[str, Calibration]:
        return {row.token: row for row in self._table("calibrated_sensor", Calibration)}

    @cached_property
    def sensors(self) -> dict[str, Sensor]:
        return {row.token: row for row in self._table("sensor", Sensor)}

    @cached_property
    def poses(self) -> dict[str, EgoPose]:
        return {row.token: row for row in self._table("ego_pose", EgoPose)}

    @cached_property
    def locations(self) -> dict[str, str]:
        return {row.token: row.location for row in self._table("log", Log)}

    @cached_property
    def annotations(self) -> dict[str, list[Annotation]]:
        """Scene -> its boxes. Empty where the version has none, as that of the test set."""
        found: dict[str, list[Annotation]] = {}
        if (self.folder / self.version / "sample_annotation.json").is_file():
            for box in self._table("sample_annotation", Annotation):
                sample = self.row(self.samples, box.sample_token, "sample")
                found.setdefault(sample.scene_token, []).append(box)
        return found

    @cached_property
    def categories(self) -> dict[str, str]:
        """Instance -> its category, such as vehicle.car."""
        names = {row.token: row.name for row in self._table("category", Named)}
        return {
            row.token: self.row(names, row.category_token, "category")
            for row in self._table("instance", Instance)
        }

    @cached_property
    def attributes(self) -> dict[str, str]:
        return {row.token: row.name for row in self._table("attribute", Named)}

    def channel(self, data: Data) -> str:
        """LIDAR_TOP, CAM_FRONT, ..."""
        calibration = self.row(self.calibrations, data.calibrated_sensor_token, "calibrated_sensor")
        return self.row(self.sensors, calibration.sensor_token, "sensor").channel

    def row(self, table: Mapping[str, T], token: str, name: str) -> T:
        """Raises LogError where the table has no such row."""
        if token not in table:
            raise LogError(
                f"{self.folder / self.version}: {name}.json has no row {token!r}; is the data set complete?"
            )
        return table[token]

    def _table(self, name: str, row: type[Row]) -> list[Row]:
        path = self.folder / self.version / f"{name}.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=list[row])  # type: ignore[valid-type]
        except OSError as error:
            raise LogError(f"{path}: cannot be read: {error.strerror}; is the data set complete?") from error
        except msgspec.DecodeError as error:
            raise LogError(f"{path}: not a table of nuScenes: {error}") from error


def matrix(row: Calibration | EgoPose | Annotation) -> Array:
    """T_ego_sensor, T_map_ego or T_map_box, (4, 4)."""
    w, x, y, z = row.rotation
    return from_rotation_translation(matrix_from_quaternion((x, y, z, w)), np.array(row.translation))
