"""What a subscriber does with any bytes that come as a frame: the target of test_hostile.py, which feeds it
the files of `corpus/` and what hypothesis makes of them. A frame that ever failed belongs there."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CORPUS = Path(__file__).with_name("corpus")
SEGMENT = "fusion_rt-0-0-0000000000000000"  # the name in the corpus for the segment that is there


@contextmanager
def target() -> Iterator[Callable[[bytes], None]]:
    """A function that fails where a frame does anything but give a message or be counted."""
    from fusion_rt.bus import Publisher, Subscriber, ring
    from fusion_rt.bus.lease import Segment

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
                subscriber.recv(0)
                after = (counters.received, counters.missing)
                ours = data.startswith(b"cam\0")
                assert sum(after) - sum(before) == ours, "neither a message nor counted"

            yield one
