"""A publisher's socket for this host: PUB over a Unix stream, written by the thread that publishes.

A thread of its own lets readers in, hears what they subscribe to, and sends what did not fit into a reader's
socket as soon as there is room; where everyone keeps up it sleeps."""

from __future__ import annotations

import contextlib
import os
import select
import socket as system
import threading
import time
from collections import deque

from fusion_rt.bus import forks, zmtp
from fusion_rt.bus.outbox import LINGER_MS, QUEUED
from fusion_rt.bus.wire import NEWEST_WINS, Kind
from fusion_rt.errors import MessageError

BACKLOG = 128
HANDSHAKE_S = 10.0
MAX_SUBSCRIPTIONS = 1000  # of one reader
_MAX_SAID = 4096  # bytes of what a reader says at once


class LocalOutbox:
    """Bound to the file `path`, which nobody else may have (`endpoints.claim`). Raises OSError.

    queued  messages that wait for one reader, besides the 200 kB in its socket; None: as the kind has it"""

    def __init__(self, path: str, prefix: bytes, *, queued: int | None = None):
        self._prefix, self._queued = prefix, queued
        self._peers: dict[int, _Peer] = {}
        self._wanting: tuple[_Peer, ...] = ()
        self._subscribers = 0
        self._processors = len(os.sched_getaffinity(0))
        self._lock = threading.Lock()  # around the peers, who listens, and what waits
        self._changed = threading.Condition(self._lock)
        self._closing = False
        self._listener = system.socket(system.AF_UNIX, system.SOCK_STREAM | system.SOCK_NONBLOCK)
        self._poller = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        try:
            os.fchmod(self._listener.fileno(), 0o600)  # of the file that bind makes
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)  # of a publisher that was killed
            self._listener.bind(path)
            self._listener.listen(BACKLOG)
        except BaseException:
            self._close_files()
            raise
        self._poller.register(self._listener, select.EPOLLIN)
        self._poller.register(self._wake, select.EPOLLIN)
        forks.close_in_child(self, LocalOutbox._close_files)
        self._thread = threading.Thread(target=self._serve, name=f"readers of {path}", daemon=True)
        self._thread.start()

    def send(self, frame: bytes, kind: Kind) -> bool:
        if not self._wanting:
            return True
        data = zmtp.message(frame)
        with self._lock:
            for peer in self._wanting:
                if peer.behind or not self._begin(peer, data):
                    peer.keep(data, self._queued or QUEUED[kind], kind in NEWEST_WINS)
        return True

    def announce(self) -> None:
        if len(self._wanting) >= self._processors:
            return  # they would be given the one that copies
        with self._lock:
            for peer in self._wanting:
                if peer.announced and not peer.behind:
                    self._begin(peer, zmtp.ANNOUNCEMENT)

    def _begin(self, peer: _Peer, data: bytes) -> bool:
        """Send as much of it as there is room for; the rest follows. False: nothing went."""
        sent = peer.send(data)
        if sent < len(data):
            if sent:
                peer.part = memoryview(data)[sent:]
            self._poller.modify(peer.socket, select.EPOLLIN | select.EPOLLOUT)
        return sent > 0

    @property
    def subscribers(self) -> int:
        return self._subscribers

    def wait(self, timeout_s: float) -> None:
        with self._changed:
            self._changed.wait(min(timeout_s, 0.02))

    def close(self) -> None:
        """What waits may take 250 ms to leave; what is in a reader's socket can be read even later."""
        self._closing = True
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        self._close_files()

    def _close_files(self) -> None:
        for peer in self._peers.values():
            peer.socket.close()
        self._peers.clear()
        self._wanting = ()
        self._listener.close()
        self._poller.close()
        if self._wake >= 0:
            os.close(self._wake)
            self._wake = -1

    def _serve(self) -> None:
        end = 0.0
        while True:
            timeout = self._next_look()
            if self._closing:
                end = end or time.monotonic() + LINGER_MS / 1000
                timeout = max(0.0, end - time.monotonic())
                with self._lock:
                    busy = any(peer.behind for peer in self._peers.values())
                if not busy or not timeout:
                    return
            for fd, events in self._poller.poll(timeout):
                if fd == self._listener.fileno():
                    self._accept()
                elif fd == self._wake:
                    os.eventfd_read(fd)
                elif (peer := self._peers.get(fd)) is not None:
                    self._attend(peer, events)

    def _next_look(self) -> float:
        """Drops readers who take too long to introduce themselves; seconds until the next has, -1: none."""
        now, left = time.monotonic(), -1.0
        for peer in list(self._peers.values()):
            if peer.handshake.missing:
                if peer.deadline <= now:
                    self._drop(peer)
                    continue
                left = peer.deadline - now if left < 0 else min(left, peer.deadline - now)
        return left

    def _accept(self) -> None:
        try:
            socket, _ = self._listener.accept()
        except OSError:
            # Nobody any more, or no descriptor left: the readers that are there matter more, so not at once.
            time.sleep(0.01)
            return
        socket.setblocking(False)
        peer = _Peer(socket)
        peer.send(zmtp.GREETING + zmtp.ready("XPUB"))
        with self._lock:
            self._peers[socket.fileno()] = peer
        self._poller.register(socket, select.EPOLLIN)

    def _attend(self, peer: _Peer, events: int) -> None:
        try:
            if events & ~select.EPOLLOUT:
                peer.listen()
            with self._lock:
                if events & select.EPOLLOUT and peer.flush():
                    self._poller.modify(peer.socket, select.EPOLLIN)
        except BlockingIOError:
            pass
        except (MessageError, OSError):
            self._drop(peer)
            return
        with self._changed:
            self._look()

    def _look(self) -> None:
        """Who wants the topic now."""
        self._wanting = tuple(p for p in self._peers.values() if p.wants(self._prefix))
        self._subscribers = sum(peer.subscriptions.count(self._prefix) for peer in self._wanting)
        self._changed.notify_all()

    def _drop(self, peer: _Peer) -> None:
        with self._changed:
            self._peers.pop(peer.socket.fileno(), None)
            self._look()
        peer.socket.close()


class _Peer:
    """One reader's connection.

    announced  it wants announcements
    part       what is left of a message of which some was sent
    waiting    messages behind it"""

    def __init__(self, socket: system.socket):
        self.socket = socket
        self.handshake = zmtp.Handshake()
        self.deadline = time.monotonic() + HANDSHAKE_S
        self.announced = False
        self.subscriptions: list[bytes] = []
        self.part: memoryview | None = None
        self.waiting: deque[bytes] = deque()
        self._said = zmtp.Frames(_MAX_SAID)

    @property
    def behind(self) -> bool:
        return self.part is not None or bool(self.waiting)

    def wants(self, prefix: bytes) -> bool:
        """ZeroMQ's subscriptions are beginnings; whoever wants more than the topic filters for himself."""
        return any(prefix.startswith(s) or s.startswith(prefix) for s in self.subscriptions)

    def send(self, data: bytes | memoryview) -> int:
        """How many bytes went; 0 where there is no room, or nobody any more."""
        try:
            return self.socket.send(data, system.MSG_NOSIGNAL)
        except OSError:
            return 0  # of a connection that has ended the thread hears as well

    def keep(self, data: bytes, most: int, newest_wins: bool) -> None:
        """Until there is room. Beyond `most` the oldest is lost where the newest wins, else this one: the
        reader counts it."""
        if len(self.waiting) >= most:
            if not newest_wins:
                return
            self.waiting.popleft()
        self.waiting.append(data)

    def flush(self) -> bool:
        """Send what waits, as far as there is room; whether that was all."""
        while self.behind:
            data = self.part if self.part is not None else memoryview(self.waiting.popleft())
            sent = self.send(data)
            self.part = data[sent:] if sent < len(data) else None
            if self.part is not None:
                return False
        return True

    def listen(self) -> None:
        """Raises MessageError or OSError where the connection is of no use any more."""
        while missing := self.handshake.missing:
            self.handshake.feed(self._recv(missing))
            self.announced = self.handshake.announced
        for flags, body in self._said.feed(self._recv(_MAX_SAID)):
            if flags & zmtp.COMMAND or body[:1] not in (b"\0", b"\1"):
                continue
            if body[0]:
                self.subscriptions.append(body[1:])
            elif body[1:] in self.subscriptions:
                self.subscriptions.remove(body[1:])
            if len(self.subscriptions) > MAX_SUBSCRIPTIONS:
                raise MessageError(f"more than {MAX_SUBSCRIPTIONS} subscriptions")

    def _recv(self, most: int) -> bytes:
        data = self.socket.recv(most)
        if not data:
            raise ConnectionResetError
        return data
