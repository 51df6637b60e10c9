import numpy as np
import pytest

from fusion_rt.bus import KeyPair, Publisher, Subscriber, ring
from fusion_rt.errors import BusError


@pytest.fixture
def endpoint(run_dir):
    return f"ipc://{run_dir}/cam"


def test_large_and_small_messages_arrive_equal(endpoint, samples):
    sent = [
        samples.image(1),
        samples.imu(2),
        samples.cloud(3, 5000),
        samples.cloud(4, 0),
        samples.cloud(5, 7),
    ]
    with Publisher(endpoint, "cam") as publisher, Subscriber({"cam": endpoint}) as subscriber:
        assert publisher.wait_for_subscribers(1, 10)
        for message in sent:
            assert publisher.send(message)
            got = subscriber.recv(10)
            assert type(got) is type(message)
            for field in message.__struct_fields__:
                expected = getattr(message, field)
                if isinstance(expected, np.ndarray):
                    np.testing.assert_array_equal(getattr(got, field), expected)
                    assert getattr(got, field).dtype == expected.dtype
                    assert not getattr(got, field).flags.writeable
                elif field != "header":
                    assert getattr(got, field) == expected
            assert [p.stage for p in got.header.trace] == ["published", "received"]
            assert got.header.trace[0].monotonic_ns <= got.header.trace[1].monotonic_ns
        assert subscriber.counters["cam"].received == len(sent)
        assert subscriber.counters["cam"].missing == 0


def test_a_loan_is_published_without_a_copy(endpoint, samples):
    with Publisher(endpoint, "cam") as publisher, Subscriber({"cam": endpoint}) as subscriber:
        assert publisher.wait_for_subscribers(1, 10)
        with publisher.loan((samples.HEIGHT, samples.WIDTH, 3), np.uint8) as loan:
            loan.array[:] = 42
            image = samples.image(0)
            assert loan.publish(type(image)(**fields(image) | {"data": loan.array}))
        assert not loan.array.flags.writeable
        got = subscriber.recv(10)
        assert (got.data == 42).all()
        # The same page: a private way into the ring shows up in what was received.
        loan._hold.memory()[0] = 43
        assert got.data[0, 0, 0] == 43
        with pytest.raises(BusError, match="take a new one"):
            loan.publish(image)


def test_a_loan_of_several_arrays_may_be_cut_short(endpoint, samples):
    cloud = samples.cloud(0, 3000)
    with Publisher(endpoint, "cam") as publisher, Subscriber({"cam": endpoint}) as subscriber:
        assert publisher.wait_for_subscribers(1, 10)
        with publisher.loan((5000, 3), np.float32, ((5000,), np.float32), ((5000,), np.float32)) as loan:
            xyz, intensity, t = (array[:3000] for array in loan.arrays)
            xyz[:], intensity[:], t[:] = cloud.xyz, cloud.intensity, cloud.t
            # ring comes from elsewhere and goes through the socket.
            loan.publish(type(cloud)(**fields(cloud) | {"xyz": xyz, "intensity": intensity, "t": t}))
        got = subscriber.recv(10)
        for name in ("xyz", "intensity", "t", "ring"):
            np.testing.assert_array_equal(getattr(got, name), getattr(cloud, name))


def test_a_loan_not_published_gives_its_slot_back(endpoint, samples):
    with Publisher(endpoint, "cam", slots=2) as publisher:
        for _ in range(10):
            with publisher.loan((100_000,), np.uint8) as loan:
                assert loan._hold is not None
        assert publisher.counters.published == 0
        assert publisher.counters.dropped == 0


def test_held_slots_are_never_overwritten_and_drops_are_counted(endpoint, samples):
    with Publisher(endpoint, "cam", slots=3) as publisher, Subscriber({"cam": endpoint}) as subscriber:
        assert publisher.wait_for_subscribers(1, 10)
        held = []
        for seq in range(3):
            assert publisher.send(samples.image(seq))
            held.append(subscriber.recv(10))
        for seq in range(3, 9):
            assert not publisher.send(samples.image(seq))
        with publisher.loan((samples.HEIGHT, samples.WIDTH, 3), np.uint8) as loan:
            image = samples.image(9)
            assert not loan.publish(type(image)(**fields(image) | {"data": loan.array}))
        assert publisher.counters.dropped == 7
        for seq, message in enumerate(held):
            assert (message.data == seq).all()
        corner = held[1].data[:2, :2]  # a view keeps the lease as the array does
        held.clear()
        del message
        assert publisher.send(samples.image(10))
        assert publisher.send(samples.image(11))
        assert (corner == 1).all()
        got = [subscriber.recv(10).header.seq]
        if got == [10]:  # asked before the newer one was there
            got.append(subscriber.recv(10).header.seq)
        assert got[-1] == 11
        counters = subscriber.counters["cam"]
        assert (counters.received, counters.lost, counters.skipped) == (3 + len(got), 7, 2 - len(got))


def test_a_larger_message_gets_a_larger_ring(endpoint, samples):
    with Publisher(endpoint, "cam") as publisher, Subscriber({"cam": endpoint}) as subscriber:
        assert publisher.wait_for_subscribers(1, 10)
        kept = []
        for n in (1000, 50_000, 2000):
            publisher.send(samples.cloud(n, n))
            kept.append(subscriber.recv(10))
        for message in kept:
            n = len(message.xyz)
            np.testing.assert_array_equal(message.xyz, samples.cloud(n, n).xyz)
        assert len([s for s in ring.segments() if s == publisher._ring.name]) == 1


def test_a_topic_has_one_publisher(endpoint):
    with Publisher(endpoint, "cam"), pytest.raises(BusError, match=r"published by process \d+: stop it"):
        Publisher(endpoint, "cam")
    Publisher(endpoint, "cam").close()


def test_a_port_in_use_is_named():
    endpoint = "tcp://127.0.0.1:39517"
    with Publisher(endpoint, "cam"), pytest.raises(BusError, match=r"tcp://127.0.0.1:39517: in use"):
        Publisher(endpoint, "cam")


@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        ("tcp://0.0.0.0:5000", "CURVE"),
        ("tcp://10.0.0.7:5000", "CURVE"),
        ("tcp://*:5000", "CURVE"),
        ("tcp://127.0.0.1:0", "neither"),
        ("tcp://127.0.0.1", "neither"),
        ("ipc://relative/cam", "absolute"),
        ("inproc://cam", "neither"),
        ("/tmp/cam", "neither"),
    ],
)
def test_endpoints_that_are_refused(endpoint, reason):
    with pytest.raises(BusError, match=reason):
        Publisher(endpoint, "cam")
    with pytest.raises(BusError, match=reason):
        Subscriber({"cam": endpoint})


@pytest.mark.parametrize("topic", ["", "a/b", "..", "a b", "x" * 65, "ü", ".lock"])
def test_topics_that_are_refused(run_dir, topic):
    with pytest.raises(BusError, match="topic"):
        Publisher(f"ipc://{run_dir}/x", topic)


def test_a_folder_that_others_can_enter_is_refused(run_dir):
    run_dir.chmod(0o755)
    with pytest.raises(BusError, match="chmod 700"):
        Publisher(f"ipc://{run_dir}/cam", "cam")


@pytest.mark.parametrize(
    ("kind", "queued", "bytes_"),
    [("sensor", None, 128 << 10), ("state", None, 128 << 10), (None, None, 128 << 10)]
    + [("event", None, -1), ("log", None, -1), ("event", 8, 128 << 10)],
)
def test_in_the_kernel_waits_little_of_what_is_measured_anew(kind, queued, bytes_):
    with Publisher("tcp://127.0.0.1:39522", "cam", kind=kind, queued=queued) as publisher:
        assert publisher._outbox._socket.sndbuf == bytes_


def test_tcp_on_loopback_carries_arrays_inline(samples):
    endpoint = "tcp://127.0.0.1:39518"
    with Publisher(endpoint, "cam") as publisher, Subscriber({"cam": endpoint}) as subscriber:
        assert publisher.wait_for_subscribers(1, 10)
        cloud = samples.cloud(0, 5000)
        publisher.send(cloud)
        got = subscriber.recv(10)
        np.testing.assert_array_equal(got.xyz, cloud.xyz)
        assert got.xyz.flags.aligned
        with publisher.loan((samples.HEIGHT, samples.WIDTH, 3), np.uint8) as loan:
            loan.array[:] = 9
            image = samples.image(1)
            assert loan.publish(type(image)(**fields(image) | {"data": loan.array}))
        assert (subscriber.recv(10).data == 9).all()


def test_key_files(tmp_path):
    pair = KeyPair.generate()
    path = tmp_path / "keys.json"
    pair.save(path)
    assert KeyPair.load(path) == pair
    with pytest.raises(BusError, match="not written"):
        pair.save(path)
    path.chmod(0o644)
    with pytest.raises(BusError, match="chmod 600"):
        KeyPair.load(path)
    with pytest.raises(BusError, match="no key pair"):
        KeyPair.load(tmp_path / "absent.json")


def fields(message):
    return {name: getattr(message, name) for name in message.__struct_fields__}
