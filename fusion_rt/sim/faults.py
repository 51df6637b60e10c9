"""Sensors that fail on purpose: packets in, packets out, of a simulated drive or of a recording.

with logs.open("drive.mcap") as log:
    for packet in faulted(log, (Silent(sensor="lidar", from_s=2.0, to_s=3.0),), log.rig.modalities()):
        prediction = pipeline.push(packet)
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import get_args

import numpy as np

from fusion_rt.errors import ConfigError
from fusion_rt.messages import Packet, complete_ns
from fusion_rt.sim.fault_kinds import AnyFault, Fault


def check(faults: Sequence[Fault], modalities: Mapping[str, str]) -> None:
    """Raises ConfigError: a sensor that there is not, or a kind that its modality cannot have.

    modalities: sensor_id -> modality, as of `Rig.modalities`."""
    for i, fault in enumerate(faults):
        kind, modality = _kind(type(fault)), modalities.get(fault.sensor)
        if modality is None:
            raise ConfigError(
                f"faults[{i}].sensor: {fault.sensor!r} is not one of {', '.join(sorted(modalities))}"
            )
        if modality not in fault.MODALITIES:
            fitting = [_kind(each) for each in get_args(AnyFault) if modality in each.MODALITIES]
            raise ConfigError(
                f"faults[{i}].kind: {kind!r} does not fit {fault.sensor} ({modality});"
                f" allowed are {', '.join(fitting)}"
            )


def faulted(
    packets: Iterable[Packet],
    faults: Sequence[Fault],
    modalities: Mapping[str, str],
    *,
    seed: int = 0,
    start_ns: int | None = None,
) -> Iterator[Packet]:
    """The packets as they come of sensors with these faults: the same bits for the same seed.

    packets     in the order in which they come
    modalities  sensor_id -> modality, as of `Rig.modalities`
    start_ns    from which the faults' seconds count; None: the first packet's stamp

    Raises ConfigError as `check` does, before the first packet."""
    check(faults, modalities)
    return _faulted(packets, faults, seed, start_ns) if faults else iter(packets)


def _faulted(
    packets: Iterable[Packet], faults: Sequence[Fault], seed: int, start_ns: int | None
) -> Iterator[Packet]:
    changes = [(fault, fault.begin(np.random.default_rng([seed, i]))) for i, fault in enumerate(faults)]
    held: list[tuple[int, int, Packet]] = []  # when it is due (ns), order
    order, now_ns = count(), 0
    for packet in packets:
        start_ns = packet.header.stamp_ns if start_ns is None else start_ns
        since_s = (packet.header.stamp_ns - start_ns) * 1e-9
        now_ns = max(now_ns, complete_ns(packet))
        while held and held[0][0] <= now_ns:
            yield heapq.heappop(held)[2]
        late_s, changed = 0.0, packet
        for fault, change in changes:
            if fault.sensor == packet.header.sensor_id and fault.from_s <= since_s < fault.to_s:
                late_s += fault.late_s
                outcome = change(changed)
                if outcome is None:
                    break
                changed = outcome
        else:
            if late_s:
                heapq.heappush(held, (now_ns + round(late_s * 1e9), next(order), changed))
            else:
                yield changed
    while held:
        yield heapq.heappop(held)[2]


def _kind(fault: type[Fault]) -> str:
    return str(fault.__struct_config__.tag)
