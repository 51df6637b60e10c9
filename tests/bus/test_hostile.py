"""Whatever comes through the socket is counted, never a crash, never garbage."""

import contextlib
import os
import socket as system
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusion_rt import messages
from fusion_rt.bus import Publisher, Subscriber, ring, wire
from fusion_rt.bus.locks import lock_exclusive
from fusion_rt.errors import MessageError

PREFIX = wire.prefix("cam")
CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())
EXAMPLES = int(os.environ.get("FUSION_RT_FUZZ", 300))  # how many frames hypothesis makes
PLACES = [  # slot (None: the living segment's name), place (None: the honest one), what counts it
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
]
ARRAYS = [  # dtype, shape of 57,600 bytes
    ("|O", (120, 160, 3)),
    ("<f8", (120, 160, 3)),
    ("|u1", (120, 160, -3)),
    ("|u1", (2**40, 2**40, 2**40)),
    ("|u1", (120, 160, 4)),
    ("|u1", (57600,)),
    ("", ()),
]


@pytest.fixture(params=[True, False], ids=["through-libzmq", "without"])
def raw(request, run_dir, samples):
    """A socket that sends any bytes as topic cam, and its subscriber, of either kind."""
    endpoint = f"ipc://{run_dir}/cam"
    with zmq.Context() as context, context.socket(zmq.XPUB) as socket:
        socket.linger = 0
        socket.bind(endpoint)
        with Subscriber({"cam": endpoint}, keep_all=request.param) as subscriber:
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
        slot_bytes = publisher._ring.slot_bytes
        publisher._ring._map[ring.PAGE : ring.PAGE + slot_bytes] = bytes([1]) * slot_bytes
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


@pytest.mark.parametrize(("slot", "place", "counter"), PLACES)
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


@pytest.mark.parametrize(("dtype", "shape"), ARRAYS)
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
        socket.send(frame(envelope(header, [name, 0, 1], [[True, 0, nbytes]], seq=seq, kind="event")))
    got = [subscriber.recv(10), subscriber.recv(10)]
    assert None not in got
    counters = subscriber.counters["cam"]
    assert (counters.received, counters.malformed, counters.lost) == (2, 2, 0)


def test_another_protocol_is_refused(raw):
    socket, subscriber = raw
    socket.send(PREFIX + b"\x63" + b"\0" * 64)
    assert subscriber.recv(0.3) is None
    counters = subscriber.counters["cam"]
    assert counters.malformed == 1
    assert counters.why_malformed == "protocol 99, this is 1: update the older side"


def test_several_parts_are_refused(raw, real):
    """As a sender of another program might: an honest part, and one more; the next message is whole again."""
    socket, subscriber = raw
    header, name, nbytes = real
    honest = envelope(header, [name, 0, 1], [[True, 0, nbytes]])
    socket.send_multipart([frame(honest), b"\0" * 100])
    socket.send_multipart([PREFIX, frame(honest)])
    socket.send(frame(honest))
    assert (subscriber.recv(10).data == 1).all()
    counters = subscriber.counters["cam"]
    assert (counters.received, counters.malformed) == (1, 2)
    assert counters.why_malformed == "a message of 2 parts: ours have one"


def test_a_segment_with_holes_is_not_mapped(raw, real):
    """Mapping it would allocate what its writer only claimed."""
    socket, subscriber = raw
    header, _, nbytes = real
    slot_bytes = 1 << 36
    head = ring.HEAD.pack(ring.MAGIC, 4, 0, slot_bytes) + (1).to_bytes(8, "little")
    with planted(head, ring.PAGE + 4 * slot_bytes) as name:
        socket.send(frame(envelope(header, [name, 0, 1], [[True, 0, nbytes]])))
        assert subscriber.recv(0.3) is None
        assert "has holes" in subscriber.counters["cam"].why_malformed


def test_a_peer_that_connects_and_never_reads(run_dir, samples):
    """It costs the publisher a bounded queue, and the other reader nothing."""
    endpoint = f"ipc://{run_dir}/cam"
    with (
        zmq.Context() as context,
        context.socket(zmq.SUB) as deaf,
        Publisher(endpoint, "cam", slots=4) as publisher,
        Subscriber({"cam": endpoint}) as reader,
    ):
        deaf.linger = 0
        deaf.subscribe(b"")
        deaf.connect(endpoint)
        assert publisher.wait_for_subscribers(1, 10)
        got = 0
        for seq in range(5000):
            assert publisher.send(samples.image(seq % 250))
            if seq % 50 == 0:
                message = reader.recv(10)
                got += message is not None
                del message
        assert got == 100
        assert publisher.counters.dropped == 0


def test_a_peer_that_speaks_another_language(run_dir, samples):
    """Bytes that are not ZeroMQ's, on the publisher's socket."""
    endpoint = f"ipc://{run_dir}/cam"
    with Publisher(endpoint, "cam") as publisher, Subscriber({"cam": endpoint}) as reader:
        for _ in range(20):
            with contextlib.suppress(OSError), system.socket(system.AF_UNIX) as stranger:
                stranger.connect(f"{run_dir}/cam")
                stranger.sendall(os.urandom(500))
        assert publisher.wait_for_subscribers(1, 10)
        assert publisher.send(samples.image(1))
        assert reader.recv(10) is not None


@pytest.mark.parametrize("content", [b"", b"x" * 10_000, b"FRTRING1" + b"\xff" * 5000])
def test_a_file_that_is_no_segment(raw, real, content):
    socket, subscriber = raw
    header, _, nbytes = real
    with planted(content) as name:
        socket.send(frame(envelope(header, [name, 0, 1], [[True, 0, nbytes]])))
        assert subscriber.recv(0.3) is None
        assert subscriber.counters["cam"].malformed == 1


@contextlib.contextmanager
def planted(content, size=None):
    """A file with a segment's name, owned by the living, so that nobody sweeps it away."""
    name = f"fusion_rt-{os.getuid()}-{os.getpid()}-00000000deadbeef"
    with open(f"{ring.FOLDER}/{name}", "wb") as file:
        assert lock_exclusive(file.fileno(), ring.OWNER_BYTE)
        try:
            file.write(content)
            file.truncate(len(content) if size is None else size)
            file.flush()
            yield name
        finally:
            os.unlink(file.name)


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
            wire.decode(candidate, wire.after_topic(candidate))


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


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_the_corpus(fuzz, path):
    with fuzz.target() as one:
        one(path.read_bytes())


EDITS = st.lists(
    st.tuples(st.integers(0, 300), st.integers(0, 8), st.binary(max_size=8)), min_size=1, max_size=4
)


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_edits_of_the_corpus(fuzz_target, data):
    """Bytes cut out, put in, replaced: FUSION_RT_FUZZ=100000 looks for longer."""
    frame = data.draw(st.sampled_from(CORPUS)).read_bytes()
    for position, cut, put in data.draw(EDITS):
        frame = frame[:position] + put + frame[position + cut :]
    fuzz_target(frame)


@pytest.fixture
def fuzz_target(fuzz):
    with fuzz.target() as one:
        yield one


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
    if subscriber._queued:
        message = subscriber.recv(0)
        assert message is None or np.all(message.data == 1)
