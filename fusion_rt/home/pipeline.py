"""Packets of household sensors in, scenes out.

push: clock -> intake, and when a scene is due: observe -> network -> people -> rooms -> events -> intents

Opens no socket, reads no clock, starts no thread: time is in the packets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from fusion_rt.home.canvas import Canvas
from fusion_rt.home.clock import PacketClock
from fusion_rt.home.config import HomeConfig
from fusion_rt.home.events import Events, Mention
from fusion_rt.home.falls import Falls
from fusion_rt.home.histories import Microphone, Radar, Readings, Worn
from fusion_rt.home.intake import Intake
from fusion_rt.home.intents import Grounding
from fusion_rt.home.modalities import EVENT_KINDS, MODALITY
from fusion_rt.home.network import Answers, HomeNetwork
from fusion_rt.home.observation import Observation, Observer, without
from fusion_rt.home.people import Found, People, Track
from fusion_rt.home.raster import Raster
from fusion_rt.home.reasons import MEMORY, Reasons, shares
from fusion_rt.home.room_features import SLICES
from fusion_rt.home.rooms import Rooms
from fusion_rt.home.sounds import Sounds
from fusion_rt.home_packets import HomeReading, RadarPoints, Sound
from fusion_rt.messages import Command, Header, Packet, complete_ns
from fusion_rt.models.head import Head
from fusion_rt.plan import Plan
from fusion_rt.scene import (
    POSTURES,
    HomeSensorUse,
    Intent,
    Person,
    Scene,
    SceneCertificate,
    Why,
)

WHY_EVERY = 5  # scenes between two looks without a modality
COMMAND_S = 5.0  # older commands are not obeyed
NEAR_M = 0.8  # what sees a person lies so near

Array = NDArray[np.float32]


class HomePipeline:
    """For one thread. counters: sensor_id -> cause -> packets refused; those of sensors that the plan does
    not have under "unknown"."""

    def __init__(
        self, config: HomeConfig, plan: Plan, head: Head, clock: Callable[[], int] | None = None
    ) -> None:
        self.config, self.plan = config, plan
        self._head, self._clock = head, clock
        self.canvas = Canvas(plan)
        self._time = PacketClock(future_s=config.future_s)
        self.intake = Intake(plan, stuck_s=config.stuck_s)
        self.observer = Observer(plan, self.canvas)
        self.network = HomeNetwork(head, self.canvas, Raster(plan, self.canvas, self.observer.spatial))
        self._people = People(self._looked, self.canvas.room_of)
        self._reasons = Reasons()
        self._events = Events(plan.site)
        self._falls, self._sounds = Falls(), Sounds(config.event_p)
        self._grounding = Grounding(plan)
        self._modality = {slug: MODALITY[sensor.kind] for slug, sensor in plan.sensors.items()}
        self._rooms = Rooms(config, plan)
        self._gap_ns = round(config.gap_s * 1e9)
        self._seq = 0
        self.counters = self.intake.counters
        self._begin()

    @classmethod
    def from_config(
        cls, config: HomeConfig, plan: Plan, clock: Callable[[], int] | None = None
    ) -> HomePipeline:
        """clock: monotonic ns, only to measure the stages. Raises ConfigError, RigError, EngineError."""
        head = Head.load(config.model, runtime=config.runtime, threads=config.threads)
        return cls(config, plan, head, clock)

    def push(self, packet: Packet) -> Scene | None:
        """A scene where one is due, or where the packet asks for one at once. Never raises for a packet."""
        header = packet.header
        judged = self._time.judge(header.sensor_id, complete_ns(packet))
        if judged in ("future", "past"):
            self.intake.refuse(header.sensor_id, judged)
            return None
        if judged == "restarted":
            self._begin()
        news = self._takes_part(packet)
        return self._due(news)

    def tick(self, stamp_ns: int) -> Scene | None:
        """Time goes on though no packet comes."""
        self._time.advance(stamp_ns)
        return self._due(False)

    @property
    def asked_ns(self) -> int | None:
        """When a scene is due because something asked for one too soon after the latest; None: none is."""
        return self._told_ns + self._gap_ns if self._news and self._told_ns is not None else None

    def hold(self, room: str, hold_s: float) -> None:
        """From now on the room is empty that long after the last sign of somebody, instead of what the plan
        says. Raises KeyError for a room that is not in the plan, ValueError for no time from 0 to a day."""
        if not 0 <= hold_s <= 86400:
            raise ValueError(f"hold_s is {hold_s:g}, expected 0 to 86400")
        self._rooms.hold(room, hold_s)

    @property
    def model(self) -> str:
        """The network's identity."""
        return self._head.identity

    @property
    def now_ns(self) -> int | None:
        """The newest stamp that is believed; None: nothing was heard yet."""
        return self._time.now_ns

    def _begin(self) -> None:
        """As if nothing had been heard yet."""
        self.intake.forget()
        self.network.forget()
        self._people.forget()
        self._reasons.forget()
        self._events.forget()
        self._falls.forget()
        self._sounds.forget()
        self._rooms.forget()
        self._told_ns: int | None = None  # when the latest scene was
        self._news = False  # something asked for a scene at once, too soon after the latest
        self._commands: list[Command] = []
        self._command_ns: dict[str, int] = {}

    def _takes_part(self, packet: Packet) -> bool:
        """Whether it asks for a scene at once."""
        before = self._value(packet)
        if self.intake.take(packet) is not None:
            return False
        if isinstance(packet, Command):
            return self._commanded(packet)
        if isinstance(packet, Sound):
            return self._heard(packet)
        if isinstance(packet, RadarPoints):
            history = self.intake.histories[packet.header.sensor_id]
            return isinstance(history, Radar) and history.appeared
        if isinstance(packet, HomeReading) and packet.kind in EVENT_KINDS and packet.value != before:
            self._changed(packet)
            return before == before or packet.value == 1.0  # NaN: its first word is news only if it is on
        return False

    def _value(self, packet: Packet) -> float:
        history = self.intake.histories.get(packet.header.sensor_id)
        return history.value if isinstance(history, Readings) else float("nan")

    def _changed(self, packet: HomeReading) -> None:
        slug, stamp_ns = packet.header.sensor_id, packet.header.stamp_ns
        room = self.plan.sensors[slug].room
        if packet.kind == "contact":
            self._rooms.moves(slug, stamp_ns)
        elif packet.kind == "button" and packet.value == 1.0:
            self._events.mention(Mention("doorbell", room, 0.99, stamp_ns, "button"))
        elif packet.kind == "smoke" and packet.value == 1.0:
            self._events.mention(Mention("smoke_alarm", room, 0.99, stamp_ns, "smoke"))

    def _heard(self, sound: Sound) -> bool:
        room = self.plan.sensors[sound.header.sensor_id].room
        self._falls.hear(room, sound.events.get("knock", 0.0), sound.header.stamp_ns)
        mentions = self._sounds.hear(sound, room)
        for mention in mentions:
            self._events.mention(mention)
        return bool(mentions)

    def _commanded(self, command: Command) -> bool:
        slug, stamp_ns = command.header.sensor_id, command.header.stamp_ns
        assert self._time.now_ns is not None
        if stamp_ns <= self._command_ns.get(slug, stamp_ns - 1):
            cause = "replayed"
        elif not command.intent:
            cause = "no_intent"
        elif self._time.now_ns - stamp_ns > COMMAND_S * 1e9:
            cause = "old_command"
        else:
            self._command_ns[slug] = stamp_ns
            self._commands.append(command)
            return True
        self.intake.refuse(slug, cause)
        return False

    def _due(self, news: bool) -> Scene | None:
        now = self._time.now_ns
        self._news = self._news or news
        if now is None:
            return None
        if self._told_ns is not None:
            period = round(self.config.period_s * 1e9)
            due = now // period > self._told_ns // period
            if not due and not (self._news and now - self._told_ns >= self._gap_ns):
                return None
        self._news = False
        return self._scene(now)

    def _scene(self, now: int) -> Scene:
        watch = _Stages(self._clock)
        dt_s = 0.0 if self._told_ns is None else (now - self._told_ns) / 1e9
        self._told_ns = now
        histories = self.intake.histories
        status = {slug: history.status(now) for slug, history in histories.items()}
        missing = tuple(slug for slug, state in status.items() if state != "used")
        ages = {slug: age * 1e3 for slug, h in histories.items() if (age := h.age_s(now)) is not None}
        seen = self.observer.at(now, histories)
        watch.lap("observe")
        # The second look first: it must not see what this tick is about to remember.
        present = present_modalities(status, self._modality)
        masked = self._reasons.next(present) if self.config.why and self._seq % WHY_EVERY == 0 else None
        less = self._without(seen, masked, dt_s)
        watch.lap("why")
        answers = self.network.run(seen, dt_s)
        if masked is not None and less is not None:
            self._reasons.note(masked, answers, less)
        watch.lap("network")
        tracks = self._people.update(found_people(answers.people), now, dt_s)
        watch.lap("people")
        followed = {t.room for t in tracks}
        counts = self._rooms.widened(answers.counts, status, followed, now)
        self._rooms.take(counts, self._people.left, now)
        by_track = {t.id: self._seen_by(t, seen) for t in tracks}
        rooms = self._rooms.states(
            counts,
            answers,
            self._reasons,
            watched={self.plan.sensors[s].room for s in self.observer.spatial if status[s] == "used"},
            present=present,
            missing=missing,
            ages=ages,
            now=now,
        )
        self._feel_falls(tracks, by_track, seen, now)
        events = self._events.told(missing, ages)
        intents = self._intents(counts, followed, missing, ages)
        people = tuple(self._person(t, by_track[t.id], missing, ages, now) for t in tracks)
        watch.lap("scene")
        self._seq += 1
        return Scene(
            header=Header(sensor_id="home", frame_id="home", seq=self._seq - 1, stamp_ns=now),
            rooms=rooms,
            people=people,
            events=events,
            intents=intents,
            certificate=self._certificate(status, watch.ms, now),
        )

    def _without(self, seen: Observation, modality: str | None, dt_s: float) -> Answers | None:
        if modality is None:
            return None
        return self.network.run(without(seen, modality, self.observer.kinds), dt_s, remember=False)

    def _seen_by(self, track: Track, seen: Observation) -> dict[str, float]:
        """modality -> how much of it lies where the person is: radar points and boxes."""
        place = track.x[:2].astype(np.float32)
        by: dict[str, float] = {}
        near = np.hypot(*(seen.radar[:, 1:3] - place).T) < NEAR_M
        if near.any():
            by["radar"] = float(1 - np.exp(-near.sum() / 4))
        spots = seen.sights[:, 1:9].reshape(-1, 4, 2) - place
        near = (np.hypot(spots[:, :, 0], spots[:, :, 1]) < NEAR_M).any(axis=1)
        if near.any():
            by["camera"] = float(seen.sights[near, 9].max())
        return by

    def _feel_falls(
        self, tracks: list[Track], by: dict[int, dict[str, float]], seen: Observation, now: int
    ) -> None:
        self._falls.look(self._people.tracks, by, seen, now)
        for slug, history in self.intake.histories.items():
            if isinstance(history, Worn):
                lying = [t for t in tracks if t.posture[2] > 0.5] or tracks
                self._falls.feel(slug, history, lying[0].room if lying else "", now)
        for mention in self._falls.told(now):
            self._events.mention(mention)

    def _intents(
        self, counts: Array, seen: set[str], missing: tuple[str, ...], ages: dict[str, float]
    ) -> tuple[Intent, ...]:
        occupied = {slug: 1.0 - float(counts[row, 0]) for row, slug in enumerate(self.canvas.rooms)}
        why = Why(shares={"sound": 1.0}, missing=missing, ages_ms=ages)
        told = tuple(
            self._grounding.ground(c, speech=self._speech(c.header), occupied=occupied, seen=seen, why=why)
            for c in self._commands
        )
        self._commands.clear()
        return told

    def _speech(self, header: Header) -> float:
        history = self.intake.histories[header.sensor_id]
        if not isinstance(history, Microphone) or not history.past:
            return 1.0
        return max(speech for _, _, speech, _ in history.past)

    def _person(
        self, track: Track, by: dict[str, float], missing: tuple[str, ...], ages: dict[str, float], now: int
    ) -> Person:
        postures = [float(v) for v in track.posture]
        total = max(sum(postures), 1e-6)
        named = {name: v / total for name, v in zip(POSTURES, postures)}
        best = max(named, key=lambda name: named[name])
        around = set(self._rooms.tells.get(track.room, ()))
        return Person(
            track_id=track.id,
            position=(float(track.x[0]), float(track.x[1])),
            covariance=tuple(float(v) for v in track.P[:2, :2].ravel()),  # type: ignore[arg-type]
            velocity=(float(track.x[2]), float(track.x[3])),
            existence=track.existence,
            posture=best if named[best] >= 0.4 else "unknown",
            posture_p=named,
            room=track.room,
            age_s=(now - track.born_ns) / 1e9,
            coasting_s=(now - track.seen_ns) / 1e9,
            why=Why(
                shares=shares(by, tuple(sorted(by))) if by else {MEMORY: 1.0},
                missing=tuple(s for s in missing if s in around),
                ages_ms={s: age for s, age in ages.items() if s in around},
            ),
        )

    def _certificate(
        self, status: Mapping[str, str], stage_ms: dict[str, float], now: int
    ) -> SceneCertificate:
        engine = self._head.engine
        uses = tuple(
            HomeSensorUse(
                sensor_id=slug,
                modality=self._modality[slug],
                status=status[slug],
                age_s=history.age_s(now),
                dropped=dict(sorted(self.counters[slug].items())) if slug in self.counters else {},
            )
            for slug, history in self.intake.histories.items()
        )
        states = set(status.values())
        if "used" not in states:
            heard = any(h.newest_ns is not None for h in self.intake.histories.values())
            rung, reason = ("coasting", "no sensor tells") if heard else ("none", "no sensor was heard yet")
        elif states == {"used"}:
            rung, reason = "all", ""
        else:
            lost = [slug for slug, state in status.items() if state != "used"]
            rung, reason = "in_time", "without " + ", ".join(lost)
        return SceneCertificate(
            sensors=uses,
            model=self._head.identity,
            engine=engine.identity,
            precision=engine.precision,
            stage_ms=stage_ms,
            rung=rung,
            reason=reason,
        )

    def _looked(self, x: float, y: float) -> bool:
        now, histories = self._time.now_ns or 0, self.intake.histories
        return any(
            histories[slug].status(now) == "used" and self.canvas.covered(slug, x, y)
            for slug in self.observer.spatial
        )


class _Stages:
    """ms: wall time a stage; empty without a clock."""

    def __init__(self, clock: Callable[[], int] | None) -> None:
        self._clock = clock
        self._last = clock() if clock else 0
        self.ms: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        if self._clock is not None:
            now = self._clock()
            self.ms[stage], self._last = (now - self._last) / 1e6, now


def found_people(people: Array) -> list[Found]:
    """The rows of the network's answer that are worth a look, the likeliest first."""
    rows = sorted((row for row in people.astype(float).tolist() if row[0] >= 0.1), key=lambda row: -row[0])
    return [
        Found(min(p, 0.999), x, y, max(sigma, 0.05), vx, vy, (standing, sitting, lying), fall)
        for p, x, y, sigma, vx, vy, standing, sitting, lying, fall in rows
    ]


def present_modalities(status: Mapping[str, str], modality: Mapping[str, str]) -> tuple[str, ...]:
    """Those of which a sensor is in use, and that the network takes in."""
    used = {modality[slug] for slug, state in status.items() if state == "used"}
    return tuple(m for m in SLICES if m in used)
