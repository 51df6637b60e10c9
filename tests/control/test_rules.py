import pytest

from fusion_rt.control import Rules
from fusion_rt.errors import ConfigError


def test_the_example_is_right(example):
    assert len(example.rules) == 7
    assert example.rules["kitchen_light"].then[0].word == "on"  # YAML's `on` is true
    assert [a.word for a in example.rules["kitchen_dark"].then] == ["off"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: {when: {room: kitchen, occupied: true}, then: []}", "nothing to do"),
        (
            "a: {when: {room: kichen, occupied: true}, then: [{device: living_lamp, command: on}]}",
            "'kitchen'",
        ),
        (
            "a: {when: {room: kitchen, occupied: true}, then: [{device: lamp, command: on}]}",
            "no device 'lamp'",
        ),
        (
            "a: {when: {room: kitchen, occupied: true}, then: [{device: living_lamp, command: open}]}",
            "knows no 'open'",
        ),
        (
            "a: {when: {room: kitchen, occupied: true}, then: [{device: asked, command: on}]}",
            "nobody has asked",
        ),
        (
            "a: {when: {room: kitchen, occupied: true}, then: [{device: living_lamp, command: asked}]}",
            "nobody has",
        ),
        ("a: {when: {room: kitchen}, then: [{device: living_lamp, command: on}]}", "give `intent`"),
        (
            "a: {when: {between: ['10:00', '11:00']}, then: [{device: living_lamp, command: on}]}",
            "give `intent`",
        ),
        ("a: {when: {occupied: true}, then: [{device: living_lamp, command: on}]}", "which room"),
        ("a: {when: {event: fal}, then: [{device: living_lamp, command: on}]}", "'fall'"),
        ("a: {when: {intent: x, event: fall}, then: [{device: living_lamp, command: on}]}", "two rules"),
        ("a: {when: {room: hall, activity: cook}, then: [{device: living_lamp, command: on}]}", "'cooking'"),
        (
            "a: {when: {event: fall, between: ['7', '8']}, then: [{device: living_lamp, command: on}]}",
            "'7' is no time",
        ),
        (
            "a: {when: {event: fall, between: ['24:00', '8:00']}, then: [{device: living_tv, command: on}]}",
            "no time",
        ),
        (
            "a: {when: {event: fall, between: ['08:00', '8:00']}, then: [{device: living_tv, command: on}]}",
            "itself",
        ),
        (
            "a: {when: {event: fall, evnt: x}, then: [{device: living_lamp, command: on}]}",
            "did you mean 'event'",
        ),
        ("a: {when: {event: fall}, then: [{device: living_lamp, command: brightness}]}", "needs a `value`"),
        (
            "a: {when: {event: fall}, then: [{device: living_lamp, command: brightness, value: 101}]}",
            "0 to 100",
        ),
        (
            "a: {when: {event: fall}, then: [{device: living_lamp, command: on, value: 1}]}",
            "takes no `value`",
        ),
        ("a: {when: {event: fall}, then: [{device: front_lock, command: unlock}]}", "allow_safety: true"),
    ],
)
def test_what_can_never_work_is_said(rules, text, said):
    with pytest.raises(ConfigError) as error:
        rules(text)
    assert said in str(error.value)
    assert "a" in str(error.value)


@pytest.mark.parametrize(
    ("beside", "said"),
    [
        ("zone: Mars/Olympus", "no zone"),
        ("zone: ../../etc/passwd", "no zone"),
        ("payloads: {living_lamp: homematic}", "payloads.living_lamp"),
        ("payloads: {lamp: plain}", "no device 'lamp'"),
        ("payloads: {living_lamp: tasmota}", "cmnd/NAME/POWER"),
        ("limits: {device_per_minute: 0}", "limits.device_per_minute"),
    ],
)
def test_what_stands_beside_the_rules(rules, beside, said):
    with pytest.raises(ConfigError) as error:
        rules("a: {when: {event: fall}, then: [{device: living_lamp, command: on}]}", beside)
    assert said in str(error.value)


@pytest.mark.parametrize(
    "topic",
    ["zigbee2mqtt/+/set", "a/#", "fusion_rt/home/set/kitchen_mic", "homeassistant/status", "$SYS/x", "a\nb"],
)
def test_a_topic_that_is_not_a_devices(plan, topic):
    import msgspec

    lamp = msgspec.structs.replace(plan.devices["living_lamp"], topic=topic)
    other = msgspec.structs.replace(plan, devices=plan.devices | {"living_lamp": lamp})
    with pytest.raises(ConfigError, match="living_lamp"):
        Rules.from_yaml("rules: {a: {when: {event: fall}, then: [{device: living_tv, command: on}]}}", other)
