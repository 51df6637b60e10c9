"""Packets and predictions: the words that everyone shares.

Frozen msgspec structs. SI units, radians, frames x forward, y left, z up; a transform is
`T_target_source`. The one exception is latitude and longitude, in degrees as every receiver and map
gives them, and named so. `pack` and `unpack` turn a message into a small header and its raw arrays;
they are what the bus and nothing else sends.
"""

from __future__ import annotations

import functools
import math
import operator
import sys
import threading
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Annotated, Any, TypeAlias, get_args, get_type_hints

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from fusion_rt.answer import Answer
from fusion_rt.errors import MessageError
from fusion_rt.header import F4, I2, U1, U2, Header, Index, TracePoint, Vec2, Vec3, Vec4, expect
from fusion_rt.home_packets import HomeReading, RadarPoints, Sight, Sound
from fusion_rt.scene import Scene

IMAGE_ENCODINGS = ("bgr8", "rgb8", "mono8", "jpeg", "png")
PROTOCOL_VERSION = 1
SWEEP_S = 0.5  # a point farther from its sweep's stamp has a wrong time


class Image(Struct, frozen=True, kw_only=True, tag="image"):
    """One camera image; `stamp_ns` is mid-exposure.

    data  (height, width, 3) uint8 for bgr8 and rgb8, (height, width) for mono8,
          (bytes,) for jpeg and png
    """

    header: Header
    height: Annotated[int, Meta(gt=0, le=1 << 15)]
    width: Annotated[int, Meta(gt=0, le=1 << 15)]
    encoding: str
    data: NDArray[np.uint8]

    def __post_init__(self) -> None:
        if self.encoding not in IMAGE_ENCODINGS:
            raise MessageError(
                f"{self.header.sensor_id}: encoding {self.encoding!r} is not one of"
                f" {', '.join(IMAGE_ENCODINGS)}"
            )
        if self.encoding in ("jpeg", "png"):
            expect(self, "data", U1, (None,))
        elif self.encoding == "mono8":
            expect(self, "data", U1, (self.height, self.width))
        else:
            expect(self, "data", U1, (self.height, self.width, 3))


class PointCloud(Struct, frozen=True, kw_only=True, tag="points"):
    """One sweep in `header.frame_id` (x forward, y left, z up), not deskewed.

    xyz        (N, 3) float32, metres
    intensity  (N,) float32, 0..1
    t          (N,) float32, seconds after `header.stamp_ns`, may be negative; zeros where unknown
    ring       (N,) uint16, laser number; zeros where unknown
    """

    header: Header
    xyz: NDArray[np.float32]
    intensity: NDArray[np.float32]
    t: NDArray[np.float32]
    ring: NDArray[np.uint16]

    def __post_init__(self) -> None:
        expect(self, "xyz", F4, (None, 3))
        n = self.xyz.shape[0]
        expect(self, "intensity", F4, (n,))
        expect(self, "t", F4, (n,))
        expect(self, "ring", U2, (n,))


class GnssFix(Struct, frozen=True, kw_only=True, tag="gnss"):
    """A position on WGS-84 at the epoch `stamp_ns`, of the antenna.

    position_covariance  (9) row-major east, north, up, m^2
    fix_type             "none", "2d", "3d", "dgps", "rtk_float", "rtk_fixed"
    velocity_enu         m/s east, north, up, where the receiver gives it
    velocity_std         m/s, one standard deviation on each axis
    """

    header: Header
    latitude_deg: Annotated[float, Meta(ge=-90, le=90)]
    longitude_deg: Annotated[float, Meta(ge=-180, le=180)]
    altitude_m: float
    position_covariance: tuple[float, ...]
    fix_type: str = "3d"
    satellites: Index = 0
    velocity_enu: Vec3 | None = None
    velocity_std: float | None = None

    def __post_init__(self) -> None:
        if len(self.position_covariance) != 9:
            raise MessageError(
                f"{self.header.sensor_id}: position_covariance has"
                f" {len(self.position_covariance)} numbers, expected 9 (3x3 row-major)"
            )


class ImuSample(Struct, frozen=True, kw_only=True, tag="imu"):
    """specific_force m/s^2 (at rest, level: 0, 0, +9.81) and angular_rate rad/s, sensor axes."""

    header: Header
    specific_force: Vec3
    angular_rate: Vec3


class WheelSpeed(Struct, frozen=True, kw_only=True, tag="wheels"):
    """How fast the vehicle's wheels roll: speed m/s over ground, backwards negative, and one standard
    deviation of it."""

    header: Header
    speed: float
    std: Annotated[float, Meta(gt=0)] = 0.1


class AudioChunk(Struct, frozen=True, kw_only=True, tag="audio"):
    """Mono PCM from `stamp_ns` on: pcm (N,) int16 at `rate` Hz."""

    header: Header
    rate: Annotated[int, Meta(gt=0)]
    pcm: NDArray[np.int16]

    def __post_init__(self) -> None:
        expect(self, "pcm", I2, (None,))


class Command(Struct, frozen=True, kw_only=True, tag="command"):
    """What a person asked for: free text, or an intent with its slots; p: that it was asked for."""

    header: Header
    text: str = ""
    intent: str = ""
    slots: dict[str, str] = {}
    p: Annotated[float, Meta(ge=0, le=1)] = 1.0


Packet: TypeAlias = (
    Image
    | PointCloud
    | GnssFix
    | ImuSample
    | WheelSpeed
    | AudioChunk
    | HomeReading
    | RadarPoints
    | Sight
    | Sound
    | Command
)


class ForecastPoint(Struct, frozen=True, array_like=True, gc=False):
    """Where an object will be: seconds ahead, x y (m) and yaw (rad) in the prediction's frame,
    one standard deviation of the position (m)."""

    t_s: float
    x: float
    y: float
    yaw: float
    std_m: float


class TrackedObject(Struct, frozen=True, kw_only=True, gc=False):
    """One object, in the ego frame at the prediction's stamp.

    class_probabilities  label -> probability
    existence            probability that it is there
    center               x, y, z of the box's centre, m
    size                 length, width, height, m
    yaw                  rad about z, 0 = along ego x
    box_covariance       (16) row-major over x, y, z, yaw: m^2, m rad, rad^2
    velocity             vx, vy over ground, m/s, along ego axes
    velocity_covariance  (4) row-major, m^2/s^2
    yaw_rate             rad/s
    age_s, hits          since the track was born, and measurements it has taken
    coasting_s           since its last measurement
    contributions        modality -> share of the evidence, summing to 1
    time_to_collision_s  until it meets the ego vehicle at present motion; None: it does not
    """

    track_id: Index
    label: str
    class_probabilities: dict[str, float]
    existence: float
    center: Vec3
    size: Vec3
    yaw: float
    box_covariance: tuple[float, ...]
    velocity: Vec2
    velocity_covariance: Vec4
    yaw_rate: float
    age_s: float
    hits: Index
    coasting_s: float
    contributions: dict[str, float]
    latitude_deg: float | None = None
    longitude_deg: float | None = None
    forecast: tuple[ForecastPoint, ...] = ()
    time_to_collision_s: float | None = None


class EgoState(Struct, frozen=True, kw_only=True):
    """The ego frame in the local map (east, north, up; its origin given on WGS-84). Without a fix so far, and
    with the lidar's odometry, the map is a frame without an origin: where and how the vehicle stood at the
    first sweep.

    position             m, map frame
    orientation          x, y, z, w: rotates ego axes into map axes
    velocity             m/s, map frame
    angular_rate         rad/s, ego frame
    covariance           (36) row-major over position (m), orientation error (rad, map axes)
    velocity_covariance  (9) row-major, m^2/s^2
    extrapolated_s       beyond the newest inertial sample
    source               "imu+gnss", "imu" (coasting), "gnss" (no IMU), "none" (identity); with the lidar's
                         odometry also "imu+odometry" (no fix), "gnss+odometry" (no IMU), "odometry" (neither)
    """

    stamp_ns: int
    position: Vec3
    orientation: Vec4
    velocity: Vec3
    angular_rate: Vec3
    covariance: tuple[float, ...]
    velocity_covariance: tuple[float, ...]
    extrapolated_s: float
    source: str
    origin_latitude_deg: float | None = None
    origin_longitude_deg: float | None = None
    origin_altitude_m: float | None = None


class SensorUse(Struct, frozen=True, kw_only=True):
    """How one sensor entered an answer.

    status          "used", "stale" (older than max_age_s, not used) or "missing" (never, or lost)
    age_s           answer's stamp minus measurement's stamp; None when missing
    clock_offset_s  estimated offset of the sensor's clock; None when unknown
    dropped         packets dropped so far, by cause
    """

    sensor_id: str
    modality: str
    status: str
    age_s: float | None = None
    seq: int | None = None
    clock_offset_s: float | None = None
    dropped: dict[str, int] = {}


class Certificate(Struct, frozen=True, kw_only=True):
    """What an answer was made from; no consumer has to guess.

    motion_compensation  where the ego motion came from: EgoState.source
    points_dropped       points left out, by cause: "not_finite", "outside"
    boxes_dropped        first answers left out, by cause: "overflow" (too many), "broken" (not finite)
    stage_ms             wall time a stage, of the packet that asked and of the images it used; empty in
                         offline replay, which reads no clock
    detectors            detectors beside the model whose boxes entered the answer: name -> identity
    rung                 the rung of the ladder that answered: "all", "in_time", "lidar_only",
                         "camera_only", "coasting", "none"
    engine_reason        why a better engine than `engine` did not look: it failed, is being built, ...
    """

    sensors: tuple[SensorUse, ...]
    motion_compensation: str
    points_in: int
    points_dropped: dict[str, int]
    boxes_dropped: dict[str, int] = {}
    model: str
    detectors: dict[str, str] = {}
    engine: str
    engine_reason: str = ""
    precision: str
    device: str
    stage_ms: dict[str, float]
    deadline_s: float
    deadline_met: bool | None
    rung: str
    reason: str = ""


class Prediction(Struct, frozen=True, kw_only=True, tag="prediction"):
    """One answer, in the ego frame at `header.stamp_ns` (the trigger's stamp)."""

    header: Header
    objects: tuple[TrackedObject, ...]
    ego: EgoState
    certificate: Certificate


Message: TypeAlias = Packet | Prediction | Scene | Answer

# Entry points: encoders of installed packages, each with its `packet` type.
MODALITIES = "fusion_rt.modalities"
_added: list[type] = []


def register_packet(type_: type) -> None:
    """Make a packet type of your own known in this process: a frozen Struct with a tag and a `header`; its
    arrays are uint8, uint16, int16 or float32. Raises MessageError."""
    known = {t.__struct_config__.tag: t for t in (*get_args(Message), *_added)}
    if type_ in known.values():
        return
    config = getattr(type_, "__struct_config__", None)
    try:
        fields = get_type_hints(type_) if config is not None else {}
    except NameError as error:
        raise MessageError(f"{type_.__qualname__}: its fields' types cannot be found: {error}") from error
    if (
        config is None
        or not config.frozen
        or not isinstance(config.tag, str)
        or fields.get("header") is not Header
    ):
        raise MessageError(
            f"{type_.__qualname__}: a packet is a frozen msgspec.Struct with a tag and a header"
        )
    if config.tag in known:
        raise MessageError(
            f"{type_.__qualname__}: {known[config.tag].__qualname__} has the tag {config.tag!r}"
        )
    _added.append(type_)


def message_type() -> Any:
    """The union of all that is known now, those of installed packages included."""
    _declared()
    return functools.reduce(operator.or_, _added, Message)


@functools.cache
def _declared() -> None:
    """Registers the packets of installed packages, once; one that is broken is said, and left out."""
    for entry in entry_points(group=MODALITIES):
        try:
            register_packet(entry.load().packet)
        except Exception as error:  # a package of somebody else must not stop the bus
            print(f"modality {entry.name!r} ({entry.value}) is left out: {error}", file=sys.stderr)


def kind(message: Message) -> str:
    """The message's tag: "image", "points", "gnss", "imu", ..., "prediction"."""
    return str(type(message).__struct_config__.tag)


def complete_ns(message: Message) -> int:
    """When the last of it was measured, and no earlier can it come: a sweep ends after its stamp. A state
    that was told later came then."""
    stamp_ns = message.header.stamp_ns
    if isinstance(message, HomeReading):
        return max(stamp_ns, message.told_ns)
    if not isinstance(message, PointCloud):
        return stamp_ns
    return stamp_ns + max(round(sweep_span_s(message.t)[1] * 1e9), 0)


def sweep_span_s(t: NDArray[np.float32]) -> tuple[float, float]:
    """The first and last time of a sweep's points, t (N,) s after its stamp, without those that are not
    finite or farther than SWEEP_S; zeros where none is left."""
    low, high = (float(t.min()), float(t.max())) if len(t) else (0.0, 0.0)
    if not -SWEEP_S <= low <= high <= SWEEP_S:  # also where one is NaN
        t = t[np.abs(t) <= SWEEP_S]
        low, high = (float(t.min()), float(t.max())) if len(t) else (0.0, 0.0)
    return low, high


def with_trace(message: Any, stage: str, monotonic_ns: int, host: str = "") -> Any:
    """The same message with one more trace point."""
    header = message.header
    trace = (*header.trace, TracePoint(stage, monotonic_ns, host))
    return msgspec.structs.replace(message, header=msgspec.structs.replace(header, trace=trace))


class _ArrayRef(Struct, frozen=True, array_like=True):
    index: Index
    dtype: str
    shape: tuple[Index, ...]


_DTYPES = {dtype.str: dtype for dtype in (U1, U2, I2, F4)}


def pack(message: Message) -> tuple[bytes, list[NDArray[Any]]]:
    """The message as a msgpack header and its arrays, C-contiguous, in field order."""
    arrays: list[NDArray[Any]] = []

    def reference(value: Any) -> _ArrayRef:
        if not isinstance(value, np.ndarray):
            raise MessageError(f"{type(value).__name__} cannot be sent in a {type(message).__name__}")
        arrays.append(np.ascontiguousarray(value))
        return _ArrayRef(len(arrays) - 1, value.dtype.str, value.shape)

    return msgspec.msgpack.encode(message, enc_hook=reference), arrays


def unpack(header: bytes | memoryview, arrays: list[Any]) -> Message:
    """The message again. `arrays` are buffers in the order `pack` gave them; they are viewed, not
    copied. Anything malformed raises MessageError: an unknown type or dtype, a wrong shape, a
    buffer of another length than its shape says."""

    try:
        if _decoder.known != len(_added):
            _decoder.learn()
        _decoder.arrays = arrays
        message: Message = _decoder.decode(header)
    except MessageError:
        raise
    except (msgspec.DecodeError, msgspec.ValidationError, ValueError, TypeError, OverflowError) as error:
        raise MessageError(f"not a message of protocol {PROTOCOL_VERSION}: {error}") from error
    finally:
        _decoder.arrays = ()
    return message


class _Decoder(threading.local):
    """One a thread, since it must know the arrays; kept, since making one costs more than most messages."""

    def __init__(self) -> None:
        self.arrays: Sequence[Any] = ()
        self.learn()

    def learn(self) -> None:
        """The packet types that there are now."""
        self.decode = msgspec.msgpack.Decoder(message_type(), dec_hook=self._view).decode
        self.known = len(_added)

    def _view(self, _: type, value: Any) -> Any:
        return _view(self.arrays, value)


_decoder = _Decoder()


def _view(arrays: Sequence[Any], value: Any) -> NDArray[Any]:
    """The array that `value`, out of a header, says is in the buffers. Raises MessageError."""
    if type(value) is not list or len(value) != 3:
        raise MessageError(f"{str(value)[:80]} is not [index, dtype, shape]")
    index, name, shape = value
    dtype = _DTYPES.get(name) if type(name) is str else None
    if dtype is None:
        raise MessageError(f"dtype {str(name)[:80]!r} is not one of {', '.join(_DTYPES)}")
    if type(index) is not int or not 0 <= index < len(arrays):
        raise MessageError(f"array {str(index)[:80]} is referred to, {len(arrays)} came")
    if type(shape) is not list:
        raise MessageError(f"{str(shape)[:80]} is not a shape")
    buffer = arrays[index]
    nbytes = memoryview(buffer).nbytes
    expected = math.prod(shape) * dtype.itemsize  # Python integers: cannot overflow
    if nbytes != expected:
        raise MessageError(f"array {index} has {nbytes} bytes, shape {shape} needs {expected}")
    array: NDArray[Any] = np.ndarray(shape, dtype, buffer)  # refuses what is no number, and less than 0
    return array if array.flags.aligned else array.copy()  # only a foreign sender packs so tightly
