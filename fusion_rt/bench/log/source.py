"""A process that publishes the load in real time, and leaves messages out where it is told to."""

from __future__ import annotations

import sys
import time
from typing import Any

import msgspec
from msgspec import Struct

from fusion_rt.bench.log import loads
from fusion_rt.bus import Bus, BusConfig, Publisher
from fusion_rt.metrics.latency import Histogram, Percentiles


class Order(Struct, frozen=True, kw_only=True):
    """cameras of 6.2 MB at `hz` for `seconds`; every drop_every-th message is dropped on the way, as a
    publisher whose readers hold all slots does it, and every skip_every-th number is never sent; 0: none."""

    run_dir: str
    cameras: int
    hz: float
    seconds: float
    drop_every: int = 0
    skip_every: int = 0


class Done(Struct, frozen=True, kw_only=True):
    """sent, dropped, skipped: sensor -> numbers; calls_ms: what `send` took the sensors' process;
    late_s: how far the process was behind its schedule in the end."""

    sent: dict[str, list[int]]
    dropped: dict[str, list[int]]
    skipped: dict[str, list[int]]
    elapsed_s: float
    calls_ms: Percentiles
    late_s: float


def run(order: Order) -> Done:
    """Waits for a listener on each topic first."""
    streams = loads.streams(order.cameras, hz=order.hz)
    kinds: dict[str, dict[str, list[int]]] = {
        name: {stream.sensor: [] for stream in streams} for name in ("sent", "dropped", "skipped")
    }
    calls = Histogram()
    with Bus(BusConfig(run_dir=order.run_dir)) as bus:
        publishers = {stream.sensor: bus.publisher(stream.sensor) for stream in streams}
        for publisher in publishers.values():
            publisher.wait_for_subscribers(1, 30.0)
        began = time.monotonic()
        for packet in loads.messages(streams, order.seconds):
            header = packet.header
            due = began + (header.stamp_ns - loads.START_NS) / 1e9
            while (ahead := due - time.monotonic()) > 0:
                time.sleep(ahead)
            what = _send(publishers[header.sensor_id], packet, order, calls)
            kinds[what][header.sensor_id].append(header.seq)
        elapsed = time.monotonic() - began
    return Done(
        **kinds,
        elapsed_s=elapsed,
        calls_ms=calls.percentiles(),
        late_s=max(0.0, elapsed - order.seconds),
    )


def _send(publisher: Publisher, packet: Any, order: Order, calls: Histogram) -> str:
    # The last number of all is sent: what is missing behind it no recorder can know.
    seq = packet.header.seq
    if order.skip_every and seq % order.skip_every == order.skip_every // 2:
        return "skipped"
    if order.drop_every and seq % order.drop_every == order.drop_every // 3:
        publisher._drop()
        return "dropped"
    began = time.perf_counter()
    sent = publisher.send(packet)
    calls.add((time.perf_counter() - began) * 1e3)
    return "sent" if sent else "dropped"


def main() -> None:
    """The order is the only argument; what was done goes to standard output."""
    done = run(msgspec.json.decode(sys.argv[1], type=Order))
    sys.stdout.buffer.write(msgspec.json.encode(done))


if __name__ == "__main__":
    main()
