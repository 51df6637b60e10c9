"""Whatever comes through the socket is counted, never a crash, never garbage."""

import contextlib
import os

import msgspec
import numpy as np
import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusion_rt import messages
from fusion_rt.bus import Publisher, Subscriber, ring, wire
from fusion_rt.errors import MessageError

PREFIX = wire.prefix("cam")


@pytest.fixture
def raw(run_dir, samples):
    """A socket that sends any bytes as topic cam, and its subscriber."""
    endpoint = f"ipc://{run_dir}/cam"
    with zmq.Context() as context, context.socket(zmq.XPUB) as socket:
        socket.linger = 0
        socket.bind(endpoint)
        with Subscriber({"cam": endpoint}, keep_all=True) as subscriber:
            assert socket.poll(10_000)
            socket.recv()
            yield socket, subscriber


@pytest.fixture
def real(run_dir, samples):
    """A living ring, and the envelope of a message in it."""
    with Publisher(f"ipc://{run_dir}/real", "real") as publisher:
        image = samples.image(1)
        header, _ = messages.pack(image)
        publisher.send(image)
        # An honest publisher may put an array anywhere in its slot, so any part of this one is honest: what
        # must never be seen are the others, and those are zero.
        publisher._ring.slot(0)[:] = 1
        yield header, publisher._ring.name, image.data.nbytes


def envelope(header, slot, places, **changes):
    fields = {"kind": "sensor", "instance": 1, "seq": 0, "published_ns": 0, "host": "h"} | changes
    return list(fields.values()) + [header, places, slot]


def frame(content):
    body = msgspec.msgpack.encode(content)
    return PREFIX + bytes([messages.PROTOCOL_VERSION]) + len(body).to_bytes(4, "little") + body


def test_the_honest_descriptor_is_read(raw, real):
    socket, subscriber = raw
    header, name, nbytes = real
    socket.send(frame(envelope(header, [name, 0, 1], [[True, 0, nbytes]])))
    assert (subscriber.recv(10).data == 1).all()


@pytest.mark.parametrize(
    ("slot", "place", "counter"),
    [
        ([None, 0, 2], None, "wrong_generation"),
        ([None, 1, 1], None, "wrong_generation"),
        ([None, 0, 2**63], None, "wrong_generation"),
        (["fusion_rt-0-1-0123456789abcdef", 0, 1], None, "wrong_generation"),
        ([None, 0, 0], None, "malformed"),
        ([None, -1, 1], None, "malformed"),
        ([None, 8, 1], None, "malformed"),
        ([None, 2**62, 1], None, "malformed"),
        (["../../etc/passwd", 0, 1], None, "malformed"),
        (["/etc/passwd", 0, 1], None, "malformed"),
        (["fusion_rt-0-1-0123456789abcdef/../x", 0, 1], None, "malformed"),
        (["", 0, 1], None, "malformed"),
        ([None, 0], None, "malformed"),
        ("slot", None, "malformed"),
        (None, None, "malformed"),
        ([None, 0, 1], [True, 0, 2**62], "malformed"),
        ([None, 0, 1], [True, 2**62, 57600], "malformed"),
        ([None, 0, 1], [True, 1 << 20, 57600], "malformed"),
        ([None, 0, 1], [True, -64, 57600], "malformed"),
        ([None, 0, 1], [True, 0, 57599], "malformed"),
        ([None, 0, 1], [True, 0, 0], "malformed"),
        ([None, 0, 1], [False, 0, 57600], "malformed"),
        ([None, 0, 1], [False, 0, -1], "malformed"),
        ([None, 0, 1], ["x", 0, 1], "malformed"),
    ],
)
def test_hostile_places(raw, real, slot, place, counter):
    socket, subscriber = raw
    header, name, nbytes = real
    if isinstance(slot, list) and slot[0] is None:
        slot = [name, *slot[1:]]
    socket.send(frame(envelope(header, slot, [place or [True, 0, nbytes]])))
    assert subscriber.recv(0.3) is None
    counters = subscriber.counters["cam"]
    assert getattr(counters, counter) == 1
    assert (counters.received, counters.missing) == (0, 1)


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        ("|O", (120, 160, 3)),
        ("<f8", (120, 160, 3)),
        ("|u1", (120, 160, -3)),
        ("|u1", (2**40, 2**40, 2**40)),
        ("|u1", (120, 160, 4)),
        ("|u1", (57600,)),
        ("", ()),
    ],
)
def test_hostile_arrays(raw, real, dtype, shape):
    socket, subscriber = raw
    header, name, nbytes = real
    content = msgspec.msgpack.decode(header)
    content["data"] = [0, dtype, list(shape)]
    socket.send(frame(envelope(msgspec.msgpack.encode(content), [name, 0, 1], [[True, 0, nbytes]])))
    assert subscriber.recv(0.3) is None
    assert subscriber.counters["cam"].malformed == 1


def test_a_replay_is_refused(raw, real):
    socket, subscriber = raw
    header, name, nbytes = real
    for seq in (5, 5, 4, 6):
        socket.send(frame(envelope(header, [name, 0, 1], [[True, 0, nbytes]], seq=seq)))
    got = [subscriber.recv(10), subscriber.recv(10)]
    assert None not in got
    counters = subscriber.counters["cam"]
    assert (counters.received, counters.malformed, counters.lost) == (2, 2, 0)


def test_another_protocol_is_refused(raw):
    socket, subscriber = raw
    socket.send(PREFIX + b"\x63" + b"\0" * 64)
    assert subscriber.recv(0.3) is None
    assert subscriber.counters["cam"].malformed == 1


@pytest.mark.parametrize("content", [b"", b"x" * 10_000, b"FRTRING1" + b"\xff" * 5000])
def test_a_file_that_is_no_segment(raw, real, content):
    socket, subscriber = raw
    header, _, nbytes = real
    name = f"fusion_rt-{os.getuid()}-1-00000000deadbeef"
    path = f"{ring.FOLDER}/{name}"
    with open(path, "wb") as file:
        file.write(content)
    try:
        socket.send(frame(envelope(header, [name, 0, 1], [[True, 0, nbytes]])))
        assert subscriber.recv(0.3) is None
        assert subscriber.counters["cam"].malformed == 1
    finally:
        os.unlink(path)


def test_a_link_is_not_followed(raw, real):
    socket, subscriber = raw
    header, name, nbytes = real
    link = f"fusion_rt-{os.getuid()}-1-00000000feedbeef"
    os.symlink(f"{ring.FOLDER}/{name}", f"{ring.FOLDER}/{link}")
    try:
        socket.send(frame(envelope(header, [link, 0, 1], [[True, 0, nbytes]])))
        assert subscriber.recv(0.3) is None
        assert subscriber.counters["cam"].malformed == 1
    finally:
        os.unlink(f"{ring.FOLDER}/{link}")


@given(st.binary(max_size=400))
def test_any_bytes_are_a_frame_or_an_error(data):
    for candidate in (data, PREFIX + data, PREFIX + bytes([messages.PROTOCOL_VERSION]) + data):
        with contextlib.suppress(MessageError):
            wire.decode(candidate)


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(position=st.integers(0, 8), junk=JUNK, inner=st.none() | st.integers(0, 2))
def test_any_value_in_any_place(raw, real, position, junk, inner):
    """Through the subscriber itself: one field of an honest descriptor is replaced."""
    _, subscriber = raw
    header, name, nbytes = real
    content = envelope(header, [name, 0, 1], [[True, 0, nbytes]])
    if inner is None:
        if position < len(content):
            content[position] = junk
    elif position % 2:
        content[7][inner] = junk
    else:
        content[6][0][inner] = junk
    try:
        data = frame(content)
    except (OverflowError, msgspec.EncodeError):
        return
    subscriber._next.clear()
    subscriber._take(data)
    while subscriber._waiting["cam"]:
        message = subscriber._open("cam", subscriber._waiting["cam"].popleft())
        assert message is None or np.all(message.data == 1)
