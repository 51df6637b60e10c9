import json

import msgspec
import pytest

from fusion_rt.homeassistant.edge import Edge, Pace
from fusion_rt.homeassistant.memory import Memory
from fusion_rt.homeassistant.outbox import EVENT_S, EVENTS, LISTENERS_S
from fusion_rt.homeassistant.topics import Topics
from fusion_rt.plan import Sensor

ROOT = "fusion_rt/home"


class Broker:
    """Takes what an edge has to send, or does not."""

    def __init__(self):
        self.there, self.taken = True, []

    def __call__(self, message):
        if self.there:
            self.taken.append(message)
        return self.there

    def told(self, edge, now_s):
        """Topic without the root -> payload, of what was sent since."""
        self.taken.clear()
        edge.outbox.flush(self, now_s)
        return {m.topic.removeprefix(f"{ROOT}/"): m.payload for m in self.taken}


@pytest.fixture
def broker():
    return Broker()


def edge_of(plan, topics, memory=None, **pace):
    return Edge(plan, topics, memory or Memory(), Pace(**pace), rules=False)


def test_first_devices_then_online_then_states(plan, topics, broker, make):
    edge = edge_of(plan, topics)
    edge.scene(make.scene(make.room("kitchen", True), make.room("hall")), 0.0, 0)
    edge.announce(0.0)
    edge.outbox.flush(broker, 0.0)
    order = [m.topic for m in broker.taken]
    assert order[0] == "homeassistant/device/fusion_rt_home/config"
    assert order[1:6] == [f"homeassistant/device/fusion_rt_home_{room}/config" for room in plan.rooms]
    assert order[6] == f"{ROOT}/status"
    assert set(order[7:14]) == {f"{ROOT}/setting/{name}" for name in edge.settings}
    assert {f"{ROOT}/room/kitchen/state", f"{ROOT}/room/hall/state"} <= set(order[14:])
    for message in broker.taken:
        kept = not message.topic.endswith("/why")
        assert (message.retain, message.qos) == ((True, 1) if kept else (False, 0))
    told = {m.topic: m.payload for m in broker.taken}
    assert told[f"{ROOT}/status"] == b"online"
    assert told[f"{ROOT}/setting/kitchen_hold"] == b"10"
    assert told[f"{ROOT}/setting/kitchen_mic"] == b"ON"
    assert (edge.will.topic, edge.will.payload, edge.will.retain) == (f"{ROOT}/status", b"offline", True)


def test_a_state_on_change_and_every_heartbeat(plan, topics, broker, make):
    edge = edge_of(plan, topics)
    sent = []
    for seq in range(5 * 70):  # 70 s of scenes
        occupied = seq >= 100
        edge.scene(make.scene(make.room("kitchen", occupied, p=0.9 - seq / 1000), seq=seq), seq / 5, 0)
        told = broker.told(edge, seq / 5)
        if "room/kitchen/state" in told:
            sent.append((seq, json.loads(told["room/kitchen/state"])))
    assert [seq for seq, _ in sent] == [0, 100, 250]
    assert sent[1][1] == {
        "occupied": "ON",
        "p_occupied": 0.8,
        "people": 1,
        "activity": "other",
        "since": "2026-01-01T12:00:00.000Z",
        "stamp": "2026-01-01T12:00:20.000Z",
        "motion": None,
        "smoke": None,
    }


def test_why_at_most_once_a_second_and_never_kept(plan, topics, broker, make):
    edge = edge_of(plan, topics)
    count = 0
    for seq in range(100):  # 10 s of scenes at 10 Hz, the state changing each time
        edge.scene(make.scene(make.room("kitchen", seq % 2 == 0), seq=seq), seq / 10, 0)
        told = broker.told(edge, seq / 10)
        assert "room/kitchen/state" in told
        if "room/kitchen/why" in told:
            count += 1
            why = json.loads(told["room/kitchen/why"])
    assert count == 10
    assert why["shares"] == {"radar": 0.6, "motion": 0.4}
    assert why["missing"] == ["kitchen_pir"]
    assert why["ages_ms"] == {"kitchen_radar": 42}


def test_an_event_once_never_kept_and_not_for_ever(plan, topics, broker, make):
    edge = edge_of(plan, topics)
    with_fall = make.scene(
        make.room("kitchen", True), events=[make.event(), make.event(place="nowhere", name="x")]
    )
    broker.there = False
    for i in range(3):
        edge.scene(with_fall, i / 5, 0)
    edge.announce(1.0)
    edge.outbox.flush(broker, 1.0)
    broker.there = True
    edge.outbox.flush(broker, EVENT_S - 1)
    events = [m for m in broker.taken if m.topic.endswith("/event")]
    assert [(m.topic, m.qos, m.retain) for m in events] == [(f"{ROOT}/room/kitchen/event", 1, False)]
    told = json.loads(events[0].payload)
    assert {k: told[k] for k in ("event_type", "p", "stamp", "id")} == {
        "event_type": "fall",
        "p": 0.9,
        "stamp": "2026-01-01T12:00:00.000Z",
        "id": "fall-1",
    }
    topics_in_order = [m.topic for m in broker.taken]
    assert topics_in_order.index(f"{ROOT}/status") < topics_in_order.index(f"{ROOT}/room/kitchen/event")
    # One that waited too long for the broker is nobody's any more, and counted.
    broker.there = False
    edge.scene(make.scene(events=[make.event(name="fall-2")]), 100.0, 0)
    broker.there = True
    assert "room/kitchen/event" not in broker.told(edge, 101.0 + EVENT_S)
    assert edge.outbox.late == 1
    broker.there = False
    for i in range(EVENTS + 5):
        edge.scene(make.scene(events=[make.event(name=f"knock-{i}")]), 200.0, 0)
    assert edge.outbox.late == 6


def test_events_wait_for_those_that_are_to_hear_them(plan, topics, broker, make):
    edge = edge_of(plan, topics)
    edge.scene(make.scene(events=[make.event(name="1")]), 0.0, 0)
    edge.outbox.hold_events(1.0)
    assert "room/kitchen/event" not in broker.told(edge, LISTENERS_S)
    assert "room/kitchen/event" in broker.told(edge, 1.0 + LISTENERS_S)
    edge.scene(make.scene(events=[make.event(name="2")]), 20.0, 0)
    edge.outbox.hold_events(20.0)
    edge.outbox.release_events()
    assert "room/kitchen/event" in broker.told(edge, 20.1)


def test_intents_and_people(plan, topics, broker, make):
    edge = edge_of(plan, topics, people_s=0.5)
    scenes = [
        make.scene(people=[make.person()], intents=[make.intent(device="lamp")], seq=s) for s in range(10)
    ]
    sent = []
    for i, scene in enumerate(scenes):  # 5 Hz
        edge.scene(scene, i / 5, 0)
        sent.append(broker.told(edge, i / 5))
    assert ["intent" in told for told in sent] == [True] + [False] * 9
    assert json.loads(sent[0]["intent"]) == {
        "intent": "turn_on",
        "slots": {"device": "lamp"},
        "p": 0.9,
        "room": "kitchen",
        "stamp": "2026-01-01T12:00:00.000Z",
    }
    assert sum("people" in told for told in sent) == 4  # 2 Hz at most
    assert json.loads(sent[0]["people"])[0] == {
        **{"id": 1, "x": 1.23, "y": 2.5, "std_m": 0.14, "room": "kitchen"},
        **{"posture": "standing", "p": 0.97, "coasting_s": 0.0},
    }
    silent = edge_of(plan, topics)
    silent.scene(scenes[0], 0.0, 0)
    assert "people" not in broker.told(silent, 0.0)  # off, unless it is asked for


def test_what_a_sensor_says_itself(plan, topics, broker, make):
    two = msgspec.structs.replace(
        plan, sensors=plan.sensors | {"second": Sensor(kind="motion", room="kitchen")}
    )
    edge = edge_of(two, topics)

    def motion(sensor_id, value, now_s):
        edge.reading(make.reading(sensor_id, "motion", value), now_s)
        told = broker.told(edge, now_s)
        return json.loads(told["room/kitchen/state"])["motion"] if "room/kitchen/state" in told else "silence"

    assert motion("kitchen_pir", 1.0, 0.0) == "silence"  # no scene yet: the rest is not known
    edge.scene(make.scene(make.room("kitchen")), 1.0, 0)
    assert json.loads(broker.told(edge, 1.0)["room/kitchen/state"])["motion"] == "ON"
    assert motion("kitchen_pir", 1.0, 2.0) == "silence"  # nothing new
    assert motion("second", 0.0, 2.0) == "silence"  # one of them still sees something
    assert motion("kitchen_pir", float("nan"), 2.0) == "OFF"
    assert motion("second", float("inf"), 2.0) is None
    assert motion("hall_pir", 1.0, 2.0) == "silence"
    assert motion("nobody", 1.0, 2.0) == "silence"
    assert motion("kitchen_pir", 1.0, 95.0) == "silence"  # the last scene is long ago


def test_silence_is_not_told_as_presence(plan, topics, broker, make):
    edge = edge_of(plan, topics)
    edge.scene(make.scene(make.room("kitchen", True)), 0.0, 0)
    broker.told(edge, 0.0)
    edge.announce(89.0)
    assert "room/kitchen/state" in broker.told(edge, 89.0)
    edge.announce(91.0)  # Home Assistant started, the home node is away: nothing is known now
    assert "room/kitchen/state" not in broker.told(edge, 91.0)


def test_a_changed_plan_cleans_up(plan, topics, broker):
    memory = Memory()
    first = edge_of(plan, topics, memory)
    first.announce(0.0)
    first.intends()
    first.outbox.flush(broker, 0.0)
    first.announced()
    memory = msgspec.json.decode(msgspec.json.encode(memory), type=Memory)  # as a new process finds it
    rooms = {slug: room for slug, room in plan.rooms.items() if slug != "hall"}
    sensors = {
        slug: sensor
        for slug, sensor in plan.sensors.items()
        if sensor.room != "hall" and slug not in ("kitchen_microphone", "kitchen_pir")
    }
    smaller = msgspec.structs.replace(plan, rooms=rooms, doors={}, sensors=sensors)
    second = edge_of(smaller, topics, memory)
    broker.taken.clear()
    second.announce(0.0)
    second.intends()
    second.outbox.flush(broker, 0.0)
    hall = "homeassistant/device/fusion_rt_home_hall/config"
    kitchen = "homeassistant/device/fusion_rt_home_kitchen/config"
    removed = [m.topic for m in broker.taken if m.payload == b""]
    assert sorted(removed) == sorted(
        [hall, f"{ROOT}/room/hall/state", f"{ROOT}/setting/hall_hold", f"{ROOT}/setting/kitchen_mic"]
    )
    assert all(m.retain for m in broker.taken if m.payload == b"")
    marked, then = (json.loads(m.payload)["components"] for m in broker.taken if m.topic == kitchen)
    for key, platform in (("microphone", "switch"), ("motion", "binary_sensor"), ("doorbell", "event")):
        assert marked[key] == {"platform": platform}
        assert key not in then
    assert marked["people"] == then["people"]
    # Killed before the broker took it: done again next time.
    assert hall in memory.devices
    second.announced()
    assert hall not in memory.devices
    third = edge_of(smaller, topics, memory)
    broker.taken.clear()
    third.announce(0.0)
    third.outbox.flush(broker, 0.0)
    assert not [m for m in broker.taken if m.payload == b""]


def test_another_site_or_prefix_leaves_nothing_behind(plan, topics, broker):
    memory = Memory()
    first = edge_of(plan, topics, memory)
    first.announced()
    other = msgspec.structs.replace(plan, site="flat")
    second = edge_of(other, Topics.of(other, discovery="ha"), memory)
    second.announce(0.0)
    second.outbox.flush(broker, 0.0)
    removed = {m.topic for m in broker.taken if m.payload == b""}
    assert len(removed) == 6 + 1 + 5 + 7  # devices, status, rooms, settings
    assert {m.topic for m in broker.taken if m.payload}.isdisjoint(removed)


def test_settings_are_told_and_remembered(plan, topics, broker):
    memory = Memory()
    edge = edge_of(plan, topics, memory)
    edge.set(edge.settings["kitchen_hold"], 42.5)
    edge.set(edge.settings["living_mic"], False)
    told = broker.told(edge, 0.0)
    assert (told["setting/kitchen_hold"], told["setting/living_mic"]) == (b"42.5", b"OFF")
    again = edge_of(plan, topics, memory)
    assert {s.name: value for s, value in again.chosen()} == {"kitchen_hold": 42.5, "living_mic": False}
    again.announce(0.0)
    assert broker.told(again, 0.0)["setting/kitchen_hold"] == b"42.5"


def test_health(plan, topics, broker, make):
    edge = edge_of(plan, topics)
    edge.health(scenes_lost=0)
    assert json.loads(broker.told(edge, 0.0)["health"])["p50_ms"] is None
    for i in range(100):
        way = [("published", 0, "h"), ("received", 10, "h"), ("published", 20, "h"), ("received", 30, "h")]
        edge.scene(make.scene(seq=i, missing=("hall_pir",), trace=way), i / 5, (i + 1) * 1_000_000)
    edge.health(scenes_lost=3)
    edge.outbox.flush(broker, 20.0)
    message = broker.taken[-1]
    assert (message.topic, message.qos, message.retain) == (f"{ROOT}/health", 0, False)
    told = json.loads(message.payload)
    assert told["p50_ms"] == pytest.approx(50.5)
    assert told["p99_ms"] == pytest.approx(99.0, abs=0.1)
    assert (told["drops"], told["sensors_missing"], told["raw_rooms"]) == (2, ["hall_pir"], [])
    assert told["scenes_lost"] == 3


def test_a_broker_that_takes_nothing_lets_nothing_pile_up(plan, topics, broker, make):
    edge = edge_of(plan, topics)
    broker.there = False
    for seq in range(2000):
        edge.scene(make.scene(*(make.room(r, seq % 2 == 0) for r in plan.rooms), seq=seq), seq / 5, 0)
        edge.outbox.flush(broker, seq / 5)
    broker.there = True
    told = broker.told(edge, 400.0)
    assert len(broker.taken) == len(told) == 2 * len(plan.rooms)
    assert json.loads(told["room/hall/state"])["occupied"] == "OFF"  # the newest
