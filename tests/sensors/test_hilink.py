"""The makers' own examples, then damage."""

import math

import numpy as np
import pytest

from fusion_rt.sensors.ld2410 import Ld2410
from fusion_rt.sensors.ld2450 import Ld2450

# Instruction manual of the LD2450, section 6: x -782 mm, y 1713 mm, speed -16 cm/s.
EXAMPLE = bytes.fromhex("AAFF0300 0E03B18610004001 0000000000000000 0000000000000000 55CC")
# Serial protocol of the LD2410, section 2.3: basic, somebody still; engineering, both.
BASIC = bytes.fromhex("F4F3F2F1 0D00 02AA 02 5100 00 0000 3B 0000 5500 F8F7F6F5")
ENGINEERING = bytes.fromhex(
    "F4F3F2F1 2300 01AA 03 1E00 3C 0000 39 0000 0808 3C2205030304030605 000039101306060804 0305 5500 F8F7F6F5"
)


def test_the_ld2450s_example():
    (cut,) = Ld2450().feed(EXAMPLE)
    np.testing.assert_allclose(cut.frame.xyz, [[1.713, 0.782, 0]], rtol=1e-6)  # x forward, y left
    np.testing.assert_allclose(cut.frame.velocity, [-0.16], rtol=1e-6)  # it comes nearer
    assert cut.frame.snr_db.tolist() == [0.0]


def test_three_targets_and_none():
    slot = bytes.fromhex("E883 D087 9080 6801")  # x 1000, y 2000, 144 cm/s
    (cut,) = Ld2450().feed(EXAMPLE[:4] + slot * 3 + EXAMPLE[-2:])
    np.testing.assert_allclose(cut.frame.xyz, [[2, -1, 0]] * 3, rtol=1e-6)
    np.testing.assert_allclose(cut.frame.velocity, [1.44] * 3, rtol=1e-6)
    (cut,) = Ld2450().feed(EXAMPLE[:4] + bytes(24) + EXAMPLE[-2:])
    assert cut.frame.xyz.shape == (0, 3)


def test_an_end_that_is_not_there():
    decoder = Ld2450()
    assert decoder.feed(EXAMPLE[:-1] + b"\0" + EXAMPLE[4:]) == []
    assert decoder.counts == {"bad_end": 1, "garbage_bytes": len(EXAMPLE) * 2 - 4}


def test_the_ld2410s_examples():
    (basic, engineering) = (Ld2410().feed(f)[0].frame for f in (BASIC, ENGINEERING))
    assert (basic.presence, basic.motion, basic.distance_m) == (True, False, 0.0)
    assert (engineering.presence, engineering.motion, engineering.distance_m) == (True, True, 0.0)
    (nobody,) = (Ld2410().feed(BASIC[:8] + b"\0" + BASIC[9:])[0].frame,)
    assert (nobody.presence, nobody.motion) == (False, False)
    assert math.isnan(nobody.distance_m)


@pytest.mark.parametrize(
    ("at", "byte", "cause"),
    [
        (4, 200, "absurd_length"),
        (8, 9, "absurd_state"),
        (6, 7, "not_a_report"),
        (18, 3, "checksum"),
        (22, 0, "bad_end"),
    ],
)
def test_damage_is_counted_by_cause(at, byte, cause):
    decoder = Ld2410()
    assert decoder.feed(BASIC[:at] + bytes([byte]) + BASIC[at + 1 :]) == []
    assert decoder.counts[cause] == 1
    assert len(decoder.feed(BASIC)) == 1


def test_commands_answers_in_between_are_no_frames():
    decoder = Ld2410()
    ack = bytes.fromhex("FDFCFBFA 0800 FF01 0000 0100 4000 04030201")
    assert len(decoder.feed(ack + BASIC + ack + BASIC)) == 2
    assert decoder.counts == {"garbage_bytes": 2 * len(ack)}
