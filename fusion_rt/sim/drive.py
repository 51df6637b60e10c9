"""A simulated drive: every packet of a rig's sensors along a path, with the truth beside it.

fusion-rt sim drive configs/sim/bundled.yaml --seed 7 -o drive.mcap --truth truth.jsonl
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TypeVar

import cv2
import msgspec
import numpy as np

from fusion_rt.errors import ConfigError
from fusion_rt.logs.truth import TruthFrame, TruthObject
from fusion_rt.messages import GnssFix, Header, Image, ImuSample, Packet, PointCloud, WheelSpeed, complete_ns
from fusion_rt.rig import Vehicle
from fusion_rt.sim import camera, camera_weather, gnss, imu, lidar, look, wheels
from fusion_rt.sim.drive_config import CameraModel, DriveConfig, LidarModel
from fusion_rt.sim.faults import faulted
from fusion_rt.sim.path import EgoPath
from fusion_rt.sim.world import Stage, World
from fusion_rt.transforms import Array, from_translation_rpy

T = TypeVar("T")
_TRIES = 1000


class Drive:
    """One drive of a seed. `packets` plays it: `truth` grows by a frame with every sweep, `played` counts
    the packets of each sensor_id."""

    def __init__(self, config: DriveConfig, seed: int) -> None:
        self.config, self.seed, self.rig = config, seed, config.rig
        self.world, self.path = _find_world(config, seed)
        self._stage = Stage(self.world)
        origin = config.origin
        self.local_map = gnss.LocalMap(origin.latitude_deg, origin.longitude_deg, origin.altitude_m)
        self.T_map_world = from_translation_rpy((0, 0, 0), (0, 0, math.radians(origin.heading_deg)))
        self.truth: list[TruthFrame] = []
        self.played: Counter[str] = Counter()

    def ego_pose(self, t_s: float) -> Array:
        """T_map_ego (4, 4), t_s after the start; the map is east, north, up about `config.origin`."""
        T_map_ego: Array = self.T_map_world @ self.path.pose(t_s)
        return T_map_ego

    def packets(self) -> Iterator[Packet]:
        """All packets in the order in which they come: when they are complete, plus their latency and the
        sensors' faults."""
        streams = []
        order = 0  # cameras first: a sweep finds the image of its own moment there
        for name, camera_model in self.config.cameras.items():
            streams.append(_due(self._images(name, camera_model), camera_model.latency_s, order))
            order += 1
        for name, gnss_model in self.config.gnss.items():
            streams.append(_due(self._fixes(name, gnss_model), gnss_model.latency_s, order))
            order += 1
        for name, imu_model in self.config.imus.items():
            streams.append(_due(self._inertial(name, imu_model), imu_model.latency_s, order))
            order += 1
        for name, wheel_model in self.config.wheels.items():
            streams.append(_due(self._rolling(name, wheel_model), wheel_model.latency_s, order))
            order += 1
        for name, lidar_model in self.config.lidars.items():
            streams.append(_due(self._sweeps(name, lidar_model), lidar_model.latency_s, order))
            order += 1
        self.truth.clear()
        self.played.clear()
        sound = (packet for _, _, packet in heapq.merge(*streams, key=lambda item: item[:2]))
        config = self.config
        for packet in faulted(
            sound, config.faults, self.rig.modalities(), seed=self.seed, start_ns=config.start_ns
        ):
            self.played[packet.header.sensor_id] += 1
            yield packet

    def _rng(self, sensor_id: str) -> np.random.Generator:
        """A sensor's own generator: adding a sensor changes no other."""
        return np.random.default_rng([self.seed, *sensor_id.encode()])

    def _times(self, rate_hz: float, first_s: float = 0.0) -> Array:
        return np.arange(first_s, self.config.duration_s - 1e-9, 1.0 / rate_hz)

    def _header(self, name: str, seq: int, t_s: float) -> Header:
        stamp_ns = self.config.start_ns + round(t_s * 1e9)
        return Header(sensor_id=name, frame_id=name, seq=seq, stamp_ns=stamp_ns)

    def _images(self, name: str, model: CameraModel) -> Iterator[Image]:
        rng, mounted = self._rng(name), self.rig.cameras[name]
        sight = look.sample(rng if model.look is None else np.random.default_rng(model.look))
        T_ego_camera = mounted.pose.matrix
        weather, width, height = self.config.weather, mounted.width, mounted.height
        glass, wiped_s = None, -math.inf
        # The first sweep's middle is half a turn after the start.
        for seq, t in enumerate(self._times(model.rate_hz, lidar.SWEEP_S / 2 + model.phase_s)):
            half = model.readout_s / 2
            T = np.stack([self.path.pose(t - half), self.path.pose(t + half)]) @ T_ego_camera
            scene = self._stage.at(t)
            if weather.wet and t - wiped_s >= camera_weather.WIPED_S:
                glass, wiped_s = camera_weather.drops_on_glass(weather, width, height, rng), t
            image, _ = camera.render(
                scene, mounted.intrinsics, width, height, T, sight, rng, weather=weather, glass=glass
            )
            if model.encoding == "jpeg":
                options = [cv2.IMWRITE_JPEG_QUALITY, model.jpeg_quality]
                image = cv2.imencode(".jpg", image, options)[1].reshape(-1)
            yield Image(
                header=self._header(name, seq, float(t)),
                height=height,
                width=width,
                encoding=model.encoding,
                data=image,
            )

    def _sweeps(self, name: str, model: LidarModel) -> Iterator[PointCloud]:
        rng, T_ego_lidar = self._rng(name), self.rig.lidars[name].T_ego_lidar
        weather = self.config.weather
        reflectivity = lidar.face_reflectivity(self.world.mesh_at(0.0), rng, wet=weather.wet)
        pattern = lidar.PATTERNS[model.pattern]
        if model.columns is not None:
            pattern = msgspec.structs.replace(pattern, columns=model.columns)
        low, high = (math.radians(a) for a in model.azimuth_deg)
        middle = lidar.SWEEP_S / 2
        for seq, t in enumerate(self._times(1.0 / lidar.SWEEP_S)):
            start = float(t)
            returns = lidar.sweep(
                _later(self._stage.at, start),
                _later(lambda at: self.path.pose(at) @ T_ego_lidar, start),
                pattern,
                reflectivity,
                rng,
                azimuth_rad=(low, high),
                sectors=model.sectors,
                weather=weather,
            )
            header = self._header(name, seq, start + middle)
            self.truth.append(self._truth(name, header.stamp_ns, start + middle, returns))
            yield PointCloud(
                header=header,
                xyz=_rounded(returns.xyz, model.resolution_m),
                intensity=_rounded(returns.intensity, 1.0 / model.levels),
                t=_rounded(returns.t - np.float32(middle), 2.0**-17),  # 8 us
                ring=returns.ring,
            )

    def _fixes(self, name: str, model: gnss.GnssModel) -> Iterator[GnssFix]:
        arm = np.array(self.rig.gnss[name].lever_arm)

        def antenna_at(t_s: float) -> Array:
            T = self.ego_pose(t_s)
            at: Array = T[:3, :3] @ arm + T[:3, 3]
            return at

        times = self._times(model.rate_hz)
        fixes = gnss.measure(antenna_at, self.local_map, times, model, self._rng(name))
        for seq, (t, fix) in enumerate(zip(times, fixes)):
            east, north, up = (float(v) for v in fix.velocity_enu)
            yield GnssFix(
                header=self._header(name, seq, float(t)),
                latitude_deg=fix.latitude_deg,
                longitude_deg=fix.longitude_deg,
                altitude_m=fix.altitude_m,
                position_covariance=tuple(float(v) for v in fix.covariance.reshape(-1)),
                fix_type=model.fix_type,
                satellites=model.satellites,
                velocity_enu=(east, north, up),
                velocity_std=model.velocity_mps,
            )

    def _inertial(self, name: str, model: imu.ImuModel) -> Iterator[ImuSample]:
        T_ego_imu = self.rig.imus[name].T_ego_imu
        times = self._times(model.rate_hz)
        samples = imu.measure(lambda t: self.ego_pose(t) @ T_ego_imu, times, model, self._rng(name))
        for seq, (t, (force, rate)) in enumerate(zip(times, samples)):
            fx, fy, fz, wx, wy, wz = (float(v) for v in (*force, *rate))
            header = self._header(name, seq, float(t))
            yield ImuSample(header=header, specific_force=(fx, fy, fz), angular_rate=(wx, wy, wz))

    def _rolling(self, name: str, model: wheels.WheelModel) -> Iterator[WheelSpeed]:
        times = self._times(model.rate_hz)
        for seq, (t, speed) in enumerate(
            zip(times, wheels.measure(self.ego_pose, times, model, self._rng(name)))
        ):
            yield WheelSpeed(header=self._header(name, seq, float(t)), speed=speed)

    def _truth(self, name: str, stamp_ns: int, t_s: float, returns: lidar.Returns) -> TruthFrame:
        T_world_ego = self.path.pose(t_s)
        hit = np.bincount(returns.instance[returns.instance >= 0], minlength=len(self.world.actors))
        objects = []
        for i, actor in enumerate(self.world.actors):
            x, y, z, length, width, height, yaw, vx, vy = (
                float(v) for v in self.world.box(i, t_s, T_world_ego)
            )
            if math.hypot(x, y) < 100.0:
                objects.append(
                    TruthObject(
                        track_id=i,
                        label=actor.label,
                        center=(x, y, z),
                        size=(length, width, height),
                        yaw=yaw,
                        velocity=(vx, vy),
                        points=int(hit[i]),
                    )
                )
        vx, vy, vz = (float(v) for v in self.T_map_world[:3, :3] @ self.path.velocity(t_s))
        return TruthFrame(
            stamp_ns=stamp_ns,
            sensor_id=name,
            T_map_ego=tuple(float(v) for v in self.ego_pose(t_s).reshape(-1)),
            velocity=(vx, vy, vz),
            objects=tuple(objects),
        )


def simulate(config: DriveConfig, seed: int) -> Iterator[Packet]:
    """The packets of a drive, in order: the same bits for the same configuration and seed.

    Raises ConfigError: the extra `sim` is missing, or no world of this seed fits `config.world`."""
    return Drive(config, seed).packets()


def _find_world(drive_config: DriveConfig, seed: int) -> tuple[World, EgoPath]:
    """The first world of a seed that fits `drive_config.world`, and a way through it that hits nobody."""
    choice, duration_s = drive_config.world, drive_config.duration_s
    slowest, fastest = choice.speed_mps
    ahead_m = fastest * (duration_s + 2.0) + 110.0
    for attempt in range(_TRIES):
        number = int(np.random.default_rng([seed, attempt]).integers(1 << 62))
        begun = World.begun(number, behind_m=50.0, ahead_m=ahead_m)
        if not slowest <= begun.ego_speed <= fastest or (choice.kinds and begun.kind not in choice.kinds):
            continue
        world = World.built(number, begun)
        if sum(abs(actor.s) < 60.0 for actor in world.actors) < choice.actors:
            continue
        path = EgoPath(world, duration_s=duration_s, surge=choice.surge, sway_m=choice.sway_m)
        if _is_clear(world, path, duration_s, drive_config.rig.vehicle):
            return world, path
    raise ConfigError(
        f"world: {_TRIES} tries from seed {seed} gave no {' or '.join(choice.kinds) or 'street'} with"
        f" {choice.actors} road users, {slowest:g} to {fastest:g} m/s and a free way; ask for less"
    )


def _is_clear(world: World, path: EgoPath, duration_s: float, vehicle: Vehicle) -> bool:
    """Whether nobody comes within half a metre of the ego vehicle, looking four times a second."""
    for t in np.arange(0.0, duration_s, 0.25):
        T_world_ego = path.pose(float(t))
        for i in range(len(world.actors)):
            x, y, _, length, width, _, yaw, _, _ = world.box(i, float(t), T_world_ego)
            c, s = abs(math.cos(yaw)), abs(math.sin(yaw))
            ahead, aside = (c * length + s * width) / 2 + 0.5, (s * length + c * width) / 2 + 0.5
            if -vehicle.rear_m - ahead < x < vehicle.front_m + ahead and abs(y) < vehicle.width_m / 2 + aside:
                return False
    return True


def _due(packets: Iterator[Packet], latency_s: float, order: int) -> Iterator[tuple[int, int, Packet]]:
    """Each packet with the time at which it comes, ns, and who goes first at equal times."""
    late = round(latency_s * 1e9)
    for packet in packets:
        yield complete_ns(packet) + late, order, packet


def _later(at: Callable[[float], T], start_s: float) -> Callable[[float], T]:
    """`at`, with its time counted from start_s."""
    return lambda t_s: at(start_s + t_s)


def _rounded(values: Array, step: float) -> Array:
    """Multiples of a step, or as they are for step 0."""
    if step == 0.0:
        return values
    rounded: Array = np.round(values / np.float32(step)) * np.float32(step)
    return rounded
