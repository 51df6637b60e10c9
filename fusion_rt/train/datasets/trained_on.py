"""Which files a head learned from, by their contents: a judge says so, whatever the files are called."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import yaml

from fusion_rt.errors import ConfigError
from fusion_rt.models.package import WEIGHTS

NAME = "trained_on.yaml"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write(folder: Path, paths: Iterable[Path]) -> None:
    """Beside head.yaml: file name -> sha256."""
    known = {path.name: digest(path) for path in sorted(paths)}
    (folder / NAME).write_text(yaml.safe_dump(known, sort_keys=True), encoding="utf-8")


def read(head: str | Path) -> frozenset[str]:
    """The sha256 of all files that the head learned from; empty where it does not say. Raises ConfigError."""
    folder = WEIGHTS / head if (WEIGHTS / head).is_dir() else Path(head)
    path = folder / NAME
    if not path.is_file():
        return frozenset()
    known = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(known, dict):
        raise ConfigError(f"{path}: expected file names with their sha256")
    return frozenset(map(str, known.values()))
