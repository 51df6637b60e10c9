"""A ROS 1 or ROS 2 bag's messages, read by the library `rosbags` (extra `ros`); all that it raises is a
LogError."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from fusion_rt.errors import LogError
from fusion_rt.logs.left_out import LeftOut


class BagReader:
    """types: topic -> message type. left_out: what could not be read. Raises LogError."""

    def __init__(self, path: Path, left_out: LeftOut) -> None:
        self.path = path
        self._left_out = left_out
        self._reader = _open(path)
        self.types: dict[str, str] = {c.topic: c.msgtype for c in self._reader.connections}

    def count(self, topics: set[str]) -> int:
        """How many messages these topics hold, by the bag's index."""
        return sum(c.msgcount for c in self._reader.connections if c.topic in topics)

    def messages(self, topics: set[str]) -> Generator[tuple[str, int, Any], None, None]:
        """(topic, when it was recorded, message) of these, in order. A damaged message is noted; where the
        file itself cannot be read on, that is noted, and ends it."""
        connections = [c for c in self._reader.connections if c.topic in topics]
        if not connections:
            return
        with closing(self._reader.messages(connections=connections)) as records:
            while True:
                try:
                    with _library_errors(str(self.path)):
                        record = next(records, None)
                except LogError as error:
                    self._left_out.add("", f"{error}; what comes behind is left out")
                    return
                if record is None:
                    return
                connection, came_ns, raw = record
                try:
                    with _library_errors(f"{self.path}: {connection.topic}: a damaged message"):
                        message = self._reader.deserialize(raw, connection.msgtype)
                except LogError as error:
                    self._left_out.add(connection.topic, error)
                    continue
                yield connection.topic, came_ns, message

    def first(self, topic: str) -> Any:
        """A topic's first message; None where there is none that can be read."""
        with closing(self.messages({topic})) as messages:
            return next((message for _, _, message in messages), None)

    def close(self) -> None:
        """Later calls do nothing."""
        if self._reader.stack:
            self._reader.close()


def _open(path: Path) -> Any:
    if not path.exists():
        raise LogError(f"{path}: no such file or folder")
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        raise LogError("ROS bags need the library rosbags: pip install 'fusion-rt[ros]'") from error
    with _library_errors(f"{path}: not a ROS bag that can be read"):
        # ROS 2 bags from before Iron hold no definitions; these messages have not changed since.
        reader = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_HUMBLE))
        reader.open()
    return reader


@contextmanager
def _library_errors(where: str) -> Iterator[None]:
    """What the library and what it stands on raise on wrong bytes is no closed list: all becomes LogError."""
    try:
        yield
    except LogError:
        raise
    except Exception as error:
        text = str(error).rstrip(".") or type(error).__name__
        hint = "; was it cut off? `rosbag reindex` of ROS 1 makes it whole" if "ndex" in text else ""
        if "not ros2" in text:
            hint = "; was it recorded by others than ROS? See `fusion-rt import mcap --help`"
        raise LogError(f"{where}: {text}{hint}") from error
