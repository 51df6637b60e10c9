"""kill -9 at random moments: no segment, no socket, no zombie, no hang, and nobody else notices.

FUSION_RT_KILL_ROUNDS=200 pytest tests/bus/test_kill.py    goes on for longer."""

import os
import random
import subprocess
import sys
import time

import psutil
import pytest

from fusion_rt.bus import Publisher, Subscriber, ring

ROUNDS = int(os.environ.get("FUSION_RT_KILL_ROUNDS", 4))


@pytest.fixture(params=["python", "cpp"])
def commands(request, child_command, run_dir):
    """What starts a writer without end, and a reader that holds slots."""
    if request.param == "python":
        return child_command("publish", "0", "0.0005"), child_command("roll")
    programs = request.getfixturevalue("programs")
    return (
        [str(programs / "bus_writer"), str(run_dir), "cam", "0", "0.5"],
        [str(programs / "bus_reader"), str(run_dir), "cam", "0"],
    )


@pytest.fixture
def kill():
    """Starts a program, and kills it when `moment` has come and some random time has gone."""
    chance = random.Random(1)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}

    def kill(command, moment):
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment)
        try:
            moment()
            time.sleep(chance.uniform(0, 0.02))
        finally:
            process.kill()
            process.wait()
            process.stdin.close()
        return process.pid

    return kill


def test_killed_writers(run_dir, commands, kill):
    """A reader that lives through it gets whole images of each, and the next start removes what they left."""
    writer, _ = commands
    dead = []
    with Subscriber({"cam": f"ipc://{run_dir}/cam"}) as reader:

        def hears_it():
            before = reader.counters["cam"].restarts
            while True:
                message = reader.recv(30)
                assert message is not None, "nothing came"
                assert (message.data == message.header.seq % 256).all()
                if not dead or reader.counters["cam"].restarts > before:
                    return

        for _ in range(ROUNDS):
            dead.append(kill(writer, hears_it))
        assert reader.counters["cam"].malformed == 0
        Publisher(f"ipc://{run_dir}/cam", "cam", slot_bytes=1).close()
    ring.sweep()
    assert [name for name in ring.segments() if int(name.split("-")[2]) in dead] == []
    assert list(run_dir.iterdir()) == []
    assert [child for child in psutil.Process().children() if child.pid in dead] == []


def test_killed_readers(run_dir, commands, kill, samples):
    """The writer, whose three slots they held, goes on without a drop."""
    _, reader = commands
    with Publisher(f"ipc://{run_dir}/cam", "cam", slots=3) as publisher:

        def reads_it():
            end = time.monotonic() + 30
            while publisher.subscribers == 0:
                assert time.monotonic() < end, "it did not subscribe"
                time.sleep(0.001)
            for seq in range(20):
                publisher.send(samples.image(seq))
                time.sleep(0.001)

        for _ in range(ROUNDS):
            kill(reader, reads_it)
            end = time.monotonic() + 30
            while publisher.subscribers:
                assert time.monotonic() < end, "it is still counted"
                time.sleep(0.001)
            dropped = publisher.counters.dropped
            for _ in range(4):
                assert publisher.send(samples.image(0))
            assert publisher.counters.dropped == dropped
