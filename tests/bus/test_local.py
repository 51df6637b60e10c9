"""The sockets of one host against libzmq's, against strangers, and when a reader does not keep up."""

import contextlib
import os
import socket as system
import time

import msgspec
import numpy as np
import pytest
import zmq

from fusion_rt.bus import Publisher, Subscriber, native, wire, zmtp
from fusion_rt.bus.local_inbox import LocalInbox
from fusion_rt.bus.local_outbox import LocalOutbox
from fusion_rt.errors import MessageError

PREFIX = wire.prefix("cam")
HELLO = zmtp.GREETING + zmtp.ready("SUB")


def until(condition):
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.005)
    raise AssertionError("it did not come to that")


@pytest.fixture
def outbox(run_dir):
    box = LocalOutbox(f"{run_dir}/cam", PREFIX, queued=10)
    yield box
    box.close()


@pytest.fixture
def stranger(run_dir, outbox):
    """A bare connection to the outbox."""
    with system.socket(system.AF_UNIX) as socket:
        socket.connect(f"{run_dir}/cam")
        socket.settimeout(10)
        yield socket


def ended(socket):
    """Whether the other side has closed the connection; what it said before is read and dropped."""
    with contextlib.suppress(ConnectionResetError):
        while socket.recv(4096):
            pass
    return True


def test_libzmq_reads_what_we_send_and_is_counted(run_dir, outbox):
    with zmq.Context() as context, context.socket(zmq.SUB) as reader:
        reader.linger, reader.rcvtimeo = 0, 10_000
        reader.subscribe(PREFIX)
        reader.connect(f"ipc://{run_dir}/cam")
        until(lambda: outbox.subscribers == 1)
        for size in (0, 200, 249, 250, 251, 70_000, 3_000_000):
            frame = PREFIX + os.urandom(size)
            assert outbox.send(frame, "event")
            assert reader.recv() == frame
        reader.unsubscribe(PREFIX)
        until(lambda: outbox.subscribers == 0)
        reader.subscribe(PREFIX)
        until(lambda: outbox.subscribers == 1)
    until(lambda: outbox.subscribers == 0)


def test_we_read_what_libzmq_sends(run_dir):
    with zmq.Context() as context, context.socket(zmq.XPUB) as sender:
        sender.linger = 0
        sender.bind(f"ipc://{run_dir}/cam")
        inbox = LocalInbox({"cam": f"ipc://{run_dir}/cam"})
        try:
            assert sender.poll(10_000)
            assert sender.recv() == b"\1" + PREFIX
            frames = [PREFIX + os.urandom(size) for size in (0, 200, 251, 70_000, 3_000_000)]
            got = []
            for frame in frames:
                sender.send(frame)
            sender.send(b"another topic")  # not asked for, so not sent
            until(lambda: got.extend(inbox.take(0.01, 1000)) or len(got) == len(frames))
            assert got == [(frame, 1) for frame in frames]
        finally:
            inbox.close()


def test_what_does_not_fit_waits_and_leaves_whole(run_dir, outbox, stranger):
    """A reader that stands still: what its socket holds comes, then the newest, as many as may wait; and the
    message that the socket held a part of is whole."""
    stranger.sendall(HELLO + zmtp.message(b"\1" + PREFIX))
    until(lambda: outbox.subscribers == 1)
    for seq in range(100):
        assert outbox.send(PREFIX + seq.to_bytes(4, "little") * 10_000, "sensor")
    frames, got = zmtp.Frames(1 << 20), []
    greeted = 0
    while not got or got[-1] != 99:
        data = stranger.recv(1 << 16)
        skip = min(len(HELLO) + 1 - greeted, len(data))  # XPUB is a letter longer than SUB
        greeted += skip
        for _, body in frames.feed(data[skip:]):
            got.append(int.from_bytes(body[4:8], "little"))
            assert body == PREFIX + got[-1].to_bytes(4, "little") * 10_000
    held = len(got) - 10
    assert 0 < held < 90
    assert got == [*range(held), *range(90, 100)]


@pytest.mark.parametrize(
    "said",
    [
        os.urandom(64).replace(b"\xff", b"\0"),
        zmtp.GREETING[:10] + b"\2" + zmtp.GREETING[11:],
        zmtp.GREETING.replace(b"NULL\0", b"CURVE"),
        zmtp.GREETING + b"\0\1x",
        zmtp.GREETING + b"\4\5\4PING",
        HELLO + b"\2" + (1 << 40).to_bytes(8, "big"),
        HELLO + zmtp.message(b"\1" + b"x" * 5000),
        HELLO + b"".join(zmtp.message(b"\1" + b"%d" % i) for i in range(1100)),
    ],
    ids=["noise", "zmtp-2", "curve", "no-command", "not-ready", "huge", "long", "too-many-subscriptions"],
)
def test_strangers_are_shown_out(outbox, stranger, said):
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        stranger.sendall(said)
    assert ended(stranger)
    assert outbox.subscribers == 0


def test_a_publisher_that_is_none(run_dir):
    """Bytes of something else behind the topic's socket: refused, and tried again."""
    with system.socket(system.AF_UNIX) as listener, Subscriber({"cam": f"ipc://{run_dir}/cam"}) as subscriber:
        listener.bind(f"{run_dir}/cam")
        listener.listen()
        for answer in (b"HTTP/1.1 400 Bad Request\r\n\r\n" * 4, HELLO + b"\2" + b"\xff" * 8):
            connection, _ = listener.accept()
            connection.sendall(answer)
            assert subscriber.recv(0.1) is None
            connection.settimeout(10)
            assert ended(connection)
            connection.close()
        assert subscriber.counters["cam"].missing == 0


def test_one_that_never_ends_a_message_takes_no_memory(run_dir):
    inbox = LocalInbox({"cam": f"ipc://{run_dir}/cam"})
    part = b"\1\xc8" + bytes(200)
    with system.socket(system.AF_UNIX) as listener:
        listener.bind(f"{run_dir}/cam")
        listener.listen()
        connection, _ = listener.accept()
        with connection:
            connection.sendall(HELLO)
            sent = 0
            for _ in range(50):
                connection.sendall(part * 100)
                sent += 100
                assert inbox.take(0.05, 1000) == []
            (stream,) = inbox._streams.values()
            assert len(stream._first) == 200
            connection.sendall(zmtp.message(b"end"))
            got = []
            until(lambda: got.extend(inbox.take(0.05, 1000)) or got)
            assert got == [(bytes(200), sent + 1)]
    inbox.close()


def test_frames_are_cut_wherever_the_stream_was():
    bodies = [b"", b"x" * 255, b"y" * 256, b"z" * 70_000]
    stream = b"".join(map(zmtp.message, bodies))
    for step in (1, 2, 7, 1000, len(stream)):
        frames, got = zmtp.Frames(1 << 20), []
        for at in range(0, len(stream), step):
            got += frames.feed(stream[at : at + step])
        assert [body for _, body in got] == bodies
        assert not frames.pending
    with pytest.raises(MessageError, match="a frame of 256 bytes, more than 255"):
        zmtp.Frames(255).feed(stream)


def test_the_handshake_takes_not_a_byte_more():
    shake, stream = zmtp.Handshake(), HELLO + b"more"
    at = 0
    while shake.missing:
        size = min(shake.missing, 5)
        shake.feed(stream[at : at + size])
        at += size
    assert stream[at:] == b"more"


def test_the_usual_message_is_received_in_cpp(run_dir, samples, monkeypatch):
    """And what is not usual is not: the first, one after a loss, one in a new segment."""
    endpoint = f"ipc://{run_dir}/cam"
    general = []
    with Publisher(endpoint, "cam") as publisher, Subscriber({"cam": endpoint}) as subscriber:
        plain = subscriber._take
        monkeypatch.setattr(subscriber, "_take", lambda *a: general.append(1) or plain(*a))
        assert publisher.wait_for_subscribers(1, 10)

        def passed(message):
            publisher.send(message)
            before, got = len(general), subscriber.recv(10)
            assert got.header.seq == message.header.seq
            assert [p.stage for p in got.header.trace] == ["published", "received"]
            return len(general) > before

        assert [passed(samples.image(seq)) for seq in range(4)] == [True, False, False, False]
        publisher._drop()
        assert [passed(samples.image(seq)) for seq in range(4, 6)] == [True, False]
        larger = msgspec.structs.replace(
            samples.image(6), height=480, width=640, data=np.full((480, 640, 3), 6, np.uint8)
        )
        assert [passed(larger), passed(larger), passed(samples.imu(7))] == [True, False, False]
        counters = subscriber.counters["cam"]
        assert (counters.received, counters.lost, counters.missing) == (9, 1, 1)


@pytest.fixture
def large(samples):
    """An image that is worth an announcement."""
    pixels = np.full((480, 640, 3), 7, np.uint8)
    return msgspec.structs.replace(samples.image(0), height=480, width=640, data=pixels)


def test_a_large_copy_is_announced_to_whoever_wants_it(run_dir, large, samples):
    """From the second on: the first says that they are large. Others, libzmq too, hear of messages only."""
    endpoint = f"ipc://{run_dir}/cam"
    with contextlib.ExitStack() as stack:
        publisher = stack.enter_context(Publisher(endpoint, "cam"))
        publisher._outbox._processors = 4
        plain = stack.enter_context(stack.enter_context(zmq.Context()).socket(zmq.SUB))
        plain.linger, plain.rcvtimeo = 0, 10_000
        plain.subscribe(PREFIX)
        plain.connect(endpoint)
        raw = []
        for announced in (True, False):
            socket = stack.enter_context(system.socket(system.AF_UNIX))
            socket.settimeout(10)
            socket.connect(f"{run_dir}/cam")
            ready = zmtp.ready("SUB", announced=announced)
            socket.sendall(zmtp.GREETING + ready + zmtp.message(b"\1" + PREFIX))
            while socket.recv(1) != b"\x04":  # the greeting, then READY
                pass
            socket.recv(socket.recv(1)[0])
            raw.append(socket)
        assert publisher.wait_for_subscribers(3, 10)

        def said(*messages):
            """What the two are told of these messages: a for an announcement, m for a message."""
            for message in messages:
                publisher.send(message)
            whole = [plain.recv() for _ in messages]
            told = []
            for socket in raw:
                parts, frames = [], zmtp.Frames(1 << 20)
                while sum(not flags for flags, _ in parts) < len(messages):
                    parts += frames.feed(socket.recv(4096))
                assert [body for flags, body in parts if not flags] == whole
                told.append("".join("a" if flags & zmtp.COMMAND else "m" for flags, _ in parts))
            return told

        assert said(large, large, large) == ["mamam", "mmm"]
        assert said(samples.image(3), samples.image(4), samples.imu(5)) == ["ammm", "mmm"]
        assert said(large, samples.image(7)) == ["mam", "mm"]
        publisher._outbox._processors = 3  # none is left that could be woken
        assert said(large, large) == ["mm", "mm"]


def test_an_announced_message_is_rehearsed_and_received(run_dir, large, monkeypatch):
    """Whether it has come before its announcement is read or not, and where it never comes."""
    endpoint = f"ipc://{run_dir}/cam"
    with Publisher(endpoint, "cam") as publisher, Subscriber({"cam": endpoint}) as subscriber:
        opened, open_again = [], subscriber._usual.again
        monkeypatch.setattr(subscriber._usual, "again", lambda: opened.append(open_again()) or opened[-1])
        publisher._outbox._processors = 2
        assert publisher.wait_for_subscribers(1, 10)
        for _ in range(4):
            publisher.send(large)
            assert subscriber.recv(10).header.seq == large.header.seq
        assert not opened  # announcement and message were read at once
        publisher._outbox.announce()
        assert subscriber.recv(0.05) is None
        (first,) = opened
        assert first is not None
        publisher._outbox.announce()
        publisher._outbox.announce()
        assert subscriber.recv(0.05) is None  # and two at once overwrite what would be opened
        assert opened[1:] == [None]
        del first
        opened.clear()
        publisher.send(large)
        assert (subscriber.recv(10).data == 7).all()
        counters = subscriber.counters["cam"]
        assert (counters.received, counters.missing, counters.malformed) == (5, 0, 0)


@pytest.mark.parametrize("size", [0, 1, 4095, 16_384, 16_385, 100_001, 6_220_800])
def test_large_copies(size):
    rng = np.random.default_rng(0)
    source = rng.integers(0, 256, size + 8, np.uint8)
    for shift in (0, 3, 16):
        target = np.zeros(size + 256, np.uint8)
        start = -target.ctypes.data % 64 + shift
        behind = start + size + 64
        native.copy(target.ctypes.data, (start, source.ctypes.data + 5, size, behind, source.ctypes.data, 7))
        assert (target[start : start + size] == source[5 : 5 + size]).all()
        assert (target[behind : behind + 7] == source[:7]).all()
        assert not target[:start].any()
        assert not target[start + size : behind].any()
        assert not target[behind + 7 :].any()
