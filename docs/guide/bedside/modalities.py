"""A bedside monitor's three modalities: all that fusion_rt has to be told about them.

bed     a small thermal image, which comes as the Image that everybody knows
vitals  the finger clip's waveform: a packet type of its own
note    what a nurse wrote: another
"""

from __future__ import annotations

import zlib

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from fusion_rt.context import Encoder, register
from fusion_rt.errors import MessageError
from fusion_rt.header import F4, Header, expect
from fusion_rt.messages import Image

SIDE, SAMPLES, WORDS = 32, 200, 64


# 1. The packet types: what is measured, with units and shapes. Existing ones are used as they are.


class Waveform(Struct, frozen=True, kw_only=True, tag="bedside.waveform"):
    """Light through a finger from `stamp_ns` on: (N,) float32 at `rate_hz`, arbitrary units."""

    header: Header
    rate_hz: float
    samples: NDArray[np.float32]

    def __post_init__(self) -> None:
        expect(self, "samples", F4, (None,))


class Note(Struct, frozen=True, kw_only=True, tag="bedside.note"):
    """What somebody wrote, in small words; it holds until the next one."""

    header: Header
    text: str


# 2. The encoders: from a packet to features (numpy, wherever it runs), and on in the network (where it
# learns).


class BedEncoder(Encoder):
    """Warm and cold, seen from the ceiling."""

    name, packet, shape, max_age_s = "bed", Image, (1, SIDE, SIDE), 5.0

    def features(self, packet):
        """0..255 as -1..1."""
        if packet.encoding != "mono8" or packet.data.shape != (SIDE, SIDE):
            raise MessageError(f"{packet.header.sensor_id}: expected a mono8 image of {SIDE} x {SIDE}")
        return packet.data[None].astype(np.float32) / 127.5 - 1

    def module(self, width):
        """Three convolutions."""
        from torch import nn

        layers = []
        for inputs, outputs in ((1, 8), (8, 16), (16, 16)):
            layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.ReLU()]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * (SIDE // 8) ** 2, width))


class VitalsEncoder(Encoder):
    """Four seconds of pulse, whatever its amplitude."""

    name, packet, shape, max_age_s = "vitals", Waveform, (1, SAMPLES), 3.0

    def features(self, packet):
        """The mean taken off; divided by the deviation, unless there is next to none."""
        if packet.samples.shape != (SAMPLES,) or not np.isfinite(packet.samples).all():
            raise MessageError(f"{packet.header.sensor_id}: expected {SAMPLES} finite samples")
        centred = packet.samples - packet.samples.mean()
        return (centred / max(float(centred.std()), 0.2) / 3)[None].astype(np.float32)

    def module(self, width):
        """How much of each frequency, wherever in the four seconds it lies."""
        from torch import nn

        wave = nn.Sequential(nn.Conv1d(1, 16, 31, stride=2, padding=15), nn.ReLU(), nn.AvgPool1d(5))
        deep = nn.Sequential(nn.Conv1d(16, 32, 9, padding=4), nn.ReLU(), nn.AdaptiveAvgPool1d(5))
        return nn.Sequential(wave, deep, nn.Flatten(), nn.Linear(32 * 5, width))


class NoteEncoder(Encoder):
    """Which words are in it (by their checksum: no list of words is kept)."""

    name, packet, shape, max_age_s = "note", Note, (WORDS,), 3600.0

    def features(self, packet):
        """1 where a word falls."""
        found = np.zeros(WORDS, np.float32)
        for word in packet.text.lower().split():
            found[zlib.crc32(word.encode()) % WORDS] = 1
        return found

    def module(self, width):
        """One layer."""
        from torch import nn

        return nn.Linear(WORDS, width)


# 3. One line each.

register(BedEncoder())
register(VitalsEncoder())
register(NoteEncoder())
