"""A recording, played as if it happened now."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta, Struct

from fusion_rt import logs
from fusion_rt.bus import Bus, Publisher
from fusion_rt.errors import LogError
from fusion_rt.messages import Packet, complete_ns
from fusion_rt.scenario import locate


class ReplayConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """log         the recording, or bundled:NAME
    speed       1 is as it was
    loop        begin again at the end
    preload     unpack the whole log into memory before the first packet: then reading it takes no time from
                the listeners
    topics      sensors to play; empty: all
    listeners   how many must listen to each topic before the first packet, so that none misses the start
    wait_for_s  how long they are waited for
    """

    log: str
    speed: Annotated[float, Meta(gt=0, le=1000)] = 1.0
    loop: bool = False
    preload: bool = False
    topics: tuple[str, ...] = ()
    listeners: Annotated[int, Meta(ge=0)] = 1
    wait_for_s: Annotated[float, Meta(ge=0)] = 10.0


def run(config: ReplayConfig, bus: Bus) -> None:
    """Packets with their own stamps, in order, each when it is due."""
    path = locate(config.log)
    with logs.open(path) as log:
        topics = config.topics or tuple(log.rig.modalities())
        packets: Iterable[Packet] = list(log) if config.preload else log
        publishers = {topic: bus.publisher(topic) for topic in topics}
        _wait(publishers, config, bus)
        while not bus.stopping:
            sent = _play(packets, log.start_ns, publishers, config.speed, bus)
            if log.recovered:
                print(log.recovered, file=sys.stderr)
            bus.detail["loops"] = bus.detail.get("loops", 0) + 1
            if not config.loop:
                return
            if not sent:
                raise LogError(f"{path}: holds nothing of {', '.join(topics)}: there is nothing to loop over")


def _wait(publishers: dict[str, Publisher], config: ReplayConfig, bus: Bus) -> None:
    deadline = time.monotonic() + config.wait_for_s
    for publisher in publishers.values():
        while time.monotonic() < deadline and not bus.stopping:
            if publisher.wait_for_subscribers(config.listeners, 0.1):
                break


def _play(
    packets: Iterable[Packet], start_ns: int, publishers: dict[str, Publisher], speed: float, bus: Bus
) -> int:
    """Once through; returns how many packets were sent. `behind_s` is how late the last one was."""
    sent, began_ns = 0, time.monotonic_ns()
    for packet in packets:
        publisher = publishers.get(packet.header.sensor_id)
        if publisher is None:
            continue
        due_ns = began_ns + (complete_ns(packet) - start_ns) / speed
        while (ahead_s := (due_ns - time.monotonic_ns()) / 1e9) > 0 and not bus.stopping:
            bus.wait(min(ahead_s, 0.1))
        if bus.stopping:
            break
        publisher.send(packet)
        sent += 1
        bus.detail["behind_s"] = round(max(0.0, -ahead_s), 4)
    return sent
