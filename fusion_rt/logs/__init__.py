"""Recordings: MCAP logs, and importers that turn other formats into the same stream of packets."""

from __future__ import annotations

from pathlib import Path

from fusion_rt.logs.reader import Log
from fusion_rt.logs.writer import LogWriter

__all__ = ["Log", "LogWriter", "open"]


def open(path: str | Path) -> Log:  # as with gzip.open: read as logs.open
    """A recording to iterate over; raises LogError when it cannot be read."""
    return Log(path)
