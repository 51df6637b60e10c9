"""What an importer or exporter could not use. A fault that repeats, as a topic's wrong encoding does, is said
once, with how often it came."""

from __future__ import annotations


class LeftOut:
    """Causes by where they came up, in the order of their first time."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def add(self, where: str, cause: object) -> None:
        """One more: `where` names its topic or file, `cause` says all that a user needs."""
        self._first.setdefault(where, str(cause))
        self._counts[where] = self._counts.get(where, 0) + 1

    def lines(self) -> list[str]:
        """A line a place."""
        return [
            f"{cause} ({self._counts[where]} such)" if self._counts[where] > 1 else cause
            for where, cause in self._first.items()
        ]
