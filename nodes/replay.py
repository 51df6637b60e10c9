"""A recording, played as if it happened now.

The virtual clock is the packets' stamps: they keep their distance whatever the speed, and no node of ours
reads another clock. Where the replay stands is in its health: `position_s`."""

from __future__ import annotations

import difflib
import sys
import time
from collections.abc import Iterable
from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from fusion_rt import logs
from fusion_rt.bus import Bus, Publisher, Subscriber
from fusion_rt.errors import ConfigError, LogError
from fusion_rt.logs import Log
from fusion_rt.messages import Command, HomeReading, Packet, complete_ns
from fusion_rt.scenario import locate

LOOK_S = 0.02  # how often commands are looked for while packets are due
FINE_S = 0.03  # before a packet is due, the wait is exact
MAX_SPEED = 1000.0


class ReplayConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """log         the recording, or bundled:NAME
    speed       1 is as it was
    start_s     seconds of the log to leave out at the beginning
    until_s     and where to stop
    loop        begin again at the end
    paused      wait for the command `resume` before the first packet
    preload     unpack the whole log into memory before the first packet: then reading it takes no time from
                the listeners
    topics      sensors to play; empty: all
    without     sensors not to play, so that live ones can take their place
    remap       sensor -> the name it is played under
    stamps      kept: as recorded. now: shifted, so that a packet's last point is measured when it is sent;
                its distance to others is kept, and numbers go on where the replay jumps. At speed 1 only
    listeners   how many must listen to each topic before the first packet, so that none misses the start
    wait_for_s  how long they are waited for
    commands    where pause, resume, toggle, seek (to_s or by_s) and speed (x) come from: see `fusion-rt tell`
    """

    log: str
    speed: Annotated[float, Meta(gt=0, le=MAX_SPEED)] = 1.0
    start_s: Annotated[float, Meta(ge=0)] = 0.0
    until_s: Annotated[float, Meta(gt=0)] | None = None
    loop: bool = False
    paused: bool = False
    preload: bool = False
    topics: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    remap: dict[str, str] = {}
    stamps: Literal["kept", "now"] = "kept"
    listeners: Annotated[int, Meta(ge=0)] = 1
    wait_for_s: Annotated[float, Meta(ge=0)] = 10.0
    commands: tuple[str, ...] = ("tell.replay", "keys.replay")

    def __post_init__(self) -> None:
        if self.until_s is not None and self.until_s <= self.start_s:
            raise ConfigError(f"until_s {self.until_s:g} is not after start_s {self.start_s:g}")
        if self.stamps == "now" and self.speed != 1.0:
            raise ConfigError("stamps: now goes with speed 1: else time in the stamps and time differ")


def run(config: ReplayConfig, bus: Bus) -> None:
    """Packets in order, each when it is due. Raises LogError, ConfigError."""
    path = locate(config.log)
    with logs.open(path) as log, bus.subscriber(config.commands) as commands:
        topics = names(config, log.modalities())
        publishers = {sensor: bus.publisher(name) for sensor, name in topics.items()}
        if not config.paused:
            _wait(publishers, config, bus)
        player = _Player(config, log, publishers, topics, commands, bus)
        while not bus.stopping:
            sent = player.play()
            if log.recovered:
                print(log.recovered, file=sys.stderr)
            if player.jumped:
                continue
            bus.detail["loops"] = bus.detail.get("loops", 0) + 1
            if not config.loop:
                return
            if not sent:
                raise LogError(
                    f"{path}: holds nothing of {', '.join(topics)} there: there is nothing to loop over"
                )
            player.go_to(player.first_ns)


def names(config: ReplayConfig, sensors: Iterable[str]) -> dict[str, str]:
    """Sensor -> the topic it is played on. Raises ConfigError for a sensor that the recording does not have,
    and for two on one topic."""
    sensors = tuple(sensors)
    for name in (*config.topics, *config.without, *config.remap):
        if name not in sensors:
            near = difflib.get_close_matches(name, sensors, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError(f"{config.log}: no sensor {name!r}; {hint}there are: {', '.join(sensors)}")
    played = [s for s in config.topics or sensors if s not in config.without]
    topics = {sensor: config.remap.get(sensor, sensor) for sensor in played}
    for sensor, topic in topics.items():
        if list(topics.values()).count(topic) > 1:
            raise ConfigError(f"{config.log}: {sensor} and another sensor would both be {topic!r}: remap one")
    if not topics:
        raise ConfigError(f"{config.log}: no sensor is left to play")
    return topics


def _wait(publishers: dict[str, Publisher], config: ReplayConfig, bus: Bus) -> None:
    deadline = time.monotonic() + config.wait_for_s
    for publisher in publishers.values():
        while time.monotonic() < deadline and not bus.stopping:
            if publisher.wait_for_subscribers(config.listeners, 0.1):
                break


class _Player:
    """Log time `_from_ns` was, or will be, at monotonic time `_began_ns`.

    jumped  whether the latest `play` ended because of a command to go elsewhere"""

    def __init__(
        self,
        config: ReplayConfig,
        log: Log,
        publishers: dict[str, Publisher],
        topics: dict[str, str],
        commands: Subscriber,
        bus: Bus,
    ) -> None:
        self.jumped = False
        self.first_ns = log.start_ns + round(config.start_s * 1e9)
        self._end_ns = None if config.until_s is None else log.start_ns + round(config.until_s * 1e9)
        self._config, self._log, self._bus, self._commands = config, log, bus, commands
        self._publishers, self._topics = publishers, topics
        self._kept = list(log.packets()) if config.preload else None
        self._speed, self._paused = config.speed, config.paused
        self._next_seq: dict[str, int] = {}
        self._seq_shift: dict[str, int] = {}
        self._looked = 0.0
        self.go_to(self.first_ns)

    def go_to(self, log_ns: int) -> None:
        """From there on."""
        self._from_ns = self._position_ns = max(log_ns, self._log.start_ns)
        self._seq_shift.clear()
        self._anchor()

    def play(self) -> int:
        """To the end, or a jump; returns how many packets were sent."""
        sent, self.jumped = 0, False
        self._anchor()
        for packet in self._packets():
            publisher = self._publishers.get(packet.header.sensor_id)
            if publisher is None:
                continue
            at_ns = complete_ns(packet)
            if not self._until_due(at_ns):
                return sent
            self._position_ns = at_ns
            publisher.send(self._as_played(packet))
            sent += 1
            late_s = (time.monotonic_ns() - self._due_ns(at_ns)) / 1e9
            self._bus.detail["behind_s"] = round(max(0.0, late_s), 4)
            self._tell()
        return sent

    def _packets(self) -> Iterable[Packet]:
        start_ns, end_ns = self._from_ns, self._end_ns
        if self._kept is None:
            return self._log.packets(start_ns, end_ns)
        return (
            p
            for p in self._kept
            if start_ns <= complete_ns(p) and (end_ns is None or complete_ns(p) < end_ns)
        )

    def _until_due(self, at_ns: int) -> bool:
        """Wait; False where the replay ends or jumps meanwhile."""
        while not self._bus.stopping:
            now = time.monotonic()
            if self._paused or now - self._looked >= LOOK_S:
                self._looked = now
                self._obey(0.1 if self._paused else 0.0)
                if self.jumped:
                    return False
                continue
            ahead_s = (self._due_ns(at_ns) - time.monotonic_ns()) / 1e9
            if ahead_s <= 0:
                return True
            if ahead_s > FINE_S:
                self._obey(min(ahead_s - FINE_S / 2, 0.1))
            else:
                self._bus.wait(min(ahead_s, LOOK_S))
        return False

    def _due_ns(self, at_ns: int) -> float:
        return self._began_ns + (at_ns - self._from_ns) / self._speed

    def _anchor(self) -> None:
        """Time goes on from `_position_ns`, now."""
        self._from_ns = self._position_ns
        self._began_ns = time.monotonic_ns()
        self._shift_ns = time.time_ns() - self._from_ns if self._config.stamps == "now" else 0

    def _as_played(self, packet: Packet) -> Packet:
        header = packet.header
        sensor = header.sensor_id
        topic = self._topics[sensor]
        if header.trace:  # the way it took then, by a clock of then
            header = replace(header, trace=())
        if self._shift_ns:
            shift = self._seq_shift.get(sensor)
            if shift is None:
                shift = self._seq_shift[sensor] = self._next_seq.get(sensor, header.seq) - header.seq
            header = replace(header, stamp_ns=header.stamp_ns + self._shift_ns, seq=header.seq + shift)
            self._next_seq[sensor] = header.seq + 1
            if isinstance(packet, HomeReading) and packet.told_ns:
                packet = replace(packet, told_ns=packet.told_ns + self._shift_ns)
        if topic != sensor:
            frame = topic if header.frame_id == sensor else header.frame_id
            header = replace(header, sensor_id=topic, frame_id=frame)
        return packet if header is packet.header else replace(packet, header=header)

    def _obey(self, wait_s: float) -> None:
        """What commands say, waiting so long for one."""
        command = self._commands.recv(wait_s)
        while command is not None:
            if isinstance(command, Command):
                try:
                    self._do(command)
                except ValueError as error:  # ConfigError is one, too
                    print(f"{command.intent}: {error}", file=sys.stderr, flush=True)
            command = self._commands.recv(0)
        self._tell()

    def _do(self, command: Command) -> None:
        """Raises ValueError."""
        now_ns = self._now_ns()
        what = command.intent
        if what in ("pause", "resume", "toggle"):
            self._position_ns = now_ns
            self._paused = not self._paused if what == "toggle" else what == "pause"
            self._anchor()
        elif what == "speed":
            speed = float(command.slots["x"]) if "x" in command.slots else float("nan")
            if not 0 < speed <= MAX_SPEED:
                raise ConfigError(f"x must be more than 0, at most {MAX_SPEED:g}: speed 2")
            if self._config.stamps == "now":
                raise ConfigError("stamps: now goes with speed 1")
            self._position_ns = now_ns
            self._speed = speed
            self._anchor()
        elif what == "seek":
            if "by_s" in command.slots:
                target_ns = now_ns + round(float(command.slots["by_s"]) * 1e9)
            elif "to_s" in command.slots:
                target_ns = self._log.start_ns + round(float(command.slots["to_s"]) * 1e9)
            else:
                raise ConfigError("where to? seek 12.5, or seek +5")
            self.go_to(min(target_ns, self._log.end_ns))
            self.jumped = True
        else:
            raise ConfigError("no command of the replay: pause, resume, toggle, seek, speed")

    def _now_ns(self) -> int:
        """Where the replay stands in the log's time."""
        if self._paused:
            return self._position_ns
        return round(self._from_ns + (time.monotonic_ns() - self._began_ns) * self._speed)

    def _tell(self) -> None:
        self._bus.detail["position_s"] = round((self._now_ns() - self._log.start_ns) / 1e9, 3)
        self._bus.detail["speed"] = self._speed
        self._bus.detail["paused"] = float(self._paused)
