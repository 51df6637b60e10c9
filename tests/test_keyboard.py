"""Keys, by a real pseudo-terminal."""

import os
import pty
import sys
import termios

from fusion_rt.keyboard import Keys

CHILD = """
import sys, time
from fusion_rt.keyboard import Keys
with Keys() as keys:
    print(keys.available, flush=True)
    found = []
    while "q" not in found:
        found += keys.pressed()
        time.sleep(0.005)
print(found, flush=True)
"""


def test_keys_of_a_terminal_come_at_once_and_it_is_as_it_was():
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(
            sys.executable,
            [sys.executable, "-c", CHILD],
            os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
    try:
        before = termios.tcgetattr(terminal)
        said = until(terminal, b"True")
        assert not termios.tcgetattr(terminal)[3] & termios.ICANON
        os.write(terminal, b" \x1b[C\x1b[D+q")  # no newline
        said = until(terminal, b"]")
        assert b"['space', 'right', 'left', '+', 'q']" in said
        assert termios.tcgetattr(terminal) == before
    finally:
        os.waitpid(pid, 0)
        os.close(terminal)


def until(terminal, text):
    said = b""
    while text not in said:
        said += os.read(terminal, 1000)
    return said


def test_without_a_terminal_there_are_no_keys():
    reading, writing = os.pipe()
    os.write(writing, b" ")
    with Keys(reading) as keys:
        assert not keys.available
        assert keys.pressed() == []
    os.close(reading)
    os.close(writing)
