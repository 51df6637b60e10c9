"""The answer at home: who is where, what they do, what happened, what was asked for, and why we think so."""

from __future__ import annotations

from msgspec import Struct

from fusion_rt.header import Header, Index, Vec2, Vec4

ACTIVITIES = ("empty", "sleeping", "sitting", "walking", "cooking", "other", "unknown")
POSTURES = ("standing", "sitting", "lying", "unknown")
EVENTS = ("fall", "doorbell", "knock", "glass_break", "smoke_alarm", "baby_cry", "dog_bark")


class Why(Struct, frozen=True, kw_only=True):
    """What an answer was made from.

    shares   modality -> its share of the evidence, summing to 1
    missing  sensors that should have told and did not
    ages_ms  sensor -> age of what it told, at the scene's stamp
    """

    shares: dict[str, float]
    missing: tuple[str, ...] = ()
    ages_ms: dict[str, float] = {}


class RoomState(Struct, frozen=True, kw_only=True):
    """One room.

    p_occupied   probability that somebody is in it
    occupied     the same with hysteresis: on at 0.7, off at 0.3 for the room's hold_s
    people       the likeliest number, and `people_p`: the probability of 0, 1, 2, ...
    activity     one of ACTIVITIES, and `activity_p`: label -> probability
    since_ns     since when `occupied` is what it is
    """

    room: str
    p_occupied: float
    occupied: bool
    people: Index
    people_p: tuple[float, ...]
    activity: str
    activity_p: dict[str, float]
    since_ns: int
    why: Why


class Person(Struct, frozen=True, kw_only=True):
    """One person, in the home frame.

    position    x, y, m; `covariance` (4) row-major, m^2
    velocity    vx, vy, m/s
    existence   probability that somebody is there
    posture     one of POSTURES, and `posture_p`: label -> probability
    room        "" outside of all rooms
    coasting_s  since a sensor last saw this person
    """

    track_id: Index
    position: Vec2
    covariance: Vec4
    velocity: Vec2
    existence: float
    posture: str
    posture_p: dict[str, float]
    room: str
    age_s: float
    coasting_s: float
    why: Why


class HomeEvent(Struct, frozen=True, kw_only=True):
    """Something that happened: told once, when it is believed.

    kind      one of EVENTS
    id        the same for every mention of it
    onset_ns  when it began
    """

    kind: str
    room: str
    p: float
    id: str
    onset_ns: int
    why: Why


class Intent(Struct, frozen=True, kw_only=True):
    """What somebody asked for, with its room filled in from who is where.

    intent  "wake", "turn_on", "turn_off", ...
    """

    intent: str
    slots: dict[str, str]
    p: float
    room: str
    stamp_ns: int
    why: Why


class HomeSensorUse(Struct, frozen=True, kw_only=True):
    """How one sensor entered a scene.

    status   "used", "stale" (older than its kind may be) or "missing" (never heard of, or not available)
    dropped  packets refused so far, by cause
    """

    sensor_id: str
    modality: str
    status: str
    age_s: float | None = None
    dropped: dict[str, int] = {}


class SceneCertificate(Struct, frozen=True, kw_only=True):
    """What a scene was made from.

    rung      "all", "in_time" (some sensor is stale or missing), "coasting" (nothing was heard), "none"
    stage_ms  wall time a stage; empty in offline replay, which reads no clock
    """

    sensors: tuple[HomeSensorUse, ...]
    model: str
    engine: str
    precision: str
    stage_ms: dict[str, float]
    rung: str
    reason: str = ""


class Scene(Struct, frozen=True, kw_only=True, tag="scene"):
    """One answer about a home at `header.stamp_ns`; `header.frame_id` is "home"."""

    header: Header
    rooms: tuple[RoomState, ...]
    people: tuple[Person, ...]
    events: tuple[HomeEvent, ...]
    intents: tuple[Intent, ...]
    certificate: SceneCertificate
