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

from fusion_rt.errors import ConfigError, NodeError

STARTS_S = 10.0


@contextmanager
def mosquitto() -> Iterator[int]:
    """The port, on loopback. Raises ConfigError where it is not installed, NodeError where it fails."""
    program = shutil.which("mosquitto")
    if program is None:
        raise ConfigError(
            "mosquitto is not installed (Debian: apt install mosquitto); or name a broker by --port"
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
            yield port
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
