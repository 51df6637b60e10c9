"""A node's process: started, watched, started again, stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence

import msgspec

from fusion_rt.bus import BusConfig, NodeHealth
from fusion_rt.node import EXIT_CONFIG, Assignment
from fusion_rt.scenario import Node

RESTARTS_A_MINUTE = 5
FIRST_DELAY_S = 0.2
BACK_OFF_S = (5.0, 10.0, 20.0, 60.0)
BOOT_FACTOR = 3  # a process that has said nothing yet may take that much longer
LINES_KEPT = 20
# The child looks for modules where we do, and not in the folder that the shell happens to be in.
_BOOT = "import sys; sys.path[:] = {path!r}; from fusion_rt.node import main; main()"


def restart_delay_s(starts: Sequence[float], now: float) -> float:
    """How long to wait before the next start: at once 5 times a minute, then longer and longer.

    starts  when it was started again before, seconds, oldest first"""
    within = sum(1 for t in starts if now - t < 60.0)
    if within < RESTARTS_A_MINUTE:
        return FIRST_DELAY_S
    beyond = len(starts) - RESTARTS_A_MINUTE
    return BACK_OFF_S[min(max(beyond, 0), len(BACK_OFF_S) - 1)]


class NodeProcess:
    """One node, through all its lives.

    state  "starting", "running", "waiting" (to be started again), "done" (its work), "stopped", or
           "refused" (its configuration: it would fail again)"""

    def __init__(self, node: Node, bus: BusConfig):
        self.node = node
        self.state = "waiting"
        self.restarts = 0
        self.exit_code: int | None = None
        self.lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._bus = bus
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._due = 0.0
        self._starts: deque[float] = deque(maxlen=RESTARTS_A_MINUTE + len(BACK_OFF_S))
        self._partial = b""

    @property
    def pid(self) -> int:
        """Of the present or last life; 0: none yet."""
        return self._process.pid if self._process is not None else 0

    @property
    def alive(self) -> bool:
        """Whether its process exists."""
        return self._process is not None and self._process.returncode is None

    def start(self) -> None:
        """A process of its own session: Ctrl-C in the terminal reaches the supervisor alone, which stops the
        nodes in order."""
        assignment = Assignment(node=self.node, bus=self._bus, parent_pid=os.getpid())
        path = [entry for entry in sys.path if entry]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BOOT.format(path=path), msgspec.json.encode(assignment).decode()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        self._started, self.state, self.exit_code = time.monotonic(), "starting", None

    def watch(self, health: NodeHealth | None, hang_s: float) -> list[str]:
        """Notice an end or a hang, start again when it is due. Returns what the node has printed, and what
        happened to it, as lines."""
        now = time.monotonic()
        lines = self.output()
        if self.alive:
            self._notice(health, now, hang_s, lines)
        elif self.state == "waiting" and now >= self._due:
            if self._process is not None:
                self.restarts += 1
                self._starts.append(now)
            self.start()
        return lines

    def stop(self, signal_number: int = signal.SIGTERM) -> None:
        """Ask it to end; nothing where it has ended."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal_number)

    def wait(self, timeout_s: float) -> bool:
        """Until it has ended; False where it has not."""
        if self._process is None:
            self.state = "stopped"
            return True
        try:
            self.exit_code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        if self.state not in ("done", "refused"):
            self.state = "stopped"
        return True

    def output(self) -> list[str]:
        """Lines that it has printed since the last call."""
        if self._process is None or self._process.stdout is None or self._process.stdout.closed:
            return []
        try:
            data = os.read(self._process.stdout.fileno(), 1 << 16)
        except BlockingIOError:
            return []
        *lines, self._partial = (self._partial + data).split(b"\n")
        if not data and self._partial:
            lines, self._partial = [self._partial], b""
        decoded = [line.decode(errors="replace").rstrip() for line in lines]
        self.lines.extend(decoded)
        return decoded

    def close(self) -> list[str]:
        """The last lines it printed; its pipe is closed."""
        lines = self.output()
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()
        return lines

    def _notice(self, health: NodeHealth | None, now: float, hang_s: float, lines: list[str]) -> None:
        assert self._process is not None
        code = self._process.poll()
        if code is None:
            if health is not None and health.state != "starting":
                self.state = "running"
            hanging_s = now - self._started if health is None else _hanging_s(health, now)
            if hanging_s > (hang_s * BOOT_FACTOR if health is None else hang_s):
                lines.append(f"hangs for {hanging_s:.0f} s: killed")
                self._process.kill()
            return
        lines += self.close()
        self.exit_code = code
        if code == 0:
            self.state = "done"
            lines.append("has done its work")
        elif code == EXIT_CONFIG:
            self.state = "refused"
        else:
            delay_s = restart_delay_s(self._starts, now)
            self.state, self._due = "waiting", now + delay_s
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            lines.append(f"ended ({how}): started again in {delay_s:g} s")


def _hanging_s(health: NodeHealth, now: float) -> float:
    """Since its loop last turned, or since it last said anything at all."""
    silent_s = now - health.header.trace[0].monotonic_ns / 1e9
    return health.loop_s + silent_s
