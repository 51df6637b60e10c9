"""A ward that does not exist: patients with a bed, a pulse and a note, and what should be done about them.

No modality is enough: an empty bed is right where the note says that the patient is away, a fast pulse
where it says exercise; and no note says what happens in the night."""

from __future__ import annotations

import numpy as np
from modalities import SAMPLES, SIDE, Note, Waveform
from msgspec import Struct

from fusion_rt.header import Header
from fusion_rt.messages import Image

RATE_HZ = 50.0
BEDS = ("in_bed", "edge", "empty")
PULSES = ("normal", "fast", "flat")
ALARMS = ("none", "watch", "call")
QUESTIONS = {"alarm": ALARMS, "place": BEDS}
NOTES = {
    "plain": (
        "slept well no complaints",
        "quiet evening drank tea",
        "visitors until seven",
        "dressing changed",
    ),
    "exercise": (
        "physiotherapy now fast pulse expected",
        "exercise with the therapist",
        "walks with physiotherapy",
    ),
    "away": ("at the x-ray until noon", "in theatre since eight", "away for an x-ray", "moved to theatre"),
}


class Moment(Struct, frozen=True, kw_only=True):
    """One patient, now."""

    bed: str
    pulse: str
    note: str

    @property
    def alarm(self) -> str:
        """What a nurse would decide."""
        if self.bed == "empty":
            return "none" if self.note == "away" else "call"
        if self.bed == "edge":
            return "none" if self.note == "exercise" else "watch"
        if self.pulse == "flat":
            return "call"
        return "call" if self.pulse == "fast" and self.note != "exercise" else "none"


def moment(rng: np.random.Generator) -> Moment:
    """Any."""
    bed = str(rng.choice(BEDS, p=(0.5, 0.2, 0.3)))
    pulse = "flat" if bed == "empty" else str(rng.choice(PULSES, p=(0.45, 0.4, 0.15)))
    return Moment(bed=bed, pulse=pulse, note=str(rng.choice(list(NOTES))))


def packets(now: Moment, rng: np.random.Generator, *, stamp_ns: int = 0, seq: int = 0) -> tuple:
    """What the three sensors say: image, note, waveform."""

    def header(sensor_id):
        return Header(sensor_id=sensor_id, frame_id=sensor_id, seq=seq, stamp_ns=stamp_ns)

    return (
        Image(header=header("bed"), height=SIDE, width=SIDE, encoding="mono8", data=_bed(now.bed, rng)),
        Note(header=header("note"), text=str(rng.choice(NOTES[now.note]))),
        Waveform(header=header("vitals"), rate_hz=RATE_HZ, samples=_pulse(now.pulse, rng)),
    )


def _bed(bed: str, rng: np.random.Generator) -> np.ndarray:
    """(SIDE, SIDE) uint8: a mattress, a body on it or at its edge, and noise."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    warm = 60.0 + 25 * ((abs(x - 16) < 8) & (abs(y - 16) < 13))
    if bed != "empty":
        across = rng.uniform(-3, 3) if bed == "in_bed" else rng.choice([-1, 1]) * rng.uniform(8, 11)
        long = rng.uniform(8, 11) if bed == "in_bed" else rng.uniform(3, 5)
        blob = ((x - 16 - across) / rng.uniform(2.5, 4)) ** 2 + ((y - 16 - rng.uniform(-2, 2)) / long) ** 2
        warm += rng.uniform(60, 110) * np.exp(-blob)
    return np.clip(warm + rng.normal(0, 8, warm.shape), 0, 255).astype(np.uint8)


def _pulse(pulse: str, rng: np.random.Generator) -> np.ndarray:
    """(SAMPLES,) float32: beats with a notch, breathing beneath, and noise."""
    t = np.arange(SAMPLES) / RATE_HZ
    noise = rng.normal(0, 0.05, SAMPLES)
    if pulse == "flat":
        return noise.astype(np.float32)
    beats = rng.uniform(55, 90) if pulse == "normal" else rng.uniform(115, 160)
    phase = 2 * np.pi * (t * beats / 60 + rng.random())
    wave = np.sin(phase) + 0.4 * np.sin(2 * phase + 0.8)
    breathing = 0.3 * np.sin(2 * np.pi * (0.25 * t + rng.random()))
    return (rng.uniform(0.5, 2) * (wave + breathing) + noise).astype(np.float32)
