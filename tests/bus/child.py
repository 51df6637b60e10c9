"""The other process in the tests of the bus: child.py MODE run_dir ..."""

import sys
import time
from collections import deque
from pathlib import Path

import samples

from fusion_rt.bus import Publisher, Subscriber


def publish(run_dir: str, count: str, period_s: str) -> None:
    """Images to whoever listens, `count` of them (0: without end), once somebody does."""
    with Publisher(f"ipc://{run_dir}/cam", "cam", slots=4) as publisher:
        print("bound", flush=True)
        publisher.wait_for_subscribers(1, 20.0)
        seq = 0
        while not int(count) or seq < int(count):
            publisher.send(samples.image(seq))
            seq += 1
            time.sleep(float(period_s))
        print("sent", flush=True)
        sys.stdin.readline()


def hold(run_dir: str) -> None:
    """Receive without letting any message go, until killed."""
    kept = []
    with Subscriber({"cam": f"ipc://{run_dir}/cam"}, keep_all=True) as subscriber:
        print("connected", flush=True)
        while True:
            message = subscriber.recv()
            kept.append(message)
            print(message.header.seq, flush=True)


def roll(run_dir: str) -> None:
    """Receive, holding the last two messages, until killed."""
    held: deque = deque(maxlen=2)
    with Subscriber({"cam": f"ipc://{run_dir}/cam"}) as subscriber:
        while True:
            held.append(subscriber.recv())


def check(run_dir: str, count: str) -> None:
    """Receive until seq `count` - 1, hold the last two messages, compare every pixel; print the counts."""
    held: deque = deque(maxlen=2)
    with Subscriber({"cam": f"ipc://{run_dir}/cam"}) as subscriber:
        print("connected", flush=True)
        wrong = 0
        while True:
            message = subscriber.recv(20.0)
            assert message is not None
            held.append(message)
            wrong += sum(bool((m.data != m.header.seq % 256).any()) for m in held)
            if message.header.seq == int(count) - 1:
                break
        counters = subscriber.counters["cam"]
        print(counters.received, counters.missing, counters.malformed, wrong, flush=True)


if __name__ == "__main__":
    modes = {"publish": publish, "hold": hold, "roll": roll, "check": check}
    modes[sys.argv[1]](str(Path(sys.argv[2])), *sys.argv[3:])
