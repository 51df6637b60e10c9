"""Household sensors that fail: what one sensor sends, changed before it is sent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, TypeAlias, get_args

import msgspec
import numpy as np
from msgspec import Meta, Struct

from fusion_rt.messages import AudioChunk, HomeReading, ImuSample, Packet, RadarPoints, Sight, Sound

FaultKind: TypeAlias = Literal["unavailable", "stuck", "noisy", "late", "replayed", "future", "lost"]
FAULTS: tuple[FaultKind, ...] = get_args(FaultKind)


class Fault(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One spell: `faults[i]`.

    kind   unavailable (readings become NaN, others are not sent), stuck (says again what it said),
           noisy, late (comes after delay_s), replayed (sends again, old stamps and all, what it sent delay_s
           ago), future (stamps run ahead by delay_s), lost (nothing comes)
    """

    sensor: str
    kind: FaultKind
    from_s: Annotated[float, Meta(ge=0)] = 0.0
    to_s: float = math.inf
    delay_s: Annotated[float, Meta(ge=0)] = 5.0


def drawn(
    sensors: Iterable[str],
    kinds: tuple[FaultKind, ...],
    per_day: float,
    seconds: float,
    rng: np.random.Generator,
) -> list[Fault]:
    """Random spells of a minute to an hour."""
    spells = []
    for sensor in sensors:
        for _ in range(rng.poisson(per_day * seconds / 86400)):
            begin = float(rng.uniform(0, seconds))
            length, delay = (
                float(np.exp(rng.uniform(math.log(60), math.log(3600)))),
                float(rng.uniform(2, 60)),
            )
            kind: Any = str(rng.choice(list(kinds)))
            spells.append(Fault(sensor=sensor, kind=kind, from_s=begin, to_s=begin + length, delay_s=delay))
    return spells


class Faulted:
    """One sensor with these spells."""

    def __init__(self, faults: list[Fault], start_ns: int, rng: np.random.Generator) -> None:
        self.faults, self.start_ns, self.rng = faults, start_ns, rng
        self.held: Packet | None = None
        self.stuck: Packet | None = None

    def push(self, packets: Iterable[Packet]) -> Iterator[tuple[int, Packet]]:
        """(when it comes in ns, packet) of what the sensor measured."""
        for packet in packets:
            stamp_ns = packet.header.stamp_ns
            since_s = (stamp_ns - self.start_ns) * 1e-9
            spell = next((f for f in self.faults if f.from_s <= since_s < f.to_s), None)
            if spell is None or spell.kind != "stuck":
                self.held, self.stuck = packet, None
            yield from self._sent(packet, spell)

    def _sent(self, packet: Packet, spell: Fault | None) -> Iterator[tuple[int, Packet]]:
        stamp_ns = packet.header.stamp_ns
        if spell is None:
            yield stamp_ns, packet
            return
        later_ns = stamp_ns + round(spell.delay_s * 1e9)
        if spell.kind == "unavailable" and isinstance(packet, HomeReading):
            yield stamp_ns, msgspec.structs.replace(packet, value=math.nan)
        elif spell.kind == "late":
            yield later_ns, packet
        elif spell.kind == "future":
            yield stamp_ns, _moved(packet, later_ns)
        elif spell.kind == "replayed":
            yield stamp_ns, packet
            yield later_ns, packet
        elif spell.kind == "stuck":
            self.stuck = self.stuck or self.held or packet
            yield stamp_ns, msgspec.structs.replace(self.stuck, header=packet.header)
        elif spell.kind == "noisy":
            yield stamp_ns, _noisy(packet, self.rng)


def _moved(packet: Packet, stamp_ns: int) -> Packet:
    header = msgspec.structs.replace(packet.header, stamp_ns=stamp_ns)
    moved: Packet = msgspec.structs.replace(packet, header=header)
    return moved


def _noisy(packet: Packet, rng: np.random.Generator) -> Packet:
    """The packet of a sensor at ten times its usual noise."""
    change = msgspec.structs.replace
    noisy: Packet = packet
    if isinstance(packet, HomeReading):
        if packet.unit == "":  # a switch chatters
            noisy = change(packet, value=float(rng.random() < 0.5))
        else:
            noisy = change(packet, value=float(packet.value * (1 + rng.normal(0, 0.2))))
    elif isinstance(packet, RadarPoints):
        xyz = packet.xyz + rng.normal(0, 0.5, packet.xyz.shape).astype(np.float32)
        noisy = change(packet, xyz=xyz)
    elif isinstance(packet, Sight):
        boxes = packet.boxes + rng.normal(0, 30, packet.boxes.shape).astype(np.float32)
        keypoints = packet.keypoints.copy()
        keypoints[..., :2] += rng.normal(0, 30, keypoints[..., :2].shape)
        noisy = change(packet, boxes=boxes, keypoints=keypoints)
    elif isinstance(packet, Sound):
        noisy = change(packet, level_dba=packet.level_dba + 15.0, speech=float(rng.random()))
    elif isinstance(packet, AudioChunk):
        pcm = packet.pcm + rng.normal(0, 3000, packet.pcm.shape)
        noisy = change(packet, pcm=np.clip(pcm, -32768, 32767).astype(np.int16))
    elif isinstance(packet, ImuSample):
        x, y, z = packet.specific_force
        dx, dy, dz = (float(v) for v in rng.normal(0, 3.0, 3))
        noisy = change(packet, specific_force=(x + dx, y + dy, z + dz))
    return noisy
