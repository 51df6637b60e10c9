"""A forked child keeps nothing of its parent's alive, and is told so when it uses it."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from fusion_rt.bus import Bus, BusConfig, Publisher, Subscriber, ring
from fusion_rt.errors import BusError

pytestmark = pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="from 3.12 on Python warns of any fork beside ZeroMQ's threads"
)


def in_child(action):
    """What `action` returns, or the error that it raises, in a fork that ends as Python programs do."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            text = str(action())
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(write, text.encode())
        os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    with open(read) as pipe:
        return pipe.read()


def test_what_belongs_to_the_parent_says_so(run_dir, samples):
    endpoint = f"ipc://{run_dir}/cam"
    with Publisher(endpoint, "cam") as publisher, Subscriber({"cam": endpoint}) as subscriber:
        calls = (
            lambda: publisher.send(samples.imu(0)),
            lambda: publisher.send(samples.image(0)),
            lambda: publisher.loan((10_000,), np.uint8),
            lambda: publisher.subscribers,
            lambda: subscriber.recv(0.1),
        )
        for call in calls:
            assert in_child(call).startswith("BusError: ")
            assert "is a fork of it: open a new one here" in in_child(call)


def test_a_child_that_closes_takes_nothing_away(run_dir, samples):
    config = BusConfig(run_dir=str(run_dir / "run"))
    with Bus(config, "node") as bus, Bus(config) as other:
        publisher, subscriber = bus.publisher("cam"), other.subscriber(["cam"])
        assert publisher.wait_for_subscribers(1, 10)
        publisher.send(samples.image(0))
        assert in_child(lambda: [bus.close(), other.close()]) == "[None, None]"
        assert publisher._ring.name in ring.segments()
        publisher.send(samples.image(1))
        assert subscriber.recv(10) is not None
        with pytest.raises(BusError, match="already published"):
            other.publisher("cam")


def test_a_child_that_lives_on_does_not_hold_its_dead_parents_topic(run_dir, samples):
    """The parent is killed, its child is not: the topic is free, the segment can be swept, and a reader sees
    that its connection has ended."""
    endpoint = f"ipc://{run_dir}/cam"
    told, tell = os.pipe()
    parent = os.fork()
    if parent == 0:
        publisher = Publisher(endpoint, "cam")
        publisher.send(samples.image(0))
        child = os.fork()
        if child == 0:
            os.write(tell, f"{os.getpid()} {publisher._ring.name}".encode())
            signal.pause()
            os._exit(0)
        signal.pause()
        os._exit(0)
    child, name = os.read(told, 100).decode().split()
    try:
        assert name in ring.segments()
        with Subscriber({"cam": endpoint}) as reader:
            for _ in range(1000):
                if reader._inbox._streams:
                    break
                time.sleep(0.01)
            assert reader._inbox._streams
            os.kill(parent, signal.SIGKILL)
            os.waitpid(parent, 0)
            assert Path(f"/proc/{child}").exists()
            with Publisher(endpoint, "cam") as publisher:
                ring.sweep()
                assert name not in ring.segments()
                assert publisher.wait_for_subscribers(1, 10)
                publisher.send(samples.imu(1))
                assert reader.recv(10).header.seq == 1
    finally:
        os.kill(int(child), signal.SIGKILL)
        os.close(told)
        os.close(tell)


def test_a_child_does_not_end_its_parents_lease(run_dir, samples):
    endpoint = f"ipc://{run_dir}/cam"
    with Publisher(endpoint, "cam", slots=2) as publisher, Subscriber({"cam": endpoint}) as subscriber:
        assert publisher.wait_for_subscribers(1, 10)
        publisher.send(samples.image(1))
        held = {0: subscriber.recv(10)}
        assert in_child(lambda: int(held.pop(0).data[0, 0, 0])) == "1"
        for seq in range(2, 6):
            publisher.send(samples.image(seq))
        assert (held[0].data == 1).all()


def test_a_child_opens_its_own(run_dir, samples):
    config = BusConfig(run_dir=str(run_dir / "run"))
    with Bus(config) as bus, bus.subscriber(["imu"]) as subscriber:

        def publish():
            with Bus(config) as own, own.publisher("imu") as publisher:
                publisher.wait_for_subscribers(1, 10)
                return publisher.send(samples.imu(3))

        thread = threading.Thread(target=lambda: got.append(subscriber.recv(20)))
        got = []
        thread.start()
        assert in_child(publish) == "True"
        thread.join()
        assert got[0].header.seq == 3
