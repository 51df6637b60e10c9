"""Every knob of a simulated home: `configs/sim/home.yaml`."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct, field

from fusion_rt.errors import ConfigError
from fusion_rt.scene import EVENTS
from fusion_rt.sim.home.faults import FAULTS, Fault, FaultKind

Positive: TypeAlias = Annotated[float, Meta(gt=0)]
NotNegative: TypeAlias = Annotated[float, Meta(ge=0)]
Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
EVENTS_PER_DAY = {
    "doorbell": 2.0,
    "knock": 1.0,
    "glass_break": 0.1,
    "smoke_alarm": 0.1,
    "baby_cry": 0.0,
    "dog_bark": 1.0,
}


class Routine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who lives there and how.

    people           of the household; 0: one to four, drawn from the seed
    pace             1: real days; 10: all but walking lasts a tenth, so that an hour holds the moves of ten
    visitors_per_day, falls_per_day   of the whole household, expected
    speed_mps        mean walking speed indoors; each person has an own one. Short ways at home are walked
                     slower than the 1.2-1.4 m/s of a corridor (Bohannon & Williams Andrews, Physiotherapy 97,
                     2011; at home 0.6-1.0: Hagler et al., IEEE Trans. Biomed. Eng. 57, 2010)
    works_out        chance that a person leaves for work on a day; the others work at a desk
    fall_lying_s     longest that somebody lies after a fall
    """

    people: Annotated[int, Meta(ge=0, le=4)] = 0
    pace: Positive = 1.0
    visitors_per_day: NotNegative = 0.5
    falls_per_day: NotNegative = 0.2
    speed_mps: Positive = 0.95
    works_out: Share = 0.5
    fall_lying_s: Positive = 120.0


class Sounds(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is heard, expected a day: `events_per_day` of the kinds in scene.EVENTS but "fall".

    confusion   chance that the head gives another kind the larger probability
    background_dba   of a silent room
    """

    events_per_day: dict[str, NotNegative] = field(default_factory=lambda: dict(EVENTS_PER_DAY))
    confusion: Share = 0.04
    background_dba: NotNegative = 31.0

    def __post_init__(self) -> None:
        for kind in self.events_per_day:
            if kind not in EVENTS or kind == "fall":
                raise ConfigError(
                    f"sounds.events_per_day.{kind}: not one of {', '.join(k for k in EVENTS if k != 'fall')}"
                )


class Radar(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The mmWave radars. Defaults are those of a 60 GHz module of TI's IWR6843 kind with static clutter
    removal: 4 cm in range, a few degrees in azimuth after interpolation (TI SWRU546, SWRA553).

    ld2450            sensors that are of this kind, with * and ?: up to three targets, no height (Hi-Link
                      LD2450 manual)
    points            of a walking person within 3 m, a frame; RadHAR's recordings hold 15 to 28
    snr_db            of a walking person at 2 m; falls with the fourth power of range
    still             of `points`, the share that somebody who only breathes gives
    ghosts            chance that a wall of the room mirrors a moving person, by place
    clutter           false points a frame
    wall_db           lost through a wall, both ways
    keep_empty        frames without a point are sent too, as the module does
    """

    hz: Positive = 10.0
    ld2450: tuple[str, ...] = ("*ld2450*",)
    points: Positive = 22.0
    snr_db: float = 30.0
    threshold_db: float = 10.0
    still: Share = 0.012
    range_resolution_m: Positive = 0.044
    doppler_resolution_mps: Positive = 0.13
    doppler_max_mps: Positive = 4.0
    azimuth_deg: Positive = 2.0
    elevation_deg: Positive = 5.0
    ghosts: Share = 0.12
    clutter: NotNegative = 0.05
    wall_db: NotNegative = 16.0
    keep_empty: bool = True


class Camera(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person detector finds in a camera's images.

    miss              chance to miss a person in full view, a frame; more where little of it is seen
    jitter_px         of keypoints, at a person 200 px high
    false_per_hour    spells in which something else is taken for a person
    dark              what is left of the detection in a dark room
    """

    hz: Positive = 5.0
    miss: Share = 0.03
    jitter_px: NotNegative = 4.0
    false_per_hour: NotNegative = 0.5
    dark: Share = 0.25


class Motion(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Passive infrared sensors: they see warm things cross the zones of their lens, so a step towards the
    sensor is seen later than one across (Murata IRS datasheets; Zappi et al., IEEE Sensors J. 10, 2010).

    hold_s        on after the last movement; blind_s: deaf after it went off (HC-SR501: 2.5 s)
    lag_s         from movement to message
    heat_per_day  false alarms by sun and heating, a sensor
    blind_deg     width of the sector of its view that it does not see
    """

    hold_s: Positive = 20.0
    blind_s: NotNegative = 2.5
    lag_s: NotNegative = 0.25
    heat_per_day: NotNegative = 0.5
    blind_deg: NotNegative = 8.0


class Climate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Air. Outdoor air comes in by `air_changes_per_h` (leakage and ventilation).

    outdoor_c     mean of the day, and `swing_c` half of its range
    setpoint_c    of the heating by day; night_c by night
    """

    air_changes_per_h: Positive = 0.4
    outdoor_ppm: Positive = 420.0
    outdoor_c: float = 6.0
    swing_c: NotNegative = 4.0
    setpoint_c: float = 21.0
    night_c: float = 18.0
    co2_noise_ppm: NotNegative = 8.0
    temperature_noise_c: NotNegative = 0.03
    humidity_noise: NotNegative = 0.3


class Beacon(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Phones, heard by receivers: log-distance path loss (Rappaport, Wireless Communications, 4.9).

    left_behind   chance that a phone stays where it lies when its owner moves on
    """

    exponent: Positive = 2.4
    shadow_db: NotNegative = 3.5
    wall_db: NotNegative = 4.0
    left_behind: Share = 0.3


class Worn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Inertial sensors on a belt; `room` of such a sensor in the plan is the person: p1, p2, ..."""

    hz: Positive = 50.0
    noise_mps2: NotNegative = 0.08
    noise_radps: NotNegative = 0.01


class Pcm(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sound as samples: AudioChunks of 20 ms instead of what a head heard in them.

    sensors          the microphones that give them
    clips            folder of ESC-10 (KIND/*.ogg), for cries and barks; "": they are synthesised
    full_scale_dba   the level at which the samples are full
    """

    sensors: tuple[str, ...] = ()
    rate: Literal[8000, 16_000, 48_000] = 16_000
    clips: str = ""
    full_scale_dba: Positive = 105.0


class HomeSimConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One simulated home.

    start           UTC; latitude_deg and utc_offset_h: when the sun shines, and what people's clocks show
    sensors_off     sensors of the plan, or kinds, that are not simulated
    faults          of sensors; random_faults_per_day: more of them, drawn, a sensor
    random_faults   of which kinds
    """

    start: str = "2026-03-02T00:00:00Z"
    hours: Positive = 24.0
    latitude_deg: Annotated[float, Meta(ge=-66, le=66)] = 50.0
    utc_offset_h: float = 0.0
    routine: Routine = Routine()
    sounds: Sounds = Sounds()
    radar: Radar = Radar()
    camera: Camera = Camera()
    motion: Motion = Motion()
    climate: Climate = Climate()
    beacon: Beacon = Beacon()
    worn: Worn = Worn()
    pcm: Pcm = Pcm()
    sensors_off: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    random_faults_per_day: NotNegative = 0.0
    random_faults: tuple[FaultKind, ...] = FAULTS

    def __post_init__(self) -> None:
        _ = self.start_ns

    @property
    def start_ns(self) -> int:
        """UNIX epoch ns. Raises ConfigError."""
        try:
            moment = datetime.fromisoformat(self.start.replace("Z", "+00:00"))
        except ValueError as error:
            raise ConfigError(f"start: {self.start!r} is not a time like 2026-03-02T00:00:00Z") from error
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        return round(moment.timestamp()) * 1_000_000_000
