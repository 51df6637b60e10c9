"""A subscriber's sockets on this host: SUB over Unix streams, read by the thread that wants the messages.

A thread of its own connects: at once, or when a publisher comes, or comes back."""

from __future__ import annotations

import contextlib
import os
import select
import socket as system
import struct
import threading
import time
from collections.abc import Mapping

from fusion_rt.bus import endpoints, forks, wire, zmtp
from fusion_rt.bus.inbox import MAX_FRAME_BYTES, RECONNECT_S
from fusion_rt.bus.receiving import CHUNK, Usual
from fusion_rt.errors import MessageError

HANDSHAKE_S = 10.0


class LocalInbox:
    """topics: topic -> ipc endpoint."""

    def __init__(self, topics: Mapping[str, str]):
        self._feeds = [_Feed(wire.prefix(topic), endpoints.ipc_path(e) or "") for topic, e in topics.items()]
        self._streams: dict[int, _Stream] = {}  # that may have something to read, also after their end
        self._ready = select.epoll()  # streams; asked by whoever wants messages
        self._watch = select.epoll()  # connections that are being made, and the end of those that are
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._watch.register(self._wake, select.EPOLLIN)
        self._closing = False
        forks.close_in_child(self, LocalInbox._close_files)
        self._thread = threading.Thread(target=self._connect, name="subscriber's connections", daemon=True)
        self._thread.start()

    def take(self, wait_s: float, room: int, usual: Usual | None = None) -> list[tuple[bytes, int]]:
        """`usual`: where it has arrived, or is announced, nothing else has come."""
        taken: list[tuple[bytes, int]] = []
        if room <= 0:
            return taken
        sole = self._sole()
        if sole is not None:
            self._read(sole, taken, wait_s, room, usual)
            return taken
        for fd, _ in self._ready.poll(wait_s):
            stream = self._streams.get(fd)
            if stream is not None:
                self._read(stream, taken, 0.0, room, None)
        return taken

    def close(self) -> None:
        self._closing = True
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        self._close_files()

    def _sole(self) -> _Stream | None:
        """The only stream, and no other can come before it ends: it is waited for in one call, not in two."""
        streams = self._streams
        return next(iter(streams.values()), None) if len(self._feeds) == len(streams) == 1 else None

    def _read(
        self,
        stream: _Stream,
        taken: list[tuple[bytes, int]],
        wait_s: float,
        room: int,
        usual: Usual | None,
    ) -> None:
        try:
            data = stream.recv(wait_s, usual)
            if usual is not None and (usual.arrived or usual.announced):
                return
            taken += stream.cut(data)
            while len(data) == CHUNK and len(taken) < room:
                data = stream.recv(0.0)
                taken += stream.cut(data)
        except (BlockingIOError, InterruptedError):
            pass
        except (MessageError, OSError):
            self._drop(stream)

    def _drop(self, stream: _Stream) -> None:
        self._streams.pop(stream.socket.fileno(), None)
        with contextlib.suppress(OSError):
            stream.socket.shutdown(system.SHUT_RDWR)  # the connecting thread hears of it
        self._ready.unregister(stream.socket)
        stream.socket.close()

    def _close_files(self) -> None:
        for stream in self._streams.values():
            stream.socket.close()
        self._streams.clear()
        for feed in self._feeds:
            feed.close()
        for poller in (self._ready, self._watch):
            poller.close()
        if self._wake >= 0:
            os.close(self._wake)
            self._wake = -1

    def _connect(self) -> None:
        while not self._closing:
            now = time.monotonic()
            for feed in self._feeds:
                if feed.socket is None or (feed.handshake.missing and feed.deadline < now):
                    self._try(feed)
            # In the middle of a handshake nobody is waited for longer than until the next try of another.
            timeout = -1.0 if all(feed.subscribed for feed in self._feeds) else RECONNECT_S
            by_fd = {feed.socket.fileno(): feed for feed in self._feeds if feed.socket is not None}
            for fd, events in self._watch.poll(timeout):
                if fd in by_fd:
                    self._attend(by_fd[fd], events)

    def _try(self, feed: _Feed) -> None:
        feed.close()
        try:
            feed.open()
        except OSError:
            return  # nobody there, or nobody any more
        assert feed.socket is not None
        self._watch.register(feed.socket, select.EPOLLIN)

    def _attend(self, feed: _Feed, events: int) -> None:
        assert feed.socket is not None
        try:
            if feed.subscribed:
                raise ConnectionResetError  # nothing else is watched for any more
            if not feed.shake_hands():
                return
            feed.subscribe()
            # What comes from here on is the reader's; this thread only learns that it ended.
            self._watch.modify(feed.socket, select.EPOLLRDHUP)
            stream = _Stream(feed.socket.dup())
            self._streams[stream.socket.fileno()] = stream
            self._ready.register(stream.socket, select.EPOLLIN)
        except BlockingIOError:
            return
        except (MessageError, OSError):
            with contextlib.suppress(OSError, ValueError):
                self._watch.unregister(feed.socket)
            feed.close()


class _Feed:
    """One topic's connection, while it is made and until it ends."""

    def __init__(self, prefix: bytes, path: str):
        self._prefix, self._path = prefix, path
        self.socket: system.socket | None = None
        self.handshake = zmtp.Handshake()
        self.deadline = 0.0
        self.subscribed = False

    def open(self) -> None:
        """Raises OSError."""
        socket = system.socket(system.AF_UNIX, system.SOCK_STREAM | system.SOCK_NONBLOCK)
        try:
            socket.connect(self._path)
            socket.send(zmtp.GREETING + zmtp.ready("SUB", announced=True))
        except OSError:
            socket.close()
            raise
        self.socket, self.handshake = socket, zmtp.Handshake()
        self.deadline = time.monotonic() + HANDSHAKE_S

    def shake_hands(self) -> bool:
        """Whether it is done. Raises MessageError or OSError."""
        assert self.socket is not None
        while missing := self.handshake.missing:
            data = self.socket.recv(missing)
            if not data:
                raise ConnectionResetError
            self.handshake.feed(data)
        return True

    def subscribe(self) -> None:
        """libzmq takes it only now, after its own READY."""
        assert self.socket is not None
        self.socket.send(zmtp.message(b"\1" + self._prefix))
        self.subscribed = True

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
        self.socket, self.subscribed = None, False


class _Stream:
    """What has come of one connection."""

    def __init__(self, socket: system.socket):
        self.socket = socket
        self.socket.setblocking(True)
        self._wait_s = -1.0  # what the socket is told, as it begins
        self._frames = zmtp.Frames(MAX_FRAME_BYTES)
        self._first, self._parts = b"", 0

    def recv(self, wait_s: float, usual: Usual | None = None) -> bytes:
        """What has come, or comes in `wait_s`; -1: without end. Raises BlockingIOError where nothing did,
        another OSError at the end."""
        if wait_s and wait_s != self._wait_s:
            microseconds = 0 if wait_s < 0 else int(wait_s * 1e6) + 1
            timeout = struct.pack("ll", *divmod(microseconds, 1_000_000))
            self.socket.setsockopt(system.SOL_SOCKET, system.SO_RCVTIMEO, timeout)
            self._wait_s = wait_s
        flags = 0 if wait_s else system.MSG_DONTWAIT
        if usual is None or self._parts or self._frames.pending:
            data = self.socket.recv(CHUNK, flags)
        else:
            data = usual.receive(self.socket.fileno(), flags)
            if usual.arrived or usual.announced:
                return data
        if not data:
            raise ConnectionResetError
        return data

    def cut(self, data: bytes) -> list[tuple[bytes, int]]:
        """Messages that are whole by now: the first part, how many parts. Raises MessageError."""
        messages = []
        for flags, body in self._frames.feed(data):
            if flags & zmtp.COMMAND:
                continue
            self._parts += 1
            if self._parts == 1:
                self._first = body
            if not flags & zmtp.MORE:
                messages.append((self._first, self._parts))
                self._first, self._parts = b"", 0
        return messages
