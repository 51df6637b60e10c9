"""The C++ examples of tools/cpp against the Python side, both ways, and against hostile frames."""

import zmq

from fusion_rt.bus import Publisher, Subscriber, ring


def counts(line):
    """{"received": ..., "lost": ..., ...} of the reader's last line."""
    words = line.split()
    return dict(zip(words[::2], map(int, words[1::2])))


def test_python_reads_what_cpp_writes(run_dir, start):
    with Subscriber({"cam": f"ipc://{run_dir}/cam"}, keep_all=True) as subscriber:
        writer = start("bus_writer", "300", "1")
        assert writer.stdout.readline() == "bound\n"
        seq = -1
        while seq < 299:
            message = subscriber.recv(20)
            assert message is not None
            seq = message.header.seq
            assert message.data.shape == (120, 160, 3)
            assert (message.data == seq % 256).all()
            assert not message.data.flags.writeable
        counters = subscriber.counters["cam"]
        assert counters.malformed == 0
        assert counters.received + counters.missing == 300
        assert writer.stdout.readline() == "sent\n"
        del message
        writer.stdin.close()
        assert writer.wait(10) == 0
    assert list(run_dir.iterdir()) == []
    assert of(writer) == []


def test_cpp_reads_what_python_writes(run_dir, start, samples):
    with Publisher(f"ipc://{run_dir}/cam", "cam") as publisher:
        reader = start("bus_reader", "200")
        assert reader.stdout.readline() == "connected\n"
        assert publisher.wait_for_subscribers(1, 20)
        for seq in range(200):
            assert publisher.send(samples.image(seq))
            if seq % 5 == 0:
                reader.stdout.readline()  # so that it keeps up
        lines = reader.stdout.read().splitlines()
    result = counts(lines[-1])
    assert result["received"] + result["gone"] == 200
    assert result["received"] >= 40
    assert (result["wrong"], result["malformed"], result["lost"]) == (0, 0, 0)
    for line in lines[:-1]:
        seq, value = map(int, line.split())
        assert value == seq % 256
    assert reader.wait(10) == 0


def test_cpp_reads_what_cpp_writes(start):
    reader = start("bus_reader", "300")
    writer = start("bus_writer", "300", "0.3")
    result = counts(reader.stdout.read().splitlines()[-1])
    assert result["received"] + result["gone"] + result["lost"] == 300
    assert (result["wrong"], result["malformed"]) == (0, 0)
    assert reader.wait(10) == 0
    writer.stdin.close()
    assert writer.wait(10) == 0


def test_a_killed_cpp_writer_leaves_nothing_after_the_next_start(run_dir, start, samples):
    with Subscriber({"cam": f"ipc://{run_dir}/cam"}) as subscriber:
        writer = start("bus_writer", "0", "1")
        message = subscriber.recv(20)
        writer.kill()
        writer.wait()
        assert (message.data == message.header.seq % 256).all()
        assert len(of(writer)) == 1
        while subscriber.recv(0.1) is not None:
            pass
        with Publisher(f"ipc://{run_dir}/cam", "cam") as publisher:
            assert publisher.wait_for_subscribers(1, 20)
            publisher.send(samples.image(5))
            assert subscriber.recv(20).header.seq == 5
            assert of(writer) == []
        del message


def test_a_cpp_writer_takes_over_from_a_killed_python_writer(run_dir, start, child):
    dead = child("publish", "0", "0.001")
    assert dead.stdout.readline() == "bound\n"
    with Subscriber({"cam": f"ipc://{run_dir}/cam"}) as subscriber:
        assert subscriber.recv(20) is not None
        dead.kill()
        dead.wait()
        writer = start("bus_writer", "0", "1")
        assert writer.stdout.readline() == "bound\n"
        while subscriber.counters["cam"].restarts == 0:
            assert subscriber.recv(20) is not None
        assert of(dead) == []
        writer.terminate()
        assert writer.wait(10) == 0
    assert of(writer) == []


def test_a_topic_has_one_cpp_writer(run_dir, start):
    with Publisher(f"ipc://{run_dir}/cam", "cam"):
        second = start("bus_writer", "1", "1")
        assert second.wait(10) == 1


def test_a_killed_cpp_reader_loses_its_leases(run_dir, start, samples):
    with Publisher(f"ipc://{run_dir}/cam", "cam", slots=3) as publisher:
        reader = start("bus_reader", "0", "hold")
        assert reader.stdout.readline() == "connected\n"
        assert publisher.wait_for_subscribers(1, 20)
        for seq in range(3):
            assert publisher.send(samples.image(seq))
            assert reader.stdout.readline() == f"{seq} {seq}\n"
        assert not publisher.send(samples.image(3))
        reader.kill()
        reader.wait()
        assert publisher.send(samples.image(4))


def test_cpp_counts_hostile_frames(run_dir, start, fuzz, samples):
    """The corpus, and one byte of the honest frame changed at a time: none is taken for another image."""
    with (
        Publisher(f"ipc://{run_dir}/real", "real") as publisher,
        zmq.Context() as context,
        context.socket(zmq.XPUB) as socket,
    ):
        publisher.send(samples.image(7))
        name = publisher._ring.name.encode()
        socket.linger = 0
        socket.sndhwm = 0
        socket.bind(f"ipc://{run_dir}/cam")
        reader = start("bus_reader", "0")
        assert socket.poll(20_000)
        socket.recv()
        honest = with_segment((fuzz.CORPUS / "image-in-slot").read_bytes(), fuzz.SEGMENT.encode(), name)
        frames = [
            with_segment(path.read_bytes(), fuzz.SEGMENT.encode(), name) for path in fuzz.CORPUS.iterdir()
        ]
        frames += [
            honest[:i] + bytes([honest[i] ^ bit]) + honest[i + 1 :]
            for i in range(4, len(honest))
            for bit in (1, 128)
        ]
        frames += [honest[:i] for i in range(4, len(honest))]
        for frame in frames:
            socket.send(frame)
        socket.send_multipart([honest, b"more"])
        output, _ = reader.communicate(timeout=60)
        assert reader.returncode == 0, output
        lines = output.splitlines()
        result = counts(lines[-1])
        sent = sum(frame.startswith(b"cam\0") for frame in frames) + 1
        assert result["received"] + result["malformed"] + result["gone"] == sent
        assert result["malformed"] > 200
        assert result["wrong"] == 0
        assert {line.split()[1] for line in lines[1:-1]} <= {"7", "0"}  # the slot's pixels, or none


def with_segment(frame, old, new):
    """The frame with another segment's name of any length."""
    if old not in frame:
        return frame
    frame = frame.replace(bytes([0xA0 | len(old)]) + old, str8(new)).replace(
        b"\xd9" + bytes([len(old)]) + old, str8(new)
    )
    length = len(frame) - 9
    return frame[:5] + length.to_bytes(4, "little") + frame[9:]


def str8(text):
    return b"\xd9" + bytes([len(text)]) + text


def of(process):
    return [name for name in ring.segments() if name.split("-")[2] == str(process.pid)]
