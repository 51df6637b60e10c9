import numpy as np
import pytest

from fusion_rt.home.falls import Falls
from fusion_rt.home.histories import Worn
from fusion_rt.home.observation import Observation
from fusion_rt.home.people import Track

S = 1_000_000_000
DT = S // 5


def track(name, x, *, standing=1.0, fall=0.0, room="bath"):
    posture = np.array([standing, 0.0, 1.0 - standing])
    return Track(name, np.array([x, 1.0, 0.0, 0.0]), np.eye(4), 0.9, 0, 0, posture, fall, room, True)


def echoes(x, height_m, n=30):
    """n radar points of a body in a column around x, from the floor to twice their mean height."""
    rows = np.zeros((n, 7), np.float32)
    rows[:, 1], rows[:, 2] = x, 1.0
    rows[:, 3] = np.linspace(0.0, 2 * height_m, n)
    return rows


def sight(x, height_m, aspect):
    row = np.zeros(15, np.float32)
    row[1:9:2], row[2:9:2] = x, 1.0
    row[9:12] = 0.9, height_m, aspect
    return row


def seen(radar=(), sights=()):
    return Observation(
        np.concatenate([*radar, np.zeros((0, 7), np.float32)]),
        np.array([*sights], np.float32).reshape(-1, 15),
        np.zeros((16, 1), np.float32),
        (0,),
    )


def watch(scenes, *, falls=None, by=("radar",), thump=None):
    """scenes: (tracks, observation), five a second -> tick at which a fall is told: its modalities, its
    onset in ticks."""
    falls, told = falls or Falls(), {}
    for i, (tracks, observation) in enumerate(scenes):
        falls.look(tracks, {t.id: dict.fromkeys(by, 1.0) for t in tracks}, observation, i * DT)
        if thump == i:
            falls.hear("bath", 0.9, i * DT)
        if mentions := falls.told(i * DT):
            assert {m.kind for m in mentions} == {"fall"}
            told[i] = ({m.modality for m in mentions}, mentions[0].onset_ns / DT)
    return told


WALKS = [([track(1, 0.2 * i)], seen([echoes(0.2 * i, 1.0)])) for i in range(5)]


def down(ticks, *, name=2, fall=0.0, n=30, sights=()):
    """Found anew as somebody else, ahead of where it stood."""
    return [([track(name, 1.3, standing=0.2, fall=fall)], seen([echoes(1.3, 0.15, n)], sights))] * ticks


def rests(ticks):
    return [([track(2, 1.3, standing=0.1)], seen([echoes(1.3, 0.1, 1)]))] * ticks


def test_who_goes_down_before_a_radar_and_stays_down_is_told_after_three_seconds():
    told = watch([*WALKS, *down(3), *rests(20)])
    assert told == {20: ({"radar"}, pytest.approx(5 - 0.35 * 5))}


def test_two_scenes_are_not_clear_enough_by_themselves():
    assert watch([*WALKS, *down(2), *rests(20)]) == {}


@pytest.mark.parametrize("more", [{"fall": 0.3}, {"sights": [sight(1.3, 1.0, 1.4)]}])
def test_with_the_network_or_a_camera_it_is_told_at_once(more):
    walks = [(t, seen([o.radar], [sight(0.2 * i, 1.7, 0.45)])) for i, (t, o) in enumerate(WALKS)]
    ((tick, (modalities, _)),) = watch([*walks, *down(4, **more), *rests(20)]).items()
    assert tick == 6
    assert modalities == ({"radar"} if "fall" in more else {"radar", "camera"})


def test_a_thump_supports_a_radar():
    ((tick, (modalities, _)),) = watch([*WALKS, *down(2), *rests(4)], thump=5).items()
    assert (tick, modalities) == (6, {"radar", "sound"})


def test_a_camera_and_a_thump_are_somebody_who_lies_on_a_sofa():
    walks = [(t, seen((), [sight(0.2 * i, 1.7, 0.45)])) for i, (t, _) in enumerate(WALKS)]
    lies = [([track(1, 1.0, standing=0.1)], seen((), [sight(1.0, 1.0, 1.4)]))] * 20
    assert watch([*walks, *lies], by=("camera",), thump=6) == {}


def test_the_network_alone_tells_no_fall():
    assert watch([([track(1, 1.0, fall=0.9)], seen([echoes(1.0, 1.0)]))] * 30) == {}


def test_who_sits_down_or_gets_up_again_has_not_fallen():
    assert watch([*WALKS, *([([track(1, 1.0, standing=0.0)], seen([echoes(1.0, 0.6)]))] * 25)]) == {}
    up = [([track(2, 1.3)], seen([echoes(1.3, 1.0)]))] * 20
    assert watch([*WALKS, *down(3), *rests(5), *up]) == {}


def test_who_passes_somebody_on_the_floor_does_not_make_a_fall_of_it():
    sits = track(9, 1.3, standing=0.1)
    scenes = [([track(1, 0.2 * i), sits], seen([echoes(0.2 * i, 1.0)])) for i in range(14)]
    left = [([track(1, 2.8), sits], seen([echoes(2.8, 1.0), echoes(1.3, 0.15)]))] * 25
    assert watch([*scenes, *left]) == {}


def test_a_fall_is_told_once_and_another_one_anew():
    falls = Falls()
    first = watch([*WALKS, *down(3), *rests(60)], falls=falls)
    assert len(first) == 1
    falls.forget()
    assert len(watch([*WALKS, *down(3), *rests(20)], falls=falls)) == 1


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
