"""Keys as they are pressed, where standard input is a terminal."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from types import TracebackType
from typing import Any

ARROWS = {"\x1b[C": "right", "\x1b[D": "left", "\x1bOC": "right", "\x1bOD": "left", " ": "space"}


class Keys:
    """Inside the `with` block the terminal hands over each key at once, unseen; Ctrl-C still interrupts.
    Elsewhere, as in a pipe, there are no keys."""

    def __init__(self, fd: int | None = None) -> None:
        try:
            self._fd = sys.stdin.fileno() if fd is None else fd
        except (ValueError, OSError, AttributeError):  # no standard input
            self._fd = -1
        self._before: list[Any] | None = None

    @property
    def available(self) -> bool:
        """Whether there is a terminal, and we are in its foreground."""
        try:
            return os.isatty(self._fd) and os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:
            return False

    def pressed(self) -> list[str]:
        """Since the last call: characters, "space", "left", "right"."""
        if self._before is None or not select.select([self._fd], [], [], 0)[0]:
            return []
        text = os.read(self._fd, 1024).decode(errors="replace")
        found = []
        while text:
            known = next((k for k in ARROWS if text.startswith(k)), text[0])
            found.append(ARROWS.get(known, known))
            text = text[len(known) :]
        return found

    def __enter__(self) -> Keys:
        if self.available:
            self._before = termios.tcgetattr(self._fd)
            tty.setcbreak(self._fd, termios.TCSADRAIN)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)
            self._before = None
