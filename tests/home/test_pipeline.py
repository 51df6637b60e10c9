import math

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from fusion_rt.home.canvas import ROOMS
from fusion_rt.home.config import HomeConfig
from fusion_rt.home.network import COUNTS, PEOPLE, PERSON, ROOM_ACTIVITIES, Answers
from fusion_rt.home.pipeline import HomePipeline
from fusion_rt.home_packets import READINGS


@pytest.fixture
def pipeline(plan, head):
    return HomePipeline(HomeConfig(), plan, head)


class Believing:
    """Stands where the network does and says what it is told: room -> P(0), P(1), ...; people as PERSON."""

    def __init__(self, rooms, people=()):
        self.rooms, self.people = rooms, people

    def forget(self):
        pass

    def run(self, seen, dt_s, *, remember=True):
        counts = np.zeros((ROOMS, COUNTS), dtype=np.float32)
        counts[:, 0] = 1.0
        for row, chances in self.rooms.items():
            counts[row, : len(chances)] = chances
        people = np.zeros((PEOPLE, len(PERSON)), dtype=np.float32)
        for row, person in enumerate(self.people):
            people[row] = person
        return Answers(counts, np.full((ROOMS, len(ROOM_ACTIVITIES)), 0.2, dtype=np.float32), people)


def scenes(pipeline, packets):
    return [scene for packet in packets if (scene := pipeline.push(packet)) is not None]


def kitchen(make):
    """Ten seconds of a kitchen."""
    for i in range(100):
        t_s = 0.1 * i
        points = [(1.0 + 0.001 * i, 0.3, -0.2, 0.2), (1.1, 0.2 + 0.001 * i, 0.1, -0.1)]
        yield make.radar(t_s, points if i % 3 else ())
        if i % 2:
            yield make.sight(t_s, [(300 + 0.1 * i, 100, 360, 300)])
        if i % 5 == 2:
            yield make.reading("pir", t_s, "motion", float(i % 10 == 2))
            yield make.sound(t_s, {"knock": 0.9 if i == 57 else 0.1}, speech=0.3)
        if i == 60:
            yield make.command(t_s)


def test_scenes_come_five_times_a_second_in_the_packets_time(pipeline, make):
    found = scenes(pipeline, [make.radar(0.1 * i) for i in range(100)])
    assert len(found) == 50
    gaps = np.diff([scene.header.stamp_ns for scene in found])
    assert set(gaps.tolist()) == {200_000_000}
    assert [scene.header.seq for scene in found] == list(range(50))


def test_an_event_sensor_gives_a_scene_at_once_and_a_flood_of_them_does_not(pipeline, make):
    scenes(pipeline, [make.radar(0.0), make.reading("pir", 0.001, "motion", 0.0)])
    (scene,) = scenes(pipeline, [make.reading("pir", 0.05, "motion", 1.0)])
    assert scene.header.stamp_ns == make.stamp(0.05)
    flood = [make.reading("front_door", 0.06 + 1e-4 * i, "contact", float(i % 2)) for i in range(1000)]
    assert len(scenes(pipeline, flood)) <= 6


def test_an_event_right_after_a_scene_is_not_left_to_the_next_tick(pipeline, make):
    """Its scene comes gap_s after the one before, with the next packet or when the node looks again."""
    pipeline.push(make.radar(0.0))
    assert pipeline.asked_ns is None
    assert pipeline.push(make.reading("pir", 0.01, "motion", 1.0)) is None
    assert pipeline.asked_ns == make.stamp(0.02)
    assert pipeline.tick(make.stamp(0.015)) is None
    assert pipeline.tick(make.stamp(0.02)).header.stamp_ns == make.stamp(0.02)
    assert pipeline.asked_ns is None


def test_a_radar_that_begins_to_see_somebody_gives_a_scene_at_once(pipeline, make):
    packets = [make.radar(0.1 * i) for i in range(12)] + [make.radar(1.27, [(1.0, 0.0, 0.0, 0.3)])]
    assert scenes(pipeline, packets)[-1].header.stamp_ns == make.stamp(1.27)
    assert pipeline.push(make.radar(1.33, [(1.0, 0.1, 0.0, 0.3)])) is None  # it goes on


def test_equal_packets_give_equal_bytes(plan, head, make):
    def played():
        pipeline = HomePipeline(HomeConfig(), plan, head)
        return b"".join(map(msgspec.json.encode, scenes(pipeline, kitchen(make))))

    assert played() == played()


def test_every_answer_says_why_and_its_shares_sum_to_one(pipeline, make):
    found = scenes(pipeline, kitchen(make))
    for scene in found:
        whys = [r.why for r in scene.rooms] + [p.why for p in scene.people]
        whys += [e.why for e in scene.events] + [i.why for i in scene.intents]
        assert all(math.isclose(sum(why.shares.values()), 1.0, abs_tol=1e-6) for why in whys)
    room = found[-1].rooms[0]
    assert {"radar", "camera", "motion", "sound"} <= set(room.why.shares)
    assert "co2" in room.why.missing
    assert room.why.ages_ms["radar"] < 200
    assert sum(len(scene.events) for scene in found) == 1
    assert [i.room for scene in found for i in scene.intents] == ["kitchen"]


def test_the_certificate_names_what_was_used(pipeline, make):
    (scene,) = scenes(pipeline, [make.radar(0)])
    states = {use.sensor_id: use.status for use in scene.certificate.sensors}
    assert states["radar"] == "used"
    assert states["camera"] == "missing"
    assert scene.certificate.rung == "in_time"
    late = pipeline.tick(make.stamp(10))
    assert late.certificate.rung == "coasting"
    assert late.certificate.stage_ms == {}  # no clock was given


def test_silence_still_gives_scenes_and_widens_the_answer(plan, head, make):
    pipeline = HomePipeline(HomeConfig(), plan, head)
    pipeline.network = Believing({0: (0.01, 0.99)})
    pipeline.push(make.radar(0))
    p = [pipeline.tick(make.stamp(t)).rooms[0].p_occupied for t in range(1, 1500, 50)]
    assert p[0] > 0.9
    assert p == sorted(p, reverse=True)
    assert p[-1] < 0.3


def test_one_sensor_with_a_wrong_clock_changes_nothing(pipeline, make):
    packets = [make.radar(0.1 * i) for i in range(20)]
    wrong = [make.reading("co2", 1e6 + i, "co2", 500.0) for i in range(20)]
    found = scenes(pipeline, [p for pair in zip(packets, wrong) for p in pair])
    assert len(found) == 10
    assert pipeline.counters["co2"] == {"future": 20}


def test_a_recording_that_begins_again_begins_anew(pipeline, make):
    scenes(pipeline, kitchen(make))
    again = scenes(pipeline, [make.reading("pir", -3600 + t, "motion", 1.0) for t in range(2)])
    assert again == []
    found = scenes(pipeline, [make.radar(-3600 + 0.1 * i) for i in range(30)])
    assert found
    assert found[0].people == ()


def test_states_that_a_broker_had_kept_do_not_turn_time_back(pipeline, make):
    """They are as old as they are, and told now: all of them at once where its connection comes back."""
    pipeline.push(make.radar(0.0))
    for t_s, sensor, kind in (
        (1.0, "front_door", "contact"),
        (1.1, "pir", "motion"),
        (1.2, "bath_pir", "motion"),
    ):
        kept = make.reading(sensor, t_s - 86400, kind, 0.0)
        pipeline.push(replace(kept, told_ns=make.stamp(t_s)))
    assert pipeline.now_ns == make.stamp(1.2)
    assert not pipeline.counters
    assert pipeline.intake.histories["radar"].age_s(pipeline.now_ns) == pytest.approx(
        1.2
    )  # nothing is forgotten


def test_a_command_without_a_room_gets_the_microphones(plan, head, make):
    pipeline = HomePipeline(HomeConfig(), plan, head)
    pipeline.network = Believing({0: (0.1, 0.9)})
    pipeline.push(make.radar(0))
    (intent,) = pipeline.push(make.command(0.1)).intents
    assert (intent.intent, intent.room, intent.slots) == (
        "turn_on",
        "kitchen",
        {"device": "light", "room": "kitchen"},
    )
    (named,) = pipeline.push(make.command(0.2, slots={"device": "light", "room": "Bathroom"})).intents
    assert (named.room, named.slots["room"]) == ("bath", "bath")
    # Nobody in the kitchen, and somebody seen in the bath: the voice came through the door.
    stands = (0.9, 5.5, 1.5, 0.1, 0.0, 0.0, 0.9, 0.05, 0.05, 0.0)
    pipeline.network = Believing({1: (0.1, 0.9)}, [stands])
    (guess,) = pipeline.push(make.command(0.5)).intents
    for i in range(10):
        pipeline.push(make.radar(1.0 + 0.2 * i))
    (heard,) = pipeline.push(make.command(3.05)).intents
    assert (guess.room, heard.room) == ("kitchen", "bath")


def test_a_room_whose_sensors_never_spoke_is_not_taken_for_occupied(plan, head, make):
    pipeline = HomePipeline(HomeConfig(), plan, head)
    pipeline.network = Believing({0: (0.1, 0.9), 1: (0.1, 0.9)})
    scene = [told for i in range(10) if (told := pipeline.push(make.radar(0.2 * i))) is not None][-1]
    kitchen, bath = ({r.room: r for r in scene.rooms}[slug] for slug in ("kitchen", "bath"))
    assert (kitchen.occupied, bath.occupied) == (True, False)
    assert bath.p_occupied == pytest.approx(0.25)
    pipeline.push(make.reading("bath_pir", 2.0, "motion", 1.0))
    scene = pipeline.push(make.radar(2.2))
    assert {r.room: r.occupied for r in scene.rooms}["bath"]


def test_commands_twice_or_late_or_empty_are_counted(pipeline, make):
    first = make.command(10)
    pipeline.push(make.radar(10))
    for packet in (first, first, make.command(10.1, intent=""), make.command(4, sensor="bath_mic")):
        pipeline.push(packet)
    assert pipeline.counters == {"mic": {"replayed": 1, "no_intent": 1}, "bath_mic": {"old_command": 1}}


def test_a_person_has_a_room_a_posture_and_a_covariance(plan, head, make):
    pipeline = HomePipeline(HomeConfig(), plan, head)
    sits = (0.9, 2.0, 1.5, 0.1, 0.0, 0.0, 0.05, 0.9, 0.05, 0.0)
    pipeline.network = Believing({0: (0.0, 1.0)}, [sits])
    for i in range(20):
        scene = pipeline.push(make.radar(0.2 * i, [(1.8 + 0.001 * i, 0.0, 0.0, 0.1)]))
    (person,) = scene.people
    assert (person.room, person.posture) == ("kitchen", "sitting")
    assert math.dist(person.position, (2.0, 1.5)) < 0.05
    assert 0 < person.covariance[0] < 0.05
    assert person.why.shares == {"radar": 1.0}
    assert (scene.rooms[0].occupied, scene.rooms[0].people) == (True, 1)


KINDS = [*READINGS, "nonsense"]
SENSORS = ["pir", "co2", "radar", "camera", "mic", "belt", "beacon", "front_door", "bell", "nobody", ""]
STAMPS = st.one_of(st.floats(-10, 30), st.sampled_from([0.0, 1e6, -1e6, 5.0, 9e9, -1.7e9]), st.floats(0, 3))
VALUES = st.one_of(st.sampled_from([0.0, 1.0, math.nan, math.inf, -1.0, 1e300]), st.floats())
FLOATS = st.floats(width=32)


@st.composite
def packets(draw, make):
    """Any packet that can be on the bus."""
    sensor, t_s = draw(st.sampled_from(SENSORS)), draw(STAMPS)
    kind = draw(st.sampled_from(["reading", "radar", "sight", "sound", "imu", "command"]))
    if kind == "reading":
        told = draw(st.sampled_from(KINDS))
        unit = draw(st.sampled_from([None, "°C", "ppm", "?"]))
        return make.reading(
            sensor, t_s, told, draw(VALUES), unit, draw(st.sampled_from([None, "tag", "x" * 99]))
        )
    if kind == "radar":
        return make.radar(t_s, draw(st.lists(st.tuples(*[FLOATS] * 4), max_size=4)), sensor)
    if kind == "sight":
        return make.sight(t_s, draw(st.lists(st.tuples(*[FLOATS] * 4), max_size=3)), sensor)
    if kind == "sound":
        events = draw(st.dictionaries(st.sampled_from(["knock", "fall", "zap"]), VALUES, max_size=2))
        return make.sound(t_s, events, draw(VALUES), draw(VALUES), sensor)
    if kind == "imu":
        return make.imu(t_s, draw(VALUES), sensor)
    return make.command(t_s, draw(st.sampled_from(["", "wake"])), {"room": draw(st.text(max_size=5))}, sensor)


# The first example compiles the network, which takes long.
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_no_sequence_of_packets_raises_and_every_packet_is_accounted_for(data, plan, head, make):
    pipeline = HomePipeline(HomeConfig(), plan, head)
    sent = data.draw(st.lists(packets(make), min_size=1, max_size=10))
    accepted = 0
    for packet in sent:
        before = sum(sum(c.values()) for c in pipeline.counters.values())
        scene = pipeline.push(packet)
        after = sum(sum(c.values()) for c in pipeline.counters.values())
        assert after - before in (0, 1)
        accepted += after == before
        if scene is not None:
            msgspec.json.decode(msgspec.json.encode(scene))
            for room in scene.rooms:
                assert 0.0 <= room.p_occupied <= 1.0
                assert math.isclose(sum(room.people_p), 1.0, abs_tol=1e-4)
    assert accepted + sum(sum(c.values()) for c in pipeline.counters.values()) == len(sent)
    assert set(pipeline.counters) <= {*plan.sensors, "unknown"}
