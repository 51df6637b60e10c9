"""What is installed on demand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fusion_rt.errors import ConfigError


@contextmanager
def voice_extra() -> Iterator[None]:
    """Around imports of what the extra `voice` brings. Raises ConfigError where it is not installed."""
    try:
        yield
    except (ImportError, OSError) as error:  # OSError: a library that a package loads is not there
        what = getattr(error, "name", None) or str(error)
        raise ConfigError(f"sound needs {what}: pip install 'fusion-rt[voice]'") from error
