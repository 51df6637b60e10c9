"""When a sound is believed."""

from msgspec.structs import replace

from fusion_rt.home.sounds import Sounds


def heard(make, looks, least_p=0.9):
    """looks: (s, room, events); (s, kind, room, onset s after 0) of each mention."""
    sounds, found = Sounds(least_p), []
    for t_s, room, events in looks:
        for m in sounds.hear(make.sound(t_s, events), room):
            found.append((t_s, m.kind, m.room, (m.onset_ns - make.stamp(0)) / 1e9))
    return found


def test_one_clear_look_is_enough(make):
    assert heard(make, [(0, "hall", {"knock": 0.92})]) == [(0, "knock", "hall", 0)]


def test_an_unsure_look_waits_for_another_or_another_microphone(make):
    assert heard(make, [(0, "hall", {"knock": 0.75})]) == []
    again = [(0, "hall", {"knock": 0.75}), (0.5, "hall", {"knock": 0.7})]
    assert heard(make, again) == [(0.5, "knock", "hall", 0)]
    beside = [(0, "hall", {"knock": 0.7, "doorbell": 0.6}), (0.1, "kitchen", {"knock": 0.75})]
    assert heard(make, beside) == [(0.1, "knock", "kitchen", 0)]


def test_a_murmur_that_goes_on_is_nothing_and_what_comes_through_it_is(make):
    murmur = [(0.5 * i, "hall", {"baby_cry": 0.55}) for i in range(40)]
    assert heard(make, murmur, least_p=0.95) == []
    cry = (20.0, "hall", {"baby_cry": 0.96})
    assert heard(make, [*murmur, cry], least_p=0.95)[0][:2] == (20.0, "baby_cry")


def test_what_is_believed_goes_on_until_a_pause(make):
    looks = [(t, "hall", {"smoke_alarm": p}) for t, p in ((0, 0.95), (1.5, 0.6), (3, 0.6), (6, 0.6))]
    assert [m[0] for m in heard(make, looks)] == [0, 1.5, 3]


def test_what_a_microphone_recognised_is_believed_with_its_own_onset(make):
    sounds = Sounds(0.9)
    sound = replace(make.sound(1, {"knock": 0.6}), onsets={"knock": make.stamp(0.4)})
    (mention,) = sounds.hear(sound, "hall")
    assert mention.onset_ns == make.stamp(0.4)
    assert mention.lasts_ns == make.stamp(1)
