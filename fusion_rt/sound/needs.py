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
    except ImportError as error:
        raise ConfigError(f"sound needs {error.name}: pip install 'fusion-rt[voice]'") from error
    except OSError as error:  # sounddevice looks for the system's library as it is imported
        raise ConfigError(
            f"a sound card is reached by PortAudio ({error}): apt install libportaudio2;"
            " or give `source` a file"
        ) from error
