import time

import numpy as np
import pytest

from fusion_rt.bus import Publisher, Subscriber, detach, release


@pytest.fixture
def endpoints(run_dir):
    return {topic: f"ipc://{run_dir}/{topic}" for topic in ("cam", "lidar", "imu")}


def settle(subscriber, topic, count):
    """Until `count` messages of the topic have come into the socket or beyond."""
    for _ in range(1000):
        subscriber._fill(0)
        if len(subscriber._waiting[topic]) + subscriber.counters[topic].skipped >= count:
            return
        time.sleep(0.005)
    raise AssertionError("messages did not come")


def test_a_timeout_is_none(endpoints):
    with Subscriber(endpoints) as subscriber:
        assert subscriber.recv(0.01) is None
        assert subscriber.recv(0) is None


def test_one_that_polls_busily_never_sleeps(endpoints, samples):
    with (
        Publisher(endpoints["imu"], "imu") as imu,
        Subscriber({"imu": endpoints["imu"]}, busy_poll=True) as subscriber,
    ):
        assert imu.wait_for_subscribers(1, 10)
        waits = Recorded(subscriber._inbox)
        subscriber._inbox = waits
        began = time.monotonic()
        assert subscriber.recv(0.1) is None
        assert time.monotonic() - began >= 0.1
        assert set(waits.seconds) == {0}
        imu.send(samples.imu(7))
        assert subscriber.recv(10).header.seq == 7


class Recorded:
    """An inbox that remembers how long it was told to wait."""

    def __init__(self, inbox):
        self._inbox, self.seconds, self.close = inbox, [], inbox.close

    def take(self, wait_s, room, usual=None):
        self.seconds.append(wait_s)
        return self._inbox.take(wait_s, room, usual)


def test_sensors_give_the_newest_and_events_everything_in_order(endpoints, samples):
    with (
        Publisher(endpoints["cam"], "cam") as cam,
        Publisher(endpoints["imu"], "imu") as imu,
        Subscriber({t: endpoints[t] for t in ("cam", "imu")}) as subscriber,
    ):
        assert cam.wait_for_subscribers(1, 10)
        assert imu.wait_for_subscribers(1, 10)
        for seq in range(5):
            imu.send(samples.imu(2 * seq))
            cam.send(samples.image(seq))
            imu.send(samples.imu(2 * seq + 1))
        settle(subscriber, "cam", 5)
        settle(subscriber, "imu", 10)
        got = [(m.header.sensor_id, m.header.seq) for m in (subscriber.recv(10) for _ in range(11))]
        # By time of publishing: the newest image before the last sample.
        assert got == [("imu", i) for i in range(9)] + [("cam", 4), ("imu", 9)]
        counters = subscriber.counters
        assert (counters["cam"].received, counters["cam"].skipped, counters["cam"].lost) == (1, 4, 0)
        assert (counters["imu"].received, counters["imu"].missing) == (10, 0)
        assert counters["cam"].age_s > 0


def test_one_who_keeps_all_skips_nothing(endpoints, samples):
    with (
        Publisher(endpoints["cam"], "cam") as cam,
        Subscriber({"cam": endpoints["cam"]}, keep_all=True) as subscriber,
    ):
        assert cam.wait_for_subscribers(1, 10)
        for seq in range(6):
            cam.send(samples.image(seq))
        assert [subscriber.recv(10).header.seq for _ in range(6)] == list(range(6))
        assert subscriber.counters["cam"].missing == 0


def test_a_log_topic_waits_for_its_reader(endpoints, samples):
    count = 3000  # more than the sockets hold, which is a thousand
    with (
        Publisher(endpoints["imu"], "imu", kind="log") as publisher,
        Subscriber({"imu": endpoints["imu"]}) as subscriber,
    ):
        assert publisher.wait_for_subscribers(1, 10)
        sent = 0
        got = []
        while len(got) < count:
            for _ in range(min(1000, count - sent)):
                sent += publisher.send(samples.imu(sent))
            for _ in range(1500):
                message = subscriber.recv(0.05)
                if message is None:
                    break
                got.append(message.header.seq)
        assert got == list(range(count))
        assert publisher.counters.dropped == 0
        assert subscriber.counters["imu"].missing == 0


def test_overwritten_before_it_was_read(endpoints, samples):
    with (
        Publisher(endpoints["cam"], "cam", slots=2) as cam,
        Subscriber({"cam": endpoints["cam"]}, keep_all=True) as subscriber,
    ):
        assert cam.wait_for_subscribers(1, 10)
        for seq in range(7):
            cam.send(samples.image(seq))
        got = [subscriber.recv(10), subscriber.recv(10)]
        assert [m.header.seq for m in got] == [5, 6]
        assert [int(m.data[0, 0, 0]) for m in got] == [5, 6]
        assert subscriber.counters["cam"].wrong_generation == 5


def test_a_restarted_publisher_is_not_a_loss(endpoints, samples):
    with Subscriber({"cam": endpoints["cam"]}) as subscriber:
        for life in range(3):
            with Publisher(endpoints["cam"], "cam") as cam:
                while not cam.wait_for_subscribers(1, 0.02):
                    subscriber.recv(0)  # ZeroMQ subscribes anew inside the subscriber's calls
                for seq in range(life + 1):
                    cam.send(samples.image(seq))
                    assert subscriber.recv(10).header.seq == seq
        counters = subscriber.counters["cam"]
        assert (counters.received, counters.missing, counters.restarts) == (6, 0, 2)


def test_messages_outlive_publisher_and_subscriber(endpoints, samples):
    with Publisher(endpoints["cam"], "cam") as cam, Subscriber({"cam": endpoints["cam"]}) as subscriber:
        assert cam.wait_for_subscribers(1, 10)
        cam.send(samples.image(7))
        message = subscriber.recv(10)
    assert (message.data == 7).all()


def test_release_gives_the_slot_back(endpoints, samples):
    with (
        Publisher(endpoints["cam"], "cam", slots=2) as cam,
        Subscriber({"cam": endpoints["cam"]}) as subscriber,
    ):
        assert cam.wait_for_subscribers(1, 10)
        kept = []
        for seq in range(5):
            assert cam.send(samples.image(seq))
            kept.append(subscriber.recv(10))
            release(kept[-1])
        release(kept[-1])
        release(samples.image(0))
        release(samples.imu(0))


def test_a_message_that_was_sent_to_two_subscribers(endpoints, samples):
    with (
        Publisher(endpoints["lidar"], "lidar", slots=2) as lidar,
        Subscriber({"lidar": endpoints["lidar"]}) as first,
        Subscriber({"lidar": endpoints["lidar"]}) as second,
    ):
        assert lidar.wait_for_subscribers(2, 10)
        lidar.send(samples.cloud(0, 4000))
        a, b = first.recv(10), second.recv(10)
        np.testing.assert_array_equal(a.xyz, b.xyz)
        del a
        lidar.send(samples.cloud(1, 4000))
        c = first.recv(10)
        assert not lidar.send(samples.cloud(2, 4000))  # each holds one of the two slots
        np.testing.assert_array_equal(b.xyz, samples.cloud(0, 4000).xyz)
        np.testing.assert_array_equal(c.xyz, samples.cloud(1, 4000).xyz)


def test_a_detached_message_holds_no_slot(endpoints, samples):
    with (
        Publisher(endpoints["cam"], "cam", slots=2) as cam,
        Subscriber({"cam": endpoints["cam"]}) as subscriber,
    ):
        assert cam.wait_for_subscribers(1, 10)
        kept = []
        for seq in range(6):
            assert cam.send(samples.image(seq))
            kept.append(detach(subscriber.recv(10)))
        assert [int(m.data[5, 5, 1]) for m in kept] == list(range(6))
        assert detach(samples.imu(1)) == samples.imu(1)


def test_nothing_can_be_written_into_the_ring_by_a_reader(endpoints, samples):
    with Publisher(endpoints["cam"], "cam") as cam, Subscriber({"cam": endpoints["cam"]}) as subscriber:
        assert cam.wait_for_subscribers(1, 10)
        cam.send(samples.image(1))
        message = subscriber.recv(10)
        with pytest.raises(ValueError, match="read-only"):
            message.data[0] = 2
        with pytest.raises(ValueError, match="WRITEABLE"):
            message.data.flags.writeable = True
