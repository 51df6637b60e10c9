"""One publisher for several threads; one subscriber for one."""

import threading

import numpy as np
import pytest

from fusion_rt.bus import Publisher, Subscriber
from fusion_rt.errors import BusError

EACH = 100


def test_any_thread_may_publish(run_dir, samples):
    """Four threads: every message arrives whole and numbered once, each thread's in its order."""
    endpoint = f"ipc://{run_dir}/cam"
    with (
        Publisher(endpoint, "cam", kind="event", slots=500) as publisher,
        Subscriber({"cam": endpoint}, keep_all=True) as subscriber,
    ):
        assert publisher.wait_for_subscribers(1, 10)

        def publish(thread):
            for seq in range(EACH):
                image = samples.image(seq, value=thread)
                if seq % 2:
                    publisher.send(image)
                    continue
                with publisher.loan(image.data.shape, np.uint8) as loan:
                    loan.array[:] = thread
                    loan.publish(type(image)(**fields(image) | {"data": loan.array}))

        threads = [threading.Thread(target=publish, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        seen = {i: [] for i in range(4)}
        for _ in range(4 * EACH):
            message = subscriber.recv(20)
            value = int(message.data[0, 0, 0])
            assert (message.data == value).all()
            seen[value].append(message.header.seq)
        for thread in threads:
            thread.join()
        assert seen == {i: list(range(EACH)) for i in range(4)}
        assert subscriber.counters["cam"].missing == 0
        assert publisher.counters.published == 4 * EACH


def test_a_subscriber_is_for_one_thread(run_dir, samples):
    endpoint = f"ipc://{run_dir}/imu"
    with Publisher(endpoint, "imu") as publisher, Subscriber({"imu": endpoint}) as subscriber:
        got = []
        thread = threading.Thread(target=lambda: got.append(subscriber.recv(20)))
        thread.start()
        assert publisher.wait_for_subscribers(1, 10)  # so the thread is in recv, or will be
        while not subscriber._in_use.locked():
            pass
        with pytest.raises(BusError, match="give each thread its own"):
            subscriber.recv(0)
        with pytest.raises(BusError, match="end its loop first"):
            subscriber.close()
        publisher.send(samples.imu(1))
        thread.join()
        assert got[0].header.seq == 1
        assert subscriber.recv(0) is None


def test_a_loan_outlives_a_ring_that_grew(run_dir, samples):
    """The slot was taken before a larger message needed a larger ring, and is published behind it."""
    endpoint = f"ipc://{run_dir}/cam"
    small = samples.image(7)
    with (
        Publisher(endpoint, "cam", slots=3) as publisher,
        Subscriber({"cam": endpoint}, keep_all=True) as subscriber,
    ):
        assert publisher.wait_for_subscribers(1, 10)
        loan = publisher.loan(small.data.shape, np.uint8)
        loan.array[:] = 7
        publisher.send(samples.cloud(1, 20_000))
        outgrown = publisher._outgrown[0]
        assert loan.publish(type(small)(**fields(small) | {"data": loan.array}))
        np.testing.assert_array_equal(subscriber.recv(10).xyz, samples.cloud(1, 20_000).xyz)
        assert (subscriber.recv(10).data == 7).all()
        for seq in range(4):
            publisher.send(samples.image(seq))
            assert subscriber.recv(10) is not None
        assert not publisher._outgrown
        assert outgrown._file.fd == -1


def test_a_loan_that_was_lost_gives_its_slot_back(run_dir):
    with Publisher(f"ipc://{run_dir}/cam", "cam", slots=2) as publisher:
        for _ in range(5):
            loan = publisher.loan((100_000,), np.uint8)
            array = loan.array
            assert publisher._ring.on_loan == 1
            del loan
            assert publisher._ring.on_loan == 1  # the array is still being written
            del array
            assert publisher._ring.on_loan == 0


def fields(message):
    return {name: getattr(message, name) for name in message.__struct_fields__}
