"""A microphone, or a recording that stands in for one: what is heard goes out, not the sound.

The sound itself leaves this process only where the plan says so of the room (`raw`), as AudioChunk on a topic
of its own; nothing is ever written to a disk."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct

from fusion_rt.bus import Bus, Publisher, Subscriber
from fusion_rt.errors import ConfigError, NodeError
from fusion_rt.messages import AudioChunk, Command
from fusion_rt.plan import Plan
from fusion_rt.scenario import load_plan
from fusion_rt.sound.confirmation import Confirmation, ConfirmationConfig
from fusion_rt.sound.device import Device
from fusion_rt.sound.files import chunks
from fusion_rt.sound.listening import VOICE, ListenConfig, Listener

RETRY_S = (0.5, 1.0, 2.0, 5.0)  # then 5 s each
MUTED_WAIT_S = 0.1


class MicrophoneConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """plan       the home: a file, or the name of one of configs/home
    sensor_id  the microphone's name in the plan, and the topic of `Sound`
    source     "device": the system's default input; "device:NAME or number": that one; "bus:TOPIC":
               AudioChunk from the bus, where the room is `raw`; else a WAV, FLAC or Ogg file, at its own
               speed
    listen     what is made of the sound
    confirm    how somebody learns that he was understood
    loop       a file begins again at its end
    muted      begin with the device closed, until `unmute`
    raw_topic  where AudioChunk goes, if the room's sound may leave; null: nowhere
    voice      topic of commands: another one where another microphone has this
    commands   where mute, unmute and listen come from (see `fusion-rt tell`); empty: tell.microphone, and
               tell.SENSOR_ID for this one alone
    wait_for_s how long a file waits for somebody to listen
    """

    plan: str = "flat"
    sensor_id: str
    source: str = "device"
    listen: ListenConfig = ListenConfig()
    confirm: ConfirmationConfig = ConfirmationConfig()
    loop: bool = False
    muted: bool = False
    raw_topic: str | None = None
    voice: str = VOICE
    commands: tuple[str, ...] = ()
    wait_for_s: Annotated[float, Meta(ge=0, le=60)] = 2.0


def run(config: MicrophoneConfig, bus: Bus) -> None:
    """Until told to stop, or the file ends. A device that goes away is waited for. Raises ConfigError."""
    plan = load_plan(config.plan)
    _check(config, plan)
    listener = Listener(config.listen, plan, config.sensor_id)
    for line in listener.unspoken:
        print(f"{config.sensor_id}: cannot be said: {line}", file=sys.stderr, flush=True)
    topics = config.commands or ("tell.microphone", f"tell.{config.sensor_id}")
    with (
        bus.subscriber(topics) as commands,
        bus.publisher(config.sensor_id) as sounds,
        bus.publisher(config.voice, "event") as wishes,
    ):
        raw = bus.publisher(config.raw_topic) if config.raw_topic is not None else None
        node = _Microphone(config, bus, listener, commands, sounds, wishes, raw)
        node.run()


def _check(config: MicrophoneConfig, plan: Plan) -> None:
    """Raises ConfigError: no such microphone, or its sound may not leave the process."""
    sensor = plan.sensors.get(config.sensor_id)
    if sensor is None or sensor.kind != "microphone":
        known = ", ".join(slug for slug, s in plan.sensors.items() if s.kind == "microphone") or "none"
        raise ConfigError(f"sensor_id: {config.sensor_id!r} is no microphone of the plan; there are: {known}")
    raw = sensor.room in plan.rooms and plan.rooms[sensor.room].raw
    for field, asks in (("raw_topic", config.raw_topic), ("source", config.source.startswith("bus:"))):
        if asks and not raw:
            raise ConfigError(
                f"{field}: sound of the room {sensor.room!r} stays in its process; the plan would have to say"
                f" `raw: true` of it"
            )


class _Microphone:
    def __init__(
        self,
        config: MicrophoneConfig,
        bus: Bus,
        listener: Listener,
        commands: Subscriber,
        sounds: Publisher,
        wishes: Publisher,
        raw: Publisher | None,
    ) -> None:
        self._config, self._bus, self._listener = config, bus, listener
        self._commands, self._sounds, self._wishes, self._raw = commands, sounds, wishes, raw
        self._muted = config.muted
        self._confirmation = Confirmation(config.confirm)
        self._newest_ns = time.time_ns()
        self._seq = 0

    def run(self) -> None:
        bus, failures = self._bus, 0
        is_file = not self._config.source.startswith(("device", "bus:"))
        if is_file:
            self._wait_for_listeners()
        while not bus.stopping:
            self._obey()
            if self._muted:
                bus.wait(MUTED_WAIT_S)
                continue
            heard = 0
            try:
                for chunk in self._source():
                    heard += 1
                    self._hear(chunk)
                    self._obey()
                    if self._muted or bus.stopping:
                        break
            except NodeError as error:
                failures += 1
                if failures == 1 or heard:
                    print(f"{self._config.sensor_id}: {error}; trying again", file=sys.stderr, flush=True)
            if is_file and not self._config.loop and not self._muted:
                return
            if not is_file and not self._muted and not bus.stopping:
                failures = 1 if heard else failures
                bus.detail["reopened"] = bus.detail.get("reopened", 0) + 1
                bus.wait(RETRY_S[min(failures, len(RETRY_S) - 1)])

    def _source(self) -> Iterator[AudioChunk]:
        source, sensor_id = self._config.source, self._config.sensor_id
        if source.startswith("bus:"):
            return self._from_bus(source.removeprefix("bus:"))
        if source == "device" or source.startswith("device:"):
            return self._from_device(source.removeprefix("device").removeprefix(":"))
        return self._from_file(Path(source), sensor_id)

    def _from_bus(self, topic: str) -> Iterator[AudioChunk]:
        with self._bus.subscriber([topic], keep_all=True) as chunks_of_others:
            while not self._bus.stopping and not self._muted:
                message = chunks_of_others.recv(0.1)
                if isinstance(message, AudioChunk):
                    yield message
                else:
                    self._obey()

    def _from_device(self, name: str) -> Iterator[AudioChunk]:
        with Device(name, self._config.sensor_id) as device:
            while not self._bus.stopping and not self._muted:
                chunk = device.read(0.2)
                self._bus.detail["overflows"] = device.overflows
                if chunk is not None:
                    yield chunk
                else:
                    self._obey()

    def _from_file(self, path: Path, sensor_id: str) -> Iterator[AudioChunk]:
        """As fast as it was spoken; a chunk comes when its last sample has been."""
        began = time.monotonic()
        start_ns = time.time_ns()
        for chunk in chunks(path, sensor_id, start_ns=start_ns):
            end_s = (chunk.header.stamp_ns - start_ns) / 1e9 + len(chunk.pcm) / chunk.rate
            if self._bus.wait(max(0.0, began + end_s - time.monotonic())):
                return
            yield _numbered(chunk, self._seq)
            self._seq += 1

    def _hear(self, chunk: AudioChunk) -> None:
        if self._raw is not None:
            self._raw.send(chunk)
        self._newest_ns = chunk.header.stamp_ns
        for found in self._listener.push(chunk):
            if isinstance(found, Command):
                self._wishes.send(found)
                self._confirmation.confirm(found)
            else:
                self._sounds.send(found)
        self._bus.detail.update(self._listener.counts)

    def _obey(self) -> None:
        command = self._commands.recv(0)
        while command is not None:
            if isinstance(command, Command):
                self._do(command.intent)
            command = self._commands.recv(0)
        self._bus.detail["muted"] = float(self._muted)

    def _do(self, intent: str) -> None:
        if intent in ("mute", "unmute"):
            self._muted = intent == "mute"
        elif intent == "listen":
            self._listener.listen(self._newest_ns)
        else:
            print(f"{intent}: no command of a microphone: mute, unmute, listen", file=sys.stderr, flush=True)

    def _wait_for_listeners(self) -> None:
        deadline = time.monotonic() + self._config.wait_for_s
        for publisher in (self._sounds, self._wishes):
            while time.monotonic() < deadline and not self._bus.stopping:
                if publisher.wait_for_subscribers(1, 0.1):
                    break


def _numbered(chunk: AudioChunk, seq: int) -> AudioChunk:
    """A file that is played again goes on counting."""
    from msgspec.structs import replace

    return replace(chunk, header=replace(chunk.header, seq=seq), pcm=np.asarray(chunk.pcm))
