"""Chunks of any rate and order into frames of 20 ms at 16 kHz."""

import numpy as np
import pytest
from msgspec.structs import replace

from fusion_rt.sound.framing import FRAME, Framer


def tone(hz, seconds, rate, level=0.5):
    t = np.arange(round(seconds * rate)) / rate
    return np.round(32767 * level * np.sin(2 * np.pi * hz * t)).astype(np.int16)


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000, 8_000])
def test_any_rate_becomes_16_khz(as_chunks, rate):
    framer = Framer()
    frames = [f for c in as_chunks(tone(440, 2, rate), rate=rate, start_ns=7_000) for f in framer.push(c)]
    sound = np.concatenate([f.pcm for f in frames])
    assert all(f.pcm.shape == (FRAME,) and f.pcm.dtype == np.int16 for f in frames)
    assert abs(len(sound) - 32_000) < 1_200  # a resampler keeps its last few milliseconds
    spectrum = np.abs(np.fft.rfft(sound[-16_000:]))
    assert spectrum.argmax() == 440
    stamps = [f.stamp_ns for f in frames]
    assert stamps == [7_000 + i * 20_000_000 for i in range(len(frames))]
    assert framer.counts["gaps"] == 0


def test_what_does_not_come_in_order_is_counted(as_chunks):
    framer = Framer()
    chunks = list(as_chunks(tone(440, 0.4, 16_000)))
    for chunk in [*chunks[:5], chunks[2], *chunks[9:]]:
        list(framer.push(chunk))
    assert framer.counts["late"] == 1
    assert framer.counts["dropped"] == 4
    assert framer.counts["gaps"] == 1
    assert framer.counts["frames"] == 5 + len(chunks) - 9


def test_after_a_gap_stamps_are_the_worlds(as_chunks):
    framer = Framer()
    chunks = list(as_chunks(tone(440, 0.2, 16_000)))
    later = [replace(c, header=replace(c.header, stamp_ns=c.header.stamp_ns + 10**9)) for c in chunks[5:]]
    stamps = [f.stamp_ns for c in [*chunks[:5], *later] for f in framer.push(c)]
    assert stamps[5] - stamps[4] == 10**9 + 20_000_000


def test_silence_clipping_and_impossible_rates(as_chunks):
    framer = Framer()
    loud = np.clip(4.0 * tone(100, 0.1, 16_000), -32768, 32767).astype(np.int16)
    for part in (np.zeros(1600, np.int16), loud):
        seq = framer.counts["frames"]
        for chunk in as_chunks(part, seq=seq, start_ns=seq * 20_000_000):
            list(framer.push(chunk))
    odd = next(as_chunks(np.zeros(2000, np.int16), rate=4_000, seq=99))
    assert list(framer.push(odd)) == []
    assert (framer.counts["silent"], framer.counts["clipped"], framer.counts["refused"]) == (5, 5, 1)
