import numpy as np
import pytest

from fusion_rt.bus import Curve, KeyPair, Publisher, Subscriber
from fusion_rt.errors import BusError

ENDPOINT = "tcp://127.0.0.1:39519"


@pytest.fixture(scope="module")
def pairs():
    return KeyPair.generate(), KeyPair.generate(), KeyPair.generate()


def test_only_known_clients_receive(samples, pairs):
    server, friend, stranger = pairs
    servers = {ENDPOINT: server.public}
    with (
        Publisher(ENDPOINT, "cam", curve=Curve(pair=server, clients=(friend.public,))) as publisher,
        Subscriber({"cam": ENDPOINT}, curve=Curve(pair=friend, servers=servers)) as admitted,
        Subscriber({"cam": ENDPOINT}, curve=Curve(pair=stranger, servers=servers)) as refused,
        Subscriber({"cam": ENDPOINT}) as plain,
    ):
        assert publisher.wait_for_subscribers(1, 10)
        assert not publisher.wait_for_subscribers(2, 0.5)
        publisher.send(samples.image(3))
        np.testing.assert_array_equal(admitted.recv(10).data, samples.image(3).data)
        assert refused.recv(0.2) is None
        assert plain.recv(0.2) is None


def test_other_hosts_need_the_server_key(pairs):
    with pytest.raises(BusError, match="CURVE"):
        Subscriber({"cam": "tcp://192.0.2.1:5000"}, curve=Curve(pair=pairs[0]))


def test_a_key_that_is_none(pairs):
    with pytest.raises(BusError, match="40 characters"):
        Publisher(ENDPOINT, "cam", curve=Curve(pair=pairs[0], clients=("short",)))
