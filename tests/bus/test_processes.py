"""Publishers and subscribers in processes of their own, and what is left of them when they are killed."""

import os
import time

from fusion_rt.bus import Publisher, Subscriber, ring
from fusion_rt.bus.lease import Segment


def of(pid):
    return [name for name in ring.segments() if name.split("-")[2] == str(pid)]


def until(condition):
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.005)
    raise AssertionError("it did not happen")


def test_every_pixel_across_processes(run_dir, child):
    """A reader that holds messages while a faster writer laps it many times sees whole images only."""
    reader = child("check", "2000")
    assert reader.stdout.readline() == "connected\n"
    writer = child("publish", "2000", "0.0002")
    assert writer.stdout.readline() == "bound\n"
    assert writer.stdout.readline() == "sent\n"
    received, missing, malformed, wrong = map(int, reader.stdout.readline().split())
    assert received > 10
    assert received + missing <= 2000
    assert (malformed, wrong) == (0, 0)
    writer.stdin.write("\n")
    writer.stdin.flush()
    assert writer.wait(10) == 0
    assert reader.wait(10) == 0
    assert of(writer.pid) == []


def test_a_killed_reader_loses_its_leases(run_dir, child, samples):
    with Publisher(f"ipc://{run_dir}/cam", "cam", slots=3) as publisher:
        reader = child("hold")
        assert reader.stdout.readline() == "connected\n"
        assert publisher.wait_for_subscribers(1, 20)
        for seq in range(3):
            assert publisher.send(samples.image(seq))
            assert reader.stdout.readline() == f"{seq}\n"
        assert not publisher.send(samples.image(3))
        reader.kill()
        reader.wait()
        assert publisher.send(samples.image(4))
        until(lambda: publisher.subscribers == 0)


def test_a_killed_writer_leaves_nothing_after_the_next_start(run_dir, child, samples):
    with Subscriber({"cam": f"ipc://{run_dir}/cam"}) as subscriber:
        writer = child("publish", "0", "0.001")
        message = subscriber.recv(20)
        assert message is not None
        writer.kill()
        writer.wait()
        while subscriber.recv(0.1) is not None:
            pass
        assert (message.data == message.header.seq % 256).all()  # what was mapped stays
        assert len(of(writer.pid)) == 1
        with Publisher(f"ipc://{run_dir}/cam", "cam") as publisher:  # takes over the topic and sweeps
            assert publisher.wait_for_subscribers(1, 20)
            publisher.send(samples.image(5))
            assert subscriber.recv(20).header.seq == 5
            assert of(writer.pid) == []
        counters = subscriber.counters["cam"]
        assert counters.restarts == 1
        assert (counters.lost, counters.malformed) == (0, 0)


def test_a_slow_reader_sees_the_newest(run_dir, child):
    with Subscriber({"cam": f"ipc://{run_dir}/cam"}) as subscriber:
        writer = child("publish", "200", "0.001")
        first = subscriber.recv(20)
        assert first is not None
        assert writer.stdout.readline() == "bound\n"
        assert writer.stdout.readline() == "sent\n"  # the reader slept through all the others
        until(lambda: subscriber._fill(0) or subscriber.counters["cam"].skipped >= 198 - first.header.seq)
        last = subscriber.recv(10)
        assert last.header.seq == 199
        assert (last.data == 199).all()
        counters = subscriber.counters["cam"]
        assert counters.received + counters.missing == 200
        assert counters.lost == 0


def test_the_living_are_not_swept(run_dir, samples):
    with Publisher(f"ipc://{run_dir}/cam", "cam") as publisher:
        publisher.send(samples.image(0))
        ring.sweep()
        assert publisher._ring.name in ring.segments()


def test_a_forked_child_does_not_remove_its_parents_ring(run_dir, samples):
    with Publisher(f"ipc://{run_dir}/cam", "cam") as publisher:
        publisher.send(samples.image(0))
        name = publisher._ring.name
        pid = os.fork()
        if pid == 0:
            publisher._ring.close()
            os._exit(0)
        os.waitpid(pid, 0)
        assert name in ring.segments()
        Segment(name)
