import json

import numpy as np
import pytest

from fusion_rt.bus import wire
from fusion_rt.errors import MessageError
from fusion_rt.sinks import from_raw, to_json, to_raw


def test_raw_is_the_whole_message(samples):
    for message in (samples.cloud(1, 500), samples.image(2), samples.imu(3)):
        got = from_raw(to_raw("topic", message))
        assert got.header == message.header
        for name in message.__struct_fields__:
            np.testing.assert_array_equal(getattr(got, name), getattr(message, name))


def test_json_says_what_arrays_are(samples):
    plain = json.loads(to_json(samples.cloud(1, 500)))
    assert plain["xyz"] == {"dtype": "float32", "shape": [500, 3]}
    assert json.loads(to_json(samples.imu(3)))["specific_force"] == [0.0, 0.0, 9.81]


def test_hostile_frames(samples):
    frame = to_raw("t", samples.cloud(1, 500))
    for wrong in (b"", b"t\0", frame[:-100], frame[:40], bytes(1000)):
        with pytest.raises(MessageError):
            from_raw(wrong)
    slot = wire.Slot("fusion_rt-0-1-0123456789abcdef", 0, 1)
    envelope = wire.Envelope("event", 0, 0, 0, "h", b"", (wire.Place(True, 0, 8),), slot)
    with pytest.raises(MessageError, match="another machine"):
        from_raw(wire.encode(b"t\0", envelope, []))
