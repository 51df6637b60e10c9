import json
from datetime import datetime, timezone

import pytest

from fusion_rt.control import Controller

S = 1_000_000_000


def stamp(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()) * S


def run(controller, *scenes):
    """(device, command, result) of every decision."""
    return [(d.device, d.command, d.result) for scene in scenes for d in controller.push(scene)]


def test_a_state_acts_when_it_begins(rules, plan, make):
    text = "a: {when: {room: hall, occupied: true}, then: [{device: living_lamp, command: on}]}"
    hall = [
        make.scene(make.room("hall", occupied), seq=i) for i, occupied in enumerate([1, 1, 0, 1, 1, 0, 0, 1])
    ]
    on = ("living_lamp", "on", "send")
    # Of the first scene nobody knows whether it has just begun.
    assert run(Controller(rules(text), plan), *hall) == [on, on]


def test_what_is_not_known_changes_nothing(rules, plan, make):
    text = "a: {when: {room: hall, occupied: true}, then: [{device: living_lamp, command: on}]}"
    controller = Controller(rules(text), plan)
    assert (
        run(controller, make.scene(make.room("hall", False)), make.scene(make.room("hall", True), seq=1))
        != []
    )
    gone = [make.scene(seq=2), make.scene(make.room("hall", False), seq=3, rung="none")]
    assert run(controller, *gone, make.scene(make.room("hall", True), seq=4)) == []


def test_empty_for_a_while(rules, plan, make):
    text = "a: {when: {room: hall, empty_s: 60}, then: [{device: living_lamp, command: off}]}"
    controller = Controller(rules(text), plan)
    since = make.START_NS
    acted = []
    for second in range(0, 200, 5):
        scene = make.scene(make.room("hall", False, since_ns=since), stamp_ns=since + second * S)
        acted += [(second, d.device) for d in controller.push(scene)]
    assert acted == [(60, "living_lamp")]


@pytest.mark.parametrize(
    ("at", "acts"),
    [
        ("2026-03-28T21:29:00", False),  # 22:29 in Vienna
        ("2026-03-28T21:30:00", True),
        ("2026-03-29T05:59:00", False),  # the clock went forward in the night: 07:59
        ("2026-03-29T03:59:00", True),  # 05:59
        ("2026-03-29T04:00:00", False),  # 06:00
        ("2026-07-01T20:30:00", True),  # 22:30 in summer
    ],
)
def test_times_of_day_are_the_zones(rules, plan, make, at, acts):
    text = """
a: {when: {event: doorbell, between: ["22:30", "06:00"]}, then: [{device: living_lamp, command: on}]}
"""
    controller = Controller(rules(text, "zone: Europe/Vienna"), plan)
    scene = make.scene(events=[make.event("doorbell", "hall", onset_ns=stamp(at))], stamp_ns=stamp(at))
    assert bool(controller.push(scene)) == acts


def test_days(rules, plan, make):
    text = "a: {when: {event: knock, days: [sat]}, then: [{device: living_lamp, command: on}]}"
    for at, acts in (("2026-01-02T12:00:00", False), ("2026-01-03T12:00:00", True)):
        scene = make.scene(events=[make.event("knock", onset_ns=stamp(at))], stamp_ns=stamp(at))
        assert bool(Controller(rules(text), plan).push(scene)) == acts


def test_an_event_counts_once_in_its_room_and_while_it_is_new(rules, plan, make):
    text = """
a: {when: {event: fall, room: kitchen, p_min: 0.8}, then: [{device: kitchen_ceiling, command: on}]}
"""
    controller = Controller(rules(text), plan)
    fall = make.event(name="1")
    assert run(controller, make.scene(events=[fall]), make.scene(events=[fall], seq=1)) == [
        ("kitchen_ceiling", "on", "send")
    ]
    others = [
        make.event(name="2", place="hall"),
        make.event(name="3", p=0.7),
        make.event("knock", name="4"),
        make.event(name="5", onset_ns=make.START_NS - 6 * S),
    ]
    assert run(controller, make.scene(events=others, seq=2)) == []


def test_conditions_of_other_rooms(example, plan, make):
    """The door is locked when somebody sleeps, at night, and the hall is empty."""

    def scene(hour, hall, bed="sleeping"):
        at = stamp(f"2026-01-01T{hour}:00:00")
        hall_room = make.room("hall", hall, since_ns=at - 100 * S)
        return make.scene(hall_room, make.room("bedroom", True, activity=bed), stamp_ns=at)

    controller = Controller(example, plan)
    assert run(controller, scene("22", True), scene("23", True), scene("23", False, "walking")) == []
    assert run(controller, scene("23", False)) == [("front_lock", "lock", "send")]


@pytest.mark.parametrize(
    ("intent", "room", "slots", "devices"),
    [
        ("turn_off", "kitchen", {"kind": "light"}, ["kitchen_ceiling"]),
        ("turn_off", "living", {"kind": "light"}, ["living_lamp"]),
        ("turn_off", "living", {"kind": "light", "room": "bedroom"}, ["bedroom_lamp"]),
        (
            "turn_off",
            "living",
            {"kind": "light", "all": "all"},
            ["kitchen_ceiling", "living_lamp", "bedroom_lamp"],
        ),
        ("turn_on", "bedroom", {"device": "kitchen_coffee"}, ["kitchen_coffee"]),
        ("turn_on", "bedroom", {"device": "coffee machine"}, ["kitchen_coffee"]),
        ("turn_on", "bedroom", {"device": "lamp"}, ["bedroom_lamp"]),
        ("turn_on", "kitchen", {"device": "lamp"}, []),  # which of two?
        ("turn_on", "kitchen", {"kind": "fan"}, []),  # another room's
        ("turn_on", "kitchen", {}, []),
    ],
)
def test_who_is_meant(example, plan, make, intent, room, slots, devices):
    asked = make.intent(intent, room, **slots)
    decisions = Controller(example, plan).push(make.scene(intents=[asked, asked]))
    assert [d.device for d in decisions if d.result == "send"] == devices
    if not devices:
        assert [(d.result, d.order) for d in decisions] == [("refused", None)]
        assert "no device" in decisions[0].reason


def test_voice_opens_no_lock_unless_a_rule_says_so(example, rules, plan, make):
    scene = make.scene(intents=[make.intent("open", "hall", device="front_lock")])
    decision = Controller(example, plan).push(scene)[0]
    assert (decision.result, decision.command) == ("refused", "unlock")
    assert decision.reason.startswith("safety")
    text = "a: {when: {intent: open}, then: [{device: asked, command: asked}], allow_safety: true}"
    decision = Controller(rules(text), plan).push(scene)[0]
    assert (decision.result, json.loads(decision.order.payload)) == ("send", {"state": "UNLOCK"})


def test_set_by_voice(example, plan, make):
    for said, result in (("40", "send"), ("400", "refused"), ("loud", "refused")):
        scene = make.scene(intents=[make.intent("set", "living", device="living_lamp", brightness=said)])
        assert Controller(example, plan).push(scene)[0].result == result


def test_dry_run_and_pause(example, plan, make):
    scene = make.scene(intents=[make.intent("turn_on", "living", device="living_lamp")])
    dry = Controller(example, plan, dry_run=True)
    assert run(dry, scene) == [("living_lamp", "on", "dry_run")]
    paused = Controller(example, plan)
    paused.paused = True
    assert run(paused, scene) == []
    paused.paused = False
    assert run(paused, scene) == []  # what was asked then is not done now


def test_rest(rules, plan, make):
    text = "a: {when: {event: knock}, then: [{device: living_lamp, command: on}], rest_s: 10}"
    controller = Controller(rules(text), plan)
    acted = []
    for second in range(0, 30, 3):
        at = make.START_NS + second * S
        scene = make.scene(events=[make.event("knock", name=str(second), onset_ns=at)], stamp_ns=at)
        acted += [second] * len(controller.push(scene))
    assert acted == [0, 12, 24]


def test_limits(rules, plan, make):
    text = """
a: {when: {event: knock}, then: [{device: living_lamp, command: on}, {device: living_tv, command: on}]}
"""
    controller = Controller(rules(text, "limits: {device_per_minute: 3, all_per_minute: 4}"), plan)
    decisions = []
    for i in range(5):
        at = make.START_NS + i * S
        decisions += controller.push(
            make.scene(events=[make.event("knock", name=str(i), onset_ns=at)], stamp_ns=at)
        )
    assert [d.result for d in decisions] == ["send"] * 4 + ["refused"] * 6
    assert "for all devices" in decisions[4].reason
    later = make.START_NS + 120 * S
    scene = make.scene(events=[make.event("knock", name="x", onset_ns=later)], stamp_ns=later)
    assert [d.result for d in controller.push(scene)] == ["send", "send"]


def test_rules_that_answer_each_other_are_stopped(rules, plan, make):
    """A lamp whose light makes the room look empty, which turns it off, which makes it look occupied ..."""
    text = """
lit: {when: {room: living, occupied: true}, then: [{device: living_lamp, command: on}]}
dark: {when: {room: living, occupied: false}, then: [{device: living_lamp, command: off}]}
"""
    controller = Controller(rules(text, "limits: {device_per_minute: 100, flips: 4, calm_s: 300}"), plan)
    occupied, sent, refused = True, 0, ""
    for second in range(120):
        at = make.START_NS + second * S
        for decision in controller.push(make.scene(make.room("living", occupied), stamp_ns=at)):
            if decision.result == "send":
                sent += 1
                occupied = decision.command == "off"  # the loop
            else:
                refused = decision.reason
        if sent == 0:
            occupied = not occupied
    assert sent == 4
    assert refused.startswith("loop")
    # A person may, at any time.
    at = make.START_NS + 130 * S
    voice = "v: {when: {intent: turn_on}, then: [{device: asked, command: asked}]}"
    by_person = Controller(rules(text + voice), plan)
    scene = make.scene(
        intents=[make.intent("turn_on", "living", device="living_lamp", stamp_ns=at)], stamp_ns=at
    )
    assert run(by_person, scene) == [("living_lamp", "on", "send")]


def test_why(rules, plan, make):
    text = "a: {when: {room: hall, occupied: true}, then: [{device: living_lamp, command: on}]}"
    controller = Controller(rules(text), plan)
    controller.push(make.scene(make.room("hall", False)))
    decision = controller.push(make.scene(make.room("hall", True), seq=1))[0]
    assert decision.why["rooms"]["hall"]["shares"] == {"radar": 0.6, "motion": 0.4}
    assert decision.why["rooms"]["hall"]["p"] == 0.93
