"""Any bytes, however chopped: the same frames and the same counts."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_rt.sensors.framing import Flaw, Framer
from fusion_rt.sensors.ld2410 import Ld2410
from fusion_rt.sensors.ld2450 import Ld2450
from fusion_rt.sensors.ti_mmwave import TiMmwave

LD2450 = bytes.fromhex("AAFF0300 0E03B18610004001 0000000000000000 0000000000000000 55CC")
LD2410 = bytes.fromhex("F4F3F2F1 0D00 02AA 02 5100 00 0000 3B 0000 5500 F8F7F6F5")
POINTS = struct.pack("<8f", 1, 2, 0.5, -0.3, -1, 4, 0.1, 0.2)
TI = b"\x02\x01\x04\x03\x06\x05\x08\x07" + struct.pack("<8I", 0x03050004, 80, 0xA6843, 7, 0, 2, 1, 0)
TI += struct.pack("<II", 1, 32) + POINTS
DECODERS = {Ld2450: LD2450, Ld2410: LD2410, TiMmwave: TI}


@st.composite
def streams(draw, frame):
    """Whole frames, frames with a hole, with changed bytes, and garbage, in any order; and where it is
    cut."""
    damaged = st.one_of(
        st.just(frame),
        st.builds(
            lambda a, n: frame[:a] + frame[a + n :], st.integers(0, len(frame)), st.integers(1, len(frame))
        ),
        st.builds(
            lambda a, byte: frame[:a] + bytes([byte]) + frame[a + 1 :],
            st.integers(0, len(frame) - 1),
            st.integers(0, 255),
        ),
        st.binary(max_size=40),
    )
    stream = b"".join(draw(st.lists(damaged, max_size=12)))
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)])]


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda d: d.__name__)
@given(data=st.data())
def test_chopping_changes_nothing(decoder, data):
    chunks = data.draw(streams(DECODERS[decoder]))
    whole, chopped = decoder(), decoder()
    expected = [repr(cut.frame) for cut in whole.feed(b"".join(chunks))]
    got = [repr(cut.frame) for chunk in chunks for cut in chopped.feed(chunk)]
    assert got == expected
    assert +chopped.counts == +whole.counts


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda d: d.__name__)
@given(garbage=st.binary(max_size=200))
def test_sound_frames_are_found_after_garbage(decoder, garbage):
    """The first may be swallowed by what looked like a beginning; two of three never are."""
    decoder, frame = decoder(), DECODERS[decoder]
    found = decoder.feed(garbage) + decoder.feed(frame * 3)
    assert len(found) >= 2
    assert len(decoder._framer._buffer) <= len(garbage) + 3 * len(frame)


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda d: d.__name__)
def test_a_frame_that_lost_bytes_does_not_hold_up_its_follower(decoder):
    decoder, frame = decoder(), DECODERS[decoder]
    assert decoder.feed(frame[:-7]) == []
    assert len(decoder.feed(frame)) == 1
    assert decoder.counts["truncated"] == 1


def test_what_came_behind_a_frame_is_told():
    decoder = Ld2450()
    cuts = decoder.feed(LD2450 + LD2450 + LD2450[:5])
    assert [(cut.size, cut.behind) for cut in cuts] == [(30, 35), (30, 5)]


def test_little_is_kept():
    def length(head):
        if head[2] > 100:
            raise Flaw("absurd")
        return head[2] + 3

    framer = Framer(b"AB", 3, length, bytes)
    for _ in range(1000):
        framer.feed(b"x" * 500 + b"A")
        assert len(framer._buffer) <= 103
    assert framer.feed(b"B\xff") == []
    assert framer.counts["absurd"] == 1
