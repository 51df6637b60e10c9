import pytest

from fusion_rt.home.events import Events, Mention

S = 1_000_000_000


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
