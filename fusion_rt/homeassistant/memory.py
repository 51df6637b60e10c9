"""What must outlive us: which devices Home Assistant knows of, and what people have set."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from msgspec import Struct

from fusion_rt.errors import ConfigError

VERSION = 1


class Memory(Struct, kw_only=True, forbid_unknown_fields=True):
    """devices   topic of a device's announcement -> key of a component -> its platform
    retained  other topics of ours that the broker keeps
    settings  name -> what somebody has set
    """

    version: int = VERSION
    devices: dict[str, dict[str, str]] = {}
    retained: list[str] = []
    settings: dict[str, float | bool] = {}

    @classmethod
    def load(cls, path: Path) -> tuple[Memory, str]:
        """What the file says, and "" or why it is not used. Raises ConfigError where it cannot be read."""
        try:
            memory = msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            return cls(), ""
        except OSError as error:
            raise ConfigError(f"state_file: {path}: cannot be read: {error.strerror}") from error
        except msgspec.DecodeError as error:
            return cls(), f"{path}: {error}: begun anew; what was announced before is not cleaned up"
        if memory.version != VERSION:
            return cls(), f"{path}: of version {memory.version}, expected {VERSION}: begun anew"
        return memory, ""

    def save(self, path: Path) -> None:
        """All or nothing. Raises ConfigError."""
        part = path.with_name(f"{path.name}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(self)))
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError as error:
            raise ConfigError(f"state_file: {path}: cannot be written: {error.strerror}") from error


def default_path(site: str) -> Path:
    """$XDG_STATE_HOME/fusion_rt/homeassistant-SITE.json, or in ~/.local/state."""
    root = os.environ.get("XDG_STATE_HOME")
    folder = Path(root) if root else Path.home() / ".local" / "state"
    return folder / "fusion_rt" / f"homeassistant-{site}.json"
