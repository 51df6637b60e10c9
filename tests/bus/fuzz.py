"""What a subscriber does with any bytes that come as a frame: the target of test_hostile.py, which feeds it
the files of `corpus/` and what hypothesis makes of them. A frame that ever failed belongs there."""

import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fusion_rt.errors import MessageError

CORPUS = Path(__file__).with_name("corpus")
SEGMENT = "fusion_rt-0-0-0000000000000000"  # the name in the corpus for the segment that is there


def envelope(data: bytes) -> tuple[int, bytes, int, int, int, str]:
    """published_ns, header, arrays, instance, seq, host, as wire.decode has them; zeros where it refuses."""
    from fusion_rt.bus import wire

    try:
        found, _ = wire.decode(data, wire.after_topic(data))
    except MessageError:
        return 0, b"", 0, 0, 0, ""
    return found.published_ns, found.header, len(found.arrays), found.instance, found.seq, found.host


def valid(unpack: Callable[..., Any], header: memoryview, arrays: list[memoryview]) -> Any:
    """The message, or None."""
    try:
        return unpack(header, arrays)
    except MessageError:
        return None


@contextmanager
def received_in_cpp(data: bytes, segment: Any) -> Iterator[Any]:
    """What receiving.cpp finds in a frame whose number, instance and host are just what it expects; None: it
    leaves the frame to Python."""
    from fusion_rt.bus import zmtp
    from fusion_rt.bus.receiving import Usual

    *_, instance, seq, host = envelope(data)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        usual = Usual(b"cam\0", host)
        if max(instance, seq) < 1 << 63:
            usual.expect((instance, seq), SEGMENT, segment)
        theirs.sendall(zmtp.message(data))
        rest = usual.receive(ours.fileno(), 0)
        if not usual.arrived:
            assert rest == zmtp.message(data)
        yield usual if usual.arrived else None
        usual.forget()


@contextmanager
def target() -> Iterator[Callable[[bytes], None]]:
    """A function that fails where a frame does anything but give a message or be counted."""
    from fusion_rt.bus import Publisher, Subscriber, ring
    from fusion_rt.bus.lease import Segment
    from fusion_rt.messages import unpack

    with tempfile.TemporaryDirectory(prefix="frt-") as folder:
        endpoint = f"ipc://{folder}/cam"
        with Publisher(endpoint, "cam", slots=2) as publisher, Subscriber({"cam": endpoint}) as subscriber:
            with publisher.loan((120, 160, 3), "u1") as loan:
                loan._hold.memory()[:] = 1
                loan._hold.commit()
            assert publisher._ring is not None
            name = publisher._ring.name
            assert name in ring.segments()

            def one(data: bytes) -> None:
                subscriber._segments.clear()
                subscriber._segments[SEGMENT] = Segment(name)
                subscriber._next.clear()
                counters = subscriber.counters["cam"]
                before = (counters.received, counters.missing)
                subscriber._take(data)
                message = subscriber.recv(0)
                with received_in_cpp(data, subscriber._segments[SEGMENT]) as usual:
                    if usual is not None:  # then it is the same message to both
                        published_ns, header, arrays = usual.take()
                        assert envelope(data)[:3] == (published_ns, bytes(header), len(arrays))
                        assert type(message) is type(valid(unpack, header, arrays))
                after = (counters.received, counters.missing)
                ours = data.startswith(b"cam\0")
                assert sum(after) - sum(before) == ours, "neither a message nor counted"

            yield one
