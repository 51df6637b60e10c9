"""Scenes as a home node would send them."""

from fusion_rt.header import Header, TracePoint
from fusion_rt.home_packets import HomeReading
from fusion_rt.scene import (
    HomeEvent,
    HomeSensorUse,
    Intent,
    Person,
    RoomState,
    Scene,
    SceneCertificate,
    Why,
)

START_NS = 1_767_268_800_000_000_000  # 2026-01-01T12:00:00Z
S = 1_000_000_000
WHY = Why(shares={"radar": 0.6, "motion": 0.4}, missing=("kitchen_pir",), ages_ms={"kitchen_radar": 42.4})


def room(slug, occupied=False, *, people=None, activity=None, p=None, since_ns=START_NS):
    people = int(occupied) if people is None else people
    return RoomState(
        room=slug,
        p_occupied=(0.93 if occupied else 0.04) if p is None else p,
        occupied=occupied,
        people=people,
        people_p=(0.1, 0.9) if occupied else (0.96, 0.04),
        activity=activity or ("other" if occupied else "empty"),
        activity_p={"empty": 0.04, "other": 0.96},
        since_ns=since_ns,
        why=WHY,
    )


def event(kind="fall", place="kitchen", *, name="fall-1", onset_ns=START_NS, p=0.9):
    return HomeEvent(kind=kind, room=place, p=p, id=name, onset_ns=onset_ns, why=WHY)


def intent(word="turn_on", place="kitchen", *, stamp_ns=START_NS, p=0.9, **slots):
    return Intent(intent=word, slots=slots, p=p, room=place, stamp_ns=stamp_ns, why=WHY)


def person(track_id=1, place="kitchen"):
    return Person(
        track_id=track_id,
        position=(1.234, 2.5),
        covariance=(0.02, 0.0, 0.0, 0.02),
        velocity=(0.1, 0.0),
        existence=0.97,
        posture="standing",
        posture_p={"standing": 0.9},
        room=place,
        age_s=4.0,
        coasting_s=0.0,
        why=WHY,
    )


def scene(*rooms, seq=0, stamp_ns=None, events=(), intents=(), people=(), missing=(), rung="all", trace=()):
    stamp_ns = START_NS + seq * S // 5 if stamp_ns is None else stamp_ns
    uses = [
        HomeSensorUse(sensor_id=name, modality="motion", status="missing", dropped={"late": 2})
        for name in missing
    ]
    return Scene(
        header=Header(
            sensor_id="scene",
            frame_id="home",
            seq=seq,
            stamp_ns=stamp_ns,
            trace=tuple(TracePoint(*point) for point in trace),
        ),
        rooms=rooms,
        people=tuple(people),
        events=tuple(events),
        intents=tuple(intents),
        certificate=SceneCertificate(
            sensors=tuple(uses),
            model="none",
            engine="none",
            precision="none",
            stage_ms={},
            rung=rung,
        ),
    )


def reading(sensor_id, kind, value, *, seq=0, stamp_ns=START_NS):
    header = Header(sensor_id=sensor_id, frame_id=sensor_id, seq=seq, stamp_ns=stamp_ns)
    return HomeReading(header=header, entity=sensor_id, kind=kind, value=value, unit="")
