"""A Mosquitto of our own, for as long as it is needed."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from fusion_rt.errors import ConfigError, NodeError

STARTS_S = 10.0


class Mosquitto(Struct, frozen=True):
    """A broker on loopback."""

    port: int
    pid: int


@contextmanager
def mosquitto() -> Iterator[Mosquitto]:
    """Runs until the block ends. Raises ConfigError where it is not installed, NodeError where it fails."""
    program = shutil.which("mosquitto")
    if program is None:
        raise ConfigError(
            "mosquitto is not installed (Debian: apt install mosquitto); with --stand-in one elsewhere can"
            " be named by --port"
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory(prefix="frt-") as folder:
        file = Path(folder) / "mosquitto.conf"
        file.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n", encoding="utf-8")
        quiet = subprocess.DEVNULL
        process = subprocess.Popen([program, "-c", str(file)], stdout=quiet, stderr=quiet)
        try:
            _wait(port, process)
            yield Mosquitto(port, process.pid)
        finally:
            process.terminate()
            process.wait()


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + STARTS_S
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise NodeError("mosquitto does not start")
