"""Spoken commands and wake words on recordings: hits, false ones, how long an answer takes, what a microphone
costs.

Recordings are pushed as they would come from a microphone. An answer's delay is by the stamps, from the last
loud frame of the recording to the end of the frame that completed the command, and the time that its
processing took."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from rich.table import Table

from fusion_rt.errors import LogError
from fusion_rt.messages import AudioChunk, Command, Header
from fusion_rt.plan import Plan
from fusion_rt.sound.files import chunks
from fusion_rt.sound.framing import FRAME, RATE_HZ, Framer
from fusion_rt.sound.hearing import VoiceConfig
from fusion_rt.sound.listening import ListenConfig, Listener
from fusion_rt.sound.wake_word import WORDS

QUIET_S = 1.0  # after each recording
END_OF_SPEECH = 0.03  # of the loudest frame: what is quieter is no speech
SENSOR = "microphone"


class VoiceResult(Struct, frozen=True, kw_only=True):
    """commands      spoken commands of the plan's: how many, how many were understood rightly
    others        utterances that are none: how many, for how many a command was heard
    wakes         wake words that were said, and those that were heard
    false_wakes   in `others_s` of speech and noise without one
    delay_ms      p50, p90, max from the end of a command to its intent, processing included
    processing_ms p50, max of the frame that completed a command
    cpu_share     of one core, by everything that listens: voice, wake word, sound events, levels
    """

    commands: tuple[int, int]
    others: tuple[int, int]
    wakes: tuple[int, int]
    false_wakes: int
    others_s: float
    delay_ms: tuple[float, ...]
    processing_ms: tuple[float, ...]
    cpu_share: float
    heard: tuple[str, ...]

    @property
    def false_wakes_per_hour(self) -> float:
        return self.false_wakes / self.others_s * 3600


class _Said(Struct, kw_only=True):
    path: Path
    phrase: str  # "" where it is no command of ours


def measure(folder: Path, plan: Plan, advance: Callable[[float, float], None]) -> VoiceResult:
    """folder: with wake/ (labels.csv: file, phrase) and speech_intent/ (labels.csv: file; noise_*.flac).

    Raises LogError, ConfigError."""
    said = list(_recordings(folder))
    listener = Listener(ListenConfig(voice=VoiceConfig(wake=())), plan, SENSOR)
    waker = Listener(ListenConfig(voice=VoiceConfig(wake=WORDS), events=None), plan, SENSOR)
    commands = [0, 0]
    others, wakes = [0, 0], [0, 0]
    false_wakes, others_s, cpu_s, heard_s = 0, 0.0, 0.0, 0.0
    delays, processing, heard = [], [], []
    streams = (_Stream(listener), _Stream(waker))
    for done, one in enumerate(said):
        pcm = _pcm(one.path)
        length_s = len(pcm) / RATE_HZ
        found, cpu, begin_ns = streams[0].play(pcm)
        woken, _, _ = streams[1].play(pcm)
        cpu_s, heard_s = cpu_s + cpu, heard_s + length_s + QUIET_S
        words = [command.slots["word"] for command, _ in woken if command.intent == "wake"]
        right = [(c, s) for c, s in found if one.phrase in (c.text, f"{c.text}s")]
        if one.phrase in WORDS:
            wakes = [wakes[0] + 1, wakes[1] + (one.phrase in words)]
        elif one.phrase:
            commands = [commands[0] + 1, commands[1] + bool(right)]
        else:
            others = [others[0] + 1, others[1] + bool(found)]
            others_s += length_s
        if one.phrase not in WORDS:
            false_wakes += len(words)
        for command, took_s in right[:1]:
            end_ns = begin_ns + round(_end_of_speech_s(pcm) * 1e9)
            delays.append((command.header.stamp_ns - end_ns) / 1e6 + 1e3 * took_s)
            processing.append(1e3 * took_s)
        heard += [f"{one.path.name}: {c.intent} {c.text}" for c, _ in found]
        advance(done + 1, len(said))
    return VoiceResult(
        commands=(commands[0], commands[1]),
        others=(others[0], others[1]),
        wakes=(wakes[0], wakes[1]),
        false_wakes=false_wakes,
        others_s=others_s,
        delay_ms=(_percentile(delays, 50), _percentile(delays, 90), _percentile(delays, 100)),
        processing_ms=(_percentile(processing, 50), _percentile(processing, 100)),
        cpu_share=cpu_s / heard_s,
        heard=tuple(heard),
    )


def render(result: VoiceResult) -> Table:
    """A line a figure."""
    table = Table(show_header=False)
    p50, p90, longest = result.delay_ms
    rows = (
        ("commands understood", f"{result.commands[1]} of {result.commands[0]}"),
        ("other utterances and noise taken for a command", f"{result.others[1]} of {result.others[0]}"),
        ("wake words heard", f"{result.wakes[1]} of {result.wakes[0]}"),
        (
            "false wakes",
            f"{result.false_wakes} in {result.others_s / 60:.1f} min,"
            f" {result.false_wakes_per_hour:.1f} an hour",
        ),
        ("end of command to intent, ms: p50, p90, max", f"{p50:.0f}, {p90:.0f}, {longest:.0f}"),
        ("of which processing, ms: p50, max", "{:.1f}, {:.1f}".format(*result.processing_ms)),
        ("CPU of one microphone, all parts, always decoding", f"{100 * result.cpu_share:.1f} % of a core"),
    )
    for row in rows:
        table.add_row(*row)
    return table


class _Stream:
    """One microphone that hears one recording after the other."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._seq = 0
        self._noise = np.random.default_rng(0).normal(0, 5, round(QUIET_S * RATE_HZ)).astype(np.int16)

    def play(self, pcm: NDArray[np.int16]) -> tuple[list[tuple[Command, float]], float, int]:
        """Commands with the seconds that their frame took, the CPU seconds of all, and the stamp of the first
        sample."""
        begin_ns = self._seq * FRAME * 1_000_000_000 // RATE_HZ
        found, cpu_s = [], 0.0
        sound = np.concatenate([pcm, self._noise])
        for part in sound[: len(sound) // FRAME * FRAME].reshape(-1, FRAME):
            stamp_ns = self._seq * FRAME * 1_000_000_000 // RATE_HZ
            header = Header(sensor_id=SENSOR, frame_id=SENSOR, seq=self._seq, stamp_ns=stamp_ns)
            self._seq += 1
            before_s, cpu_before_s = time.perf_counter(), time.process_time()
            packets = self._listener.push(AudioChunk(header=header, rate=RATE_HZ, pcm=part))
            took_s = time.perf_counter() - before_s
            cpu_s += time.process_time() - cpu_before_s
            found += [(packet, took_s) for packet in packets if isinstance(packet, Command)]
        return found, cpu_s, begin_ns


def _recordings(folder: Path) -> Iterator[_Said]:
    for name in ("wake", "speech_intent"):
        path = folder / name / "labels.csv"
        if not path.is_file():
            raise LogError(
                f"{path}: missing; expected a folder with wake/ and speech_intent/, each with labels.csv"
            )
        with path.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                phrase = row.get("phrase", "")
                yield _Said(
                    path=folder / name / row["file"],
                    phrase=phrase if phrase in WORDS else phrase.replace("_", " "),
                )
    for path in sorted((folder / "speech_intent").glob("noise_*.flac")):
        yield _Said(path=path, phrase="")


def _pcm(path: Path) -> NDArray[np.int16]:
    framer = Framer()
    return np.concatenate([frame.pcm for chunk in chunks(path, SENSOR) for frame in framer.push(chunk)])


def _end_of_speech_s(pcm: NDArray[np.int16]) -> float:
    frames = pcm[: len(pcm) // FRAME * FRAME].reshape(-1, FRAME).astype(np.float64)
    rms = np.sqrt(np.square(frames).mean(axis=1))
    return float(np.flatnonzero(rms > END_OF_SPEECH * rms.max())[-1] + 1) * FRAME / RATE_HZ


def _percentile(values: list[float], at: float) -> float:
    """NaN where there are no values."""
    return float(np.percentile(values, at)) if values else float("nan")
