"""fusion-rt hear, train sounds, train effects, eval sounds, bench voice: sound at home."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from fusion_rt.commands.common import Json, console, extra, left_out, print_json, print_table, progress

Plan_ = Annotated[str, typer.Option("--plan", help="The home: a YAML file, or the name of a bundled one.")]


def hear(
    file: Annotated[Path, typer.Argument(help="A WAV, FLAC or Ogg file.", show_default=False)],
    plan: Plan_ = "flat",
    language: Annotated[str, typer.Option(help="Of commands: en, or a language file.")] = "en",
    wake: Annotated[
        list[str] | None,
        typer.Option(
            help="A word that begins a command: okay_nabu, hey_jarvis, hey_mycroft, alexa. Repeat it."
        ),
    ] = None,
    always: Annotated[
        bool, typer.Option("--always", help="Take every utterance for a command, without a wake word.")
    ] = False,
    events: Annotated[str, typer.Option(help="The head of sound events, or none.")] = "sound-events",
    json: Json = False,
) -> None:
    """What a recording says: level, speech, kinds of sounds, wake words, commands.

    fusion-rt hear turn_on_the_lights.wav --plan office --always

    Exactly what a microphone's node would make of it; nothing is kept.
    """
    from fusion_rt.home_packets import Sound
    from fusion_rt.scenario import load_plan
    from fusion_rt.sound.files import chunks
    from fusion_rt.sound.hearing import VoiceConfig
    from fusion_rt.sound.listening import ListenConfig, Listener

    home = load_plan(plan)
    words = () if always else tuple(wake or ("okay_nabu", "hey_jarvis", "hey_mycroft", "alexa"))
    voice = VoiceConfig(wake=words, language=language)
    config = ListenConfig(voice=voice, events=None if events == "none" else events)
    listener = Listener(config, home, "microphone")
    left_out(listener.unspoken)
    rows: list[dict[str, Any]] = []
    sounds: list[Sound] = []
    for chunk in _with_quiet(chunks(file, "microphone")):
        found = listener.push(chunk)
        rows += [
            {"at_s": e.onset_ns / 1e9, "kind": "sound", "what": e.kind, "p": e.p, "slots": {}, "text": ""}
            for e in listener.events
        ]
        rows += [
            {
                "at_s": w.stamp_ns / 1e9,
                "kind": "voice",
                "what": w.intent,
                "p": w.p,
                "slots": w.slots,
                "text": w.text,
            }
            for w in listener.wishes
        ]
        sounds += [packet for packet in found if isinstance(packet, Sound)]
    rows.sort(key=lambda row: row["at_s"])
    half_seconds = [
        {
            "at_s": s.header.stamp_ns / 1e9,
            "duration_s": s.duration_s,
            "level_dba": round(s.level_dba, 1),
            "speech": round(s.speech, 3),
            "events": {kind: round(p, 3) for kind, p in s.events.items()},
        }
        for s in sounds
    ]
    if json:
        print_json({"file": str(file), "heard": rows, "sounds": half_seconds, "counts": listener.counts})
        return
    print_table(_levels(half_seconds))
    print_table(_heard(rows))


def train_sounds(
    data: Annotated[
        Path,
        typer.Option(help="Clips in ESC-10's layout: labels.csv with file, label, fold.", show_default=False),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the package.")] = Path(
        "out/sound-events"
    ),
    speech: Annotated[
        Path | None, typer.Option(help="A folder of people speaking: what is no dog and no baby.")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Of the synthesised doorbells, knocks, glass, alarms.")
    ] = 1,
    version: Annotated[str, typer.Option(help="Of the package.")] = "1",
) -> None:
    """Train the head of sound events on labelled clips and synthesised sounds; a minute.

    fusion-rt train sounds --data esc10 --speech speech_intent --out out/sound-events
    """
    with extra("train"):
        from fusion_rt.train.sounds import training
        from fusion_rt.train.sounds.clips import read_clips, read_speech

    with progress("looking at clips") as advance:
        clips = training.featured(read_clips(data), advance)
    others = training.synthetic_clips(seed) + (read_speech(speech) if speech else [])
    with progress("looking at speech and synthesised sounds") as advance:
        everything = training.joined(clips, training.other_sounds(others, advance))
    linear = training.calibrated(training.learn(everything), everything)
    made_by = training.command(data, clips, seed, speech)
    spec = training.write(linear, out, version=version, trained_with=made_by)
    kinds = ", ".join(linear.labels)
    console.print(f"{out}: {spec.name} version {spec.version}: {kinds}", highlight=False, soft_wrap=True)
    console.print(f"judge it with `fusion-rt eval sounds DIR --head {out}`", highlight=False, soft_wrap=True)


def train_effects(
    package: Annotated[
        Path, typer.Argument(help="The wheel of aisfx 0.1.2, or where it is installed.", show_default=False)
    ],
    data: Annotated[
        Path | None, typer.Option(help="Sounds to learn from, in ESC-10's layout; labels are not used.")
    ] = None,
    speech: Annotated[Path | None, typer.Option(help="A folder of people speaking.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the package.")] = Path(
        "out/sound-effects"
    ),
    updates: Annotated[int, typer.Option(min=1, help="How long to learn: one takes a second or two.")] = 600,
    seed: Annotated[int, typer.Option(min=0, help="Of the sounds that are made up.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Of torch.")] = 1,
    version: Annotated[str, typer.Option(help="Of the package.")] = "1",
) -> None:
    """Teach a small network to answer as aisfx does: the package sound-effects.

    pip download --no-deps aisfx==0.1.2
    fusion-rt train effects aisfx-0.1.2-py2.py3-none-any.whl --data esc10
    """
    with extra("train"):
        import torch

        from fusion_rt.train.sounds import effects
        from fusion_rt.train.sounds.clips import read_clips, read_speech
        from fusion_rt.train.sounds.training import synthetic_clips

    torch.set_num_threads(threads)
    clips = (
        synthetic_clips(seed) + (read_clips(data) if data else []) + (read_speech(speech) if speech else [])
    )
    settings = effects.Settings(updates=updates, seed=seed)
    with progress("learning sound effects") as advance:
        student = effects.learn(
            effects.Teacher(package),
            [clip.pcm / 32768.0 for clip in clips],
            settings,
            show=lambda done, error: advance(done, updates),
        )
    given = (f" --data {data.name}" if data else "") + (f" --speech {speech.name}" if speech else "")
    command = f"fusion-rt train effects {package.name}{given} --updates {updates} --seed {seed}"
    spec = effects.write(student, out, version=version, trained_with=command)
    console.print(f"{out}: {spec.name} version {spec.version}", highlight=False, soft_wrap=True)


def eval_sounds(
    folder: Annotated[
        Path, typer.Argument(help="Clips in ESC-10's layout: labels.csv with file, label, fold.")
    ],
    head: Annotated[
        str, typer.Option(help="A bundled head by name, or a package's folder.")
    ] = "sound-events",
    json: Json = False,
) -> None:
    """Which kind of sound each clip is: the head with each fold held out, a linear baseline, the bundled
    head.

    fusion-rt eval sounds esc10

    Folds that the bundled head was trained on stand in brackets and are not in its total.
    """
    from fusion_rt.evaluation import sounds

    with progress("looking at clips") as advance:
        report = sounds.judge(folder, head=head, advance=advance)
    left_out(report.skipped)
    if json:
        print_json(report)
    else:
        print_table(sounds.render(report))


def bench_voice(
    folder: Annotated[
        Path,
        typer.Argument(
            help="wake/ and speech_intent/, each with labels.csv; noise_*.flac.", show_default=False
        ),
    ],
    plan: Plan_ = "office",
    json: Json = False,
) -> None:
    """Spoken commands and wake words on recordings: hits, false ones, delay, CPU.

    fusion-rt bench voice recordings
    """
    from fusion_rt.bench import voice
    from fusion_rt.scenario import load_plan

    home = load_plan(plan)
    with progress("listening") as advance:
        result = voice.measure(folder, home, advance)
    if json:
        print_json(result)
    else:
        print_table(voice.render(result))


def _with_quiet(source: Iterator[Any]) -> Iterator[Any]:
    """A second of silence after the end: a recording may stop with its last word."""
    import numpy as np
    from msgspec.structs import replace

    last = None
    for last in source:
        yield last
    for i in range(50 if last is not None else 0):
        assert last is not None
        stamp_ns = last.header.stamp_ns + len(last.pcm) * 1_000_000_000 // last.rate + i * 20_000_000
        header = replace(last.header, seq=last.header.seq + 1 + i, stamp_ns=stamp_ns)
        yield replace(last, header=header, pcm=np.zeros(last.rate // 50, np.int16))


def _levels(half_seconds: list[dict[str, Any]]) -> Table:
    table = Table(title="half seconds", title_justify="left")
    for column in ("at s", "dB(A)", "speech"):
        table.add_column(column, justify="right")
    table.add_column("kinds of sound")
    for row in half_seconds:
        likely = sorted(row["events"].items(), key=lambda item: -item[1])[:3]
        kinds = ", ".join(f"{kind} {p:.2f}" for kind, p in likely if p >= 0.1)
        table.add_row(f"{row['at_s']:.1f}", f"{row['level_dba']:.0f}", f"{row['speech']:.2f}", kinds)
    return table


def _heard(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="heard" if rows else "heard: nothing", title_justify="left")
    table.add_column("at s", justify="right")
    for column in ("", "what", "p", "slots", "text"):
        table.add_column(column)
    for row in rows:
        slots = ", ".join(f"{name} {value}" for name, value in row["slots"].items())
        table.add_row(f"{row['at_s']:.2f}", row["kind"], row["what"], f"{row['p']:.2f}", slots, row["text"])
    return table
