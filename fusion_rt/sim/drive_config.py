"""What a simulated drive is made of: a world, a rig, and how each sensor is read."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from fusion_rt.errors import ConfigError
from fusion_rt.rig import Rig
from fusion_rt.sim import faults
from fusion_rt.sim.fault_kinds import AnyFault
from fusion_rt.sim.gnss import GnssModel
from fusion_rt.sim.imu import ImuModel
from fusion_rt.sim.lidar import PATTERNS
from fusion_rt.sim.streets import SHARES
from fusion_rt.sim.weather import CLEAR, Weather
from fusion_rt.sim.wheels import WheelModel

Positive = Annotated[float, Meta(gt=0)]


class CameraModel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a camera of the rig is read: `cameras.<sensor_id>`.

    phase_s        its first mid-exposure after the first lidar stamp
    readout_s      from the top row to the bottom one; 0: global shutter
    encoding       "jpeg" or "bgr8"
    look           seed of light and lens; None: drawn from the drive's seed
    """

    rate_hz: Positive = 10.0
    phase_s: float = 0.0
    latency_s: float = 0.0
    readout_s: float = 0.0
    encoding: Literal["jpeg", "bgr8"] = "jpeg"
    jpeg_quality: Annotated[int, Meta(ge=1, le=100)] = 85
    look: int | None = None


class LidarModel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a lidar of the rig turns: `lidars.<sensor_id>`. Ten turns a second.

    A sweep's stamp is its middle, when the beams point forward; `t` runs from -0.05 s to 0.05 s.

    azimuth_deg    the sector that is kept, 0 = forward, left positive
    sectors        pieces of a turn in which the world stands still
    columns        firings a turn; None: the pattern's own
    resolution_m   coordinates are multiples of this; a power of two compresses best. 0: as they are
    levels         intensity is a multiple of 1 / levels
    """

    pattern: str = "HDL-64"
    latency_s: float = 0.0
    azimuth_deg: tuple[float, float] = (-180.0, 180.0)
    sectors: Annotated[int, Meta(ge=1, le=64)] = 8
    columns: Annotated[int, Meta(gt=0)] | None = None
    resolution_m: Annotated[float, Meta(ge=0)] = 0.0
    levels: Annotated[int, Meta(gt=1)] = 256

    def __post_init__(self) -> None:
        if self.pattern not in PATTERNS:
            raise ConfigError(f"pattern {self.pattern!r} is not one of {', '.join(sorted(PATTERNS))}")


class Origin(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the world lies: the map's origin on WGS-84, and where the road leads at first, degrees
    counter-clockwise from east."""

    latitude_deg: float = 49.011
    longitude_deg: float = 8.4137
    altitude_m: float = 115.0
    heading_deg: float = 35.0


class WorldChoice(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which worlds will do; the first that fits is taken, trying from the drive's seed on.

    kinds       kinds of street, as `World.kind`; empty: any
    speed_mps   range of the ego's speed
    actors      fewest road users within 60 m of the start
    surge       share by which the speed swings
    sway_m      amplitude of wandering in the lane
    """

    kinds: tuple[str, ...] = ()
    speed_mps: tuple[float, float] = (4.0, 16.0)
    actors: int = 8
    surge: float = 0.06
    sway_m: float = 0.15

    def __post_init__(self) -> None:
        unknown = set(self.kinds) - set(SHARES)
        if unknown:
            raise ConfigError(f"kinds: {', '.join(sorted(unknown))}: allowed are {', '.join(SHARES)}")


class DriveConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A drive: a world, how long, and the sensors. Every sensor of the rig has a model and no other.

    faults  of sensors, in this order where one has several; the truth's count of points knows none"""

    duration_s: Positive
    rig: Rig
    start_ns: int = 1_700_000_000_000_000_000
    origin: Origin = Origin()
    world: WorldChoice = WorldChoice()
    weather: Weather = CLEAR
    cameras: dict[str, CameraModel] = {}
    lidars: dict[str, LidarModel] = {}
    gnss: dict[str, GnssModel] = {}
    imus: dict[str, ImuModel] = {}
    wheels: dict[str, WheelModel] = {}
    faults: tuple[AnyFault, ...] = ()

    def __post_init__(self) -> None:
        for part in ("cameras", "lidars", "gnss", "imus", "wheels"):
            models, sensors = set(getattr(self, part)), set(getattr(self.rig, part))
            if models != sensors:
                raise ConfigError(
                    f"{part}: the rig has {sorted(sensors) or 'none'},"
                    f" models are given for {sorted(models) or 'none'}"
                )
        for name, each in self.rig.cameras.items():
            if any(each.distortion):
                raise ConfigError(
                    f"rig.cameras.{name}.distortion: simulated cameras are pinholes; leave it out"
                )
        faults.check(self.faults, self.rig.modalities())
