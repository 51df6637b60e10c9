import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_rt.homeassistant import settings
from fusion_rt.homeassistant.settings import BURST, Commands, Refused, Setting

NOW_NS = 1_767_268_800_000_000_000  # 2026-01-01T12:00:00Z
HOLD = Setting(name="kitchen_hold", kind="hold", room="kitchen", value=10.0, high=600.0)
MICROPHONE = Setting(name="kitchen_mic", kind="microphone", room="kitchen", value=True)


def stamped(value, stamp):
    return json.dumps({"value": value, "stamp": stamp}).encode()


@pytest.mark.parametrize(
    ("setting", "payload", "value"),
    [
        (HOLD, b"30", 30.0),
        (HOLD, b" 30.5\n", 30.5),
        (HOLD, b"0", 0.0),
        (HOLD, b'{"value": 600}', 600.0),
        (HOLD, stamped(7, "2026-01-01T12:00:04.900Z"), 7.0),
        (HOLD, stamped(7, "2026-01-01T13:59:56+02:00"), 7.0),
        (MICROPHONE, b"ON", True),
        (MICROPHONE, b"OFF", False),
        (MICROPHONE, b'{"value": false}', False),
        (MICROPHONE, b'{"value": "ON"}', True),
    ],
)
def test_what_is_obeyed(setting, payload, value):
    assert settings.parse(setting, payload, NOW_NS) == value


@pytest.mark.parametrize(
    ("setting", "payload", "cause"),
    [
        (HOLD, b"", "type"),
        (HOLD, b"ON", "type"),
        (HOLD, b"true", "type"),
        (HOLD, b'{"value": true}', "type"),
        (HOLD, b"-1", "range"),
        (HOLD, b"600.1", "range"),
        (HOLD, b"nan", "range"),
        (HOLD, b"1e400", "range"),
        (HOLD, b"\xff\xfe", "encoding"),
        (HOLD, b"9" * 600, "size"),
        (HOLD, b"{" * 500, "type"),
        (HOLD, b'{"value": ' + b"[" * 480, "type"),
        (HOLD, b'{"value": 1, "extra": 2}', "type"),
        (HOLD, b'{"value": null}', "type"),
        (HOLD, stamped(7, "2026-01-01T11:59:54Z"), "age"),
        (HOLD, stamped(7, "2026-01-01T12:00:06Z"), "age"),  # of the future
        (HOLD, stamped(7, "2026-01-01T12:00:00"), "type"),  # in which zone?
        (HOLD, stamped(7, "yesterday"), "type"),
        (MICROPHONE, b"on", "type"),
        (MICROPHONE, b"1", "type"),
        (MICROPHONE, b'{"value": 1}', "type"),
    ],
)
def test_what_is_not(setting, payload, cause):
    with pytest.raises(Refused) as refused:
        settings.parse(setting, payload, NOW_NS)
    assert refused.value.cause == cause
    assert len(str(refused.value)) < 200


@given(st.binary(max_size=600), st.sampled_from([HOLD, MICROPHONE]))
def test_whatever_comes_is_a_value_or_refused(payload, setting):
    try:
        value = settings.parse(setting, payload, NOW_NS)
    except Refused:
        return
    assert type(value) is (float if setting is HOLD else bool)


def test_commands_are_counted_by_cause():
    commands = Commands({"kitchen_hold": HOLD})

    def take(name, payload, *, retained=False, now_s=0.0):
        return commands.take(name, payload, retained=retained, now_ns=NOW_NS, now_s=now_s)

    assert take("kitchen_hold", b"5") == (HOLD, 5.0)
    for name, payload, retained in (
        ("other", b"5", False),
        ("kitchen_hold", b"5", True),
        ("kitchen_hold", b"x", False),
    ):
        with pytest.raises(Refused):
            take(name, payload, retained=retained)
    for _ in range(BURST - 2):  # two were let through above
        take("kitchen_hold", b"5")
    for _ in range(50):
        with pytest.raises(Refused, match="too many"):
            take("kitchen_hold", b"5")
    assert take("kitchen_hold", b"6", now_s=1.0) == (HOLD, 6.0)
    with pytest.raises(Refused):
        take("kitchen_hold", b"6", now_s=1.5)
    assert commands.refused == {"unknown": 1, "retained": 1, "type": 1, "rate": 51}


def test_settings_of_a_plan(plan):
    found = settings.settings(plan, rules=True)
    assert set(found) == {*(f"{room}_hold" for room in plan.rooms), "kitchen_mic", "living_mic", "rules"}
    assert found["kitchen_hold"].value == 10.0
    assert found["kitchen_hold"].high == 600
