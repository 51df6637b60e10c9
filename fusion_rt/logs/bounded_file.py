"""For libraries that read as much as a file tells them to."""

from __future__ import annotations

import io
import os
from pathlib import Path


class BoundedFile(io.BufferedReader):
    """A file that gives no more than it has: a damaged length costs no memory."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to `size` bytes. Raises ValueError where it is negative, as a damaged length makes it."""
        if size is None or size < 0:
            raise ValueError("a record's length is negative")
        return super().read(min(size, max(self.size - self.tell(), 0)))
