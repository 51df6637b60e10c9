"""What can be wrong with a sensor: for each kind of fault its settings, and what it makes of a packet."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, TypeAlias

import cv2
import numpy as np
from msgspec import Meta, Struct
from msgspec.structs import replace

from fusion_rt.ego.geodesy import LocalMap
from fusion_rt.errors import ConfigError, MessageError
from fusion_rt.images import decode_image
from fusion_rt.messages import GnssFix, Image, Packet, PointCloud, Vec2, Vec3
from fusion_rt.transforms import Array

Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, Meta(gt=0.0)]
Change: TypeAlias = Callable[[Any], "Packet | None"]  # None: the packet is lost

RING_RAD = math.radians(0.4)  # rings are told apart by so much where a sweep does not number them
DIRT_BGR = (38, 48, 58)
_EVERY = ("camera", "lidar", "gnss", "imu", "wheels")


class Fault(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all have: the sensor, and when: seconds after the start, `to_s` not included.

    MODALITIES  of the sensors that can have it"""

    MODALITIES: ClassVar[tuple[str, ...]] = _EVERY
    sensor: str
    from_s: float = 0.0
    to_s: float = math.inf

    def __post_init__(self) -> None:
        if not self.from_s < self.to_s:
            raise ConfigError(
                f"from_s {self.from_s:g} is not before to_s {self.to_s:g}: nothing would happen"
            )

    @property
    def late_s(self) -> float:
        """How much later its packets are delivered."""
        return 0.0

    def begin(self, rng: np.random.Generator) -> Change:
        """What is done to each packet of the sensor in that time; what is random about it comes of rng."""
        return lambda packet: packet


class Silent(Fault, frozen=True, kw_only=True, tag="silent"):
    """Nothing comes."""

    def begin(self, rng: np.random.Generator) -> Change:
        return lambda packet: None


class Late(Fault, frozen=True, kw_only=True, tag="late"):
    """Packets come delay_s later than they did, with the stamps that they had."""

    delay_s: Positive

    @property
    def late_s(self) -> float:
        return self.delay_s


class ClockOffset(Fault, frozen=True, kw_only=True, tag="clock_offset"):
    """Stamps are offset_s ahead of what they should be; packets come when they did."""

    offset_s: float

    def begin(self, rng: np.random.Generator) -> Change:
        ahead_ns = round(self.offset_s * 1e9)

        def change(packet: Packet) -> Packet:
            header = replace(packet.header, stamp_ns=packet.header.stamp_ns + ahead_ns)
            return replace(packet, header=header)

        return change


class LostSector(Fault, frozen=True, kw_only=True, tag="lost_sector"):
    """No points from one azimuth to the other, degrees counter-clockwise from forward: something covers the
    lidar there. A sector through the back is [150, 210]."""

    MODALITIES: ClassVar[tuple[str, ...]] = ("lidar",)
    azimuth_deg: Vec2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.azimuth_deg[1] - self.azimuth_deg[0] <= 360:
            raise ConfigError(
                f"azimuth_deg {list(self.azimuth_deg)} is no sector: give the right edge, then the left one"
            )

    def begin(self, rng: np.random.Generator) -> Change:
        right, left = self.azimuth_deg

        def change(cloud: PointCloud) -> PointCloud:
            azimuth = np.degrees(np.arctan2(cloud.xyz[:, 1], cloud.xyz[:, 0]))
            return _of(cloud, np.mod(azimuth - right, 360.0) > left - right)

        return change


class LostRings(Fault, frozen=True, kw_only=True, tag="lost_rings"):
    """Lasers that are dead: each with this probability, the same ones all the time."""

    MODALITIES: ClassVar[tuple[str, ...]] = ("lidar",)
    share: Share

    def begin(self, rng: np.random.Generator) -> Change:
        dead = rng.random(1 << 16) < self.share
        return lambda cloud: _of(cloud, ~dead[rings(cloud)])


class Noisy(Fault, frozen=True, kw_only=True, tag="noisy"):
    """Ranges with noise of one standard deviation range_m."""

    MODALITIES: ClassVar[tuple[str, ...]] = ("lidar",)
    range_m: Positive

    def begin(self, rng: np.random.Generator) -> Change:
        def change(cloud: PointCloud) -> PointCloud:
            distance = np.maximum(np.linalg.norm(cloud.xyz, axis=1), np.float32(0.1))
            stretch = 1.0 + rng.normal(0.0, self.range_m, len(distance)) / distance
            return replace(cloud, xyz=(cloud.xyz * stretch[:, None]).astype(np.float32))

        return change


class Frozen(Fault, frozen=True, kw_only=True, tag="frozen"):
    """The first image of that time again and again, with new stamps."""

    MODALITIES: ClassVar[tuple[str, ...]] = ("camera",)

    def begin(self, rng: np.random.Generator) -> Change:
        first: list[Image] = []

        def change(image: Image) -> Image:
            first.append(image)
            del first[1:]
            return replace(first[0], header=image.header)

        return change


class Dirty(Fault, frozen=True, kw_only=True, tag="dirty"):
    """Mud on the lens: blots out of focus, in the same places all the time, that hide this share of the
    image."""

    MODALITIES: ClassVar[tuple[str, ...]] = ("camera",)
    share: Share = 0.3

    def begin(self, rng: np.random.Generator) -> Change:
        blots: list[Array] = []

        def paint(pixels: Array) -> Array:
            if not blots:
                blots.append(_blots(pixels.shape[0], pixels.shape[1], self.share, rng))
            return soiled(pixels, blots[0])

        return lambda image: repainted(image, paint)


class Dark(Fault, frozen=True, kw_only=True, tag="dark"):
    """Exposed so shortly that this share of the brightness is left."""

    MODALITIES: ClassVar[tuple[str, ...]] = ("camera",)
    left: Share = 0.1

    def begin(self, rng: np.random.Generator) -> Change:
        return lambda image: repainted(image, lambda pixels: brightened(pixels, self.left))


class Overexposed(Fault, frozen=True, kw_only=True, tag="overexposed"):
    """Brighter by a factor: most is white."""

    MODALITIES: ClassVar[tuple[str, ...]] = ("camera",)
    factor: Annotated[float, Meta(ge=1.0)] = 5.0

    def begin(self, rng: np.random.Generator) -> Change:
        return lambda image: repainted(image, lambda pixels: brightened(pixels, self.factor))


class Corrupt(Fault, frozen=True, kw_only=True, tag="corrupt"):
    """Bytes that decode as no image."""

    MODALITIES: ClassVar[tuple[str, ...]] = ("camera",)

    def begin(self, rng: np.random.Generator) -> Change:
        def change(image: Image) -> Image:
            noise = np.frombuffer(rng.bytes(1024), np.uint8)
            return replace(image, encoding="jpeg", data=noise)

        return change


class Jump(Fault, frozen=True, kw_only=True, tag="jump"):
    """Positions off by so many metres east and north, by reflected signals; the receiver does not know."""

    MODALITIES: ClassVar[tuple[str, ...]] = ("gnss",)
    offset_m: Vec2

    def begin(self, rng: np.random.Generator) -> Change:
        def change(fix: GnssFix) -> GnssFix:
            here = LocalMap(fix.latitude_deg, fix.longitude_deg, fix.altitude_m)
            latitude, longitude, _ = here.to_geodetic(np.array([*self.offset_m, 0.0]))
            return replace(fix, latitude_deg=float(latitude), longitude_deg=float(longitude))

        return change


class Bias(Fault, frozen=True, kw_only=True, tag="bias"):
    """What the IMU measures too much along its axes: m/s^2 and rad/s."""

    MODALITIES: ClassVar[tuple[str, ...]] = ("imu",)
    specific_force: Vec3 = (0.0, 0.0, 0.0)
    angular_rate: Vec3 = (0.0, 0.0, 0.0)

    def begin(self, rng: np.random.Generator) -> Change:
        return lambda sample: replace(
            sample,
            specific_force=_sum(sample.specific_force, self.specific_force),
            angular_rate=_sum(sample.angular_rate, self.angular_rate),
        )


AnyFault: TypeAlias = (
    Silent
    | Late
    | ClockOffset
    | LostSector
    | LostRings
    | Noisy
    | Frozen
    | Dirty
    | Dark
    | Overexposed
    | Corrupt
    | Jump
    | Bias
)


def rings(cloud: PointCloud) -> Array:
    """(N,) the laser of each point; where the sweep does not say, by steps of elevation."""
    if cloud.ring.any():
        return cloud.ring
    level = np.hypot(cloud.xyz[:, 0], cloud.xyz[:, 1])
    steps: Array = np.floor((np.arctan2(cloud.xyz[:, 2], level) + np.pi) / RING_RAD)
    return np.nan_to_num(steps).astype(np.uint16)


def brightened(pixels: Array, factor: float) -> Array:
    """(h, w, 3) uint8 times a factor, cut off at white."""
    return cv2.convertScaleAbs(pixels, alpha=factor)


def soiled(pixels: Array, blots: Array) -> Array:
    """(h, w, 3) uint8 BGR behind dirt, (h, w) float32, 0..1."""
    dirt = np.array(DIRT_BGR, np.float32)
    mixed: Array = pixels + blots[:, :, None] * (dirt - pixels)
    return mixed.astype(np.uint8)


def repainted(image: Image, paint: Callable[[Array], Array]) -> Image:
    """The image with other pixels, in its own encoding; one that does not decode stays as it is."""
    try:
        pixels = paint(decode_image(image))
    except MessageError:
        return image
    if image.encoding in ("jpeg", "png"):
        suffix = ".jpg" if image.encoding == "jpeg" else ".png"
        return replace(image, data=cv2.imencode(suffix, pixels)[1].reshape(-1))
    if image.encoding == "mono8":
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    return replace(image, data=pixels)


def _blots(height: int, width: int, share: float, rng: np.random.Generator) -> Array:
    blots = np.zeros((height, width), np.float32)
    while blots.mean() < share:
        at = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.circle(blots, at, max(2, round(width * rng.uniform(0.02, 0.1))), 1.0, thickness=-1)
    return cv2.GaussianBlur(blots, (0, 0), width / 100)


def _of(cloud: PointCloud, kept: Array) -> PointCloud:
    return replace(
        cloud,
        xyz=cloud.xyz[kept],
        intensity=cloud.intensity[kept],
        t=cloud.t[kept],
        ring=cloud.ring[kept],
    )


def _sum(a: Vec3, b: Vec3) -> Vec3:
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2])
