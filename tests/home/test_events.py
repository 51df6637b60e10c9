import numpy as np
import pytest

from fusion_rt.home.events import Events, Falls, Mention
from fusion_rt.home.histories import Worn
from fusion_rt.home.people import Track

S = 1_000_000_000


def track(fall, *, lying=0.9, speed=0.0):
    return Track(
        7,
        np.array([1.0, 1.0, speed, 0.0]),
        np.eye(4),
        0.9,
        0,
        0,
        np.array([0.1, 0.0, lying]),
        fall,
        "bath",
        True,
    )


def told(events):
    return [(e.kind, e.room, e.id) for e in events.told((), {})]


def test_a_sound_that_goes_on_is_one_event():
    events = Events("site")
    found = []
    for i in range(10):
        events.mention(Mention("smoke_alarm", "hall", 0.9, i * 30 * S, "sound"))
        found += told(events)
    assert found == [("smoke_alarm", "hall", "site-smoke_alarm-0")]


def test_two_rings_are_two_events():
    events = Events("site")
    found = []
    for at in (0, 10):
        events.mention(Mention("doorbell", "hall", 0.9, at * S, "button"))
        found += told(events)
    assert len({name for _, _, name in found}) == 2


def test_the_loudest_room_counts_and_modalities_add_up():
    events = Events("site")
    events.mention(Mention("smoke_alarm", "hall", 0.6, S, "sound"))
    events.mention(Mention("smoke_alarm", "kitchen", 0.9, 2 * S, "smoke"))
    (event,) = events.told(("pir",), {"mic": 10.0})
    assert (event.room, event.onset_ns, round(event.p, 2)) == ("kitchen", S, 0.96)
    assert event.why.shares == pytest.approx({"smoke": 0.6, "sound": 0.4}, abs=1e-3)
    assert event.why.missing == ("pir",)


def mentions(falls, looks, *, every_s=0.2):
    """looks: (track, modalities) a tick; the tick at which a fall is told -> its modalities."""
    found = {}
    for i, (seen, by) in enumerate(looks):
        now = round(i * every_s * S)
        falls.look(seen, by, now)
        if names := [(m.modality, m.onset_ns) for m in falls.told(now)]:
            found[i] = names
    return found


def test_a_fall_that_two_modalities_see_is_told_at_once():
    assert mentions(Falls(), [(track(0.1), ("radar",)), (track(0.8), ("camera", "radar"))] * 1) == {
        1: [("camera", S // 5), ("radar", S // 5)]
    }


def test_a_fall_that_one_modality_sees_is_told_after_three_still_seconds():
    assert mentions(Falls(), [(track(0.8), ("radar",))] * 40) == {15: [("radar", 0)]}
    assert mentions(Falls(), [(track(0.8, speed=1.0), ("radar",))] * 40) == {}
    assert mentions(Falls(), [(track(0.8, lying=0.1), ("radar",))] * 40) == {}


def test_a_fall_is_told_once_and_after_a_doubt_anew():
    up = [(track(0.0), ("radar",))] * 20
    found = mentions(Falls(), [(track(0.8), ("radar",))] * 20 + up + [(track(0.8), ("radar",))] * 20)
    assert len(found) == 2


def test_a_worn_sensor_feels_an_impact_and_stillness(plan, make):
    worn, falls, found = Worn(plan.sensors["belt"]), Falls(), {}
    for i in range(250):
        t_s = 0.02 * i
        force = 40.0 if i == 50 else 9.81
        assert worn.take(make.imu(t_s, force)) is None
        falls.feel("belt", worn, "kitchen", make.stamp(t_s))
        for mention in falls.told(make.stamp(t_s)):
            found[i] = (mention.modality, mention.room, mention.onset_ns - make.stamp(0))
    # 0.7 s after the impact the body is at rest, three seconds later that is enough.
    (at,) = found
    assert found[at] == ("worn", "kitchen", S)
    assert 1.0 + 3.7 <= 0.02 * at <= 1.0 + 3.8
