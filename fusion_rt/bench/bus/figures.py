"""The ratios that the bus is held to, out of a run of the benchmark."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec import Struct

from fusion_rt.bench.bus.measure import BusResult, Cell

SEND, LOAN, PLAIN, ICEORYX2 = "fusion_rt, send", "fusion_rt, loan", "pyzmq", "iceoryx2"


class Figure(Struct, frozen=True, kw_only=True):
    """value is to be at most `limit`."""

    name: str
    value: float
    limit: float

    @property
    def held(self) -> bool:
        return self.value <= self.limit


def figures(result: BusResult) -> list[Figure]:
    """Those whose cells were measured."""
    return list(_figures({(c.load, c.peer): c for c in result.cells if c.failed is None}))


def _figures(cells: dict[tuple[str, str], Cell]) -> Iterator[Figure]:
    def ratio(
        name: str,
        limit: float,
        ours: tuple[str, str],
        theirs: tuple[str, str],
        of: Callable[[Cell], float | None],
    ) -> Iterator[Figure]:
        if ours in cells and theirs in cells:
            a, b = of(cells[ours]), of(cells[theirs])
            if a is not None and b:
                yield Figure(name=name, value=a / b, limit=limit)

    p50, p99 = (lambda cell: cell.p50_ms), (lambda cell: cell.p99_ms)
    image, three, points, imu, rig = "image", "image-3", "points", "imu", "rig"
    yield from ratio("image: send, p50 to iceoryx2's", 1.0, (image, SEND), (image, ICEORYX2), p50)
    yield from ratio("image: loan, p50 to iceoryx2's", 0.5, (image, LOAN), (image, ICEORYX2), p50)
    yield from ratio("image: loan, p99 to iceoryx2's", 1.0, (image, LOAN), (image, ICEORYX2), p99)
    for peer in (SEND, LOAN):
        name = peer.removeprefix("fusion_rt, ")
        yield from ratio(f"image: {name} to 3 readers, p50 to one's", 1.2, (three, peer), (image, peer), p50)
        yield from ratio(
            f"image: {name} to 3 readers, sender's CPU to one's", 1.2, (three, peer), (image, peer), _sender
        )
    yield from ratio("points: send, p50 to plain ZeroMQ's", 0.4, (points, SEND), (points, PLAIN), p50)
    yield from ratio("points: loan, p50 to plain ZeroMQ's", 0.4, (points, LOAN), (points, PLAIN), p50)
    yield from ratio("image: send, p50 to plain ZeroMQ's", 0.4, (image, SEND), (image, PLAIN), p50)
    yield from ratio("image: loan, p50 to plain ZeroMQ's", 0.4, (image, LOAN), (image, PLAIN), p50)
    yield from ratio("imu: p50 to plain ZeroMQ's", 1.3, (imu, SEND), (imu, PLAIN), p50)
    for peer in (SEND, LOAN):
        name = peer.removeprefix("fusion_rt, ")
        yield from ratio(
            f"rig: {name}, CPU to plain ZeroMQ's", 0.5, (rig, peer), (rig, PLAIN), lambda c: c.cpu
        )
        if (slow := cells.get(("slow", peer))) is not None and slow.p50_ms is not None:
            yield Figure(name=f"slow: {name}, age in ms, p50", value=slow.p50_ms, limit=20.0)


def _sender(cell: Cell) -> float:
    return sum(share.cpu for share in cell.processes if share.name.endswith("-sender"))
