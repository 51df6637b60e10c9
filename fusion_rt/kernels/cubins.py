"""Compiled kernels, kept between starts.

A file is named by all that decides its content: text, headers, architecture, compiler, options. So nothing in
the cache can be out of date, and it may be deleted at any time. A file appears whole or not at all, whoever
else writes the same one; one that is damaged is compiled anew.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from fusion_rt.kernels import nvrtc, sources
from fusion_rt.kernels.nvrtc import Compiled

_MAGIC = b"fusion_rt cubin 1\n"
_DIGEST = hashlib.sha256().digest_size


class Cubins(msgspec.Struct, frozen=True):
    """The kernels for one architecture: by .cu file; how many of these were compiled just now; and what was
    wrong with the cache, in words."""

    files: dict[str, Compiled]
    compiled: int
    warnings: list[str]


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/fusion_rt/cubins, by default in ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    return root / "fusion_rt" / "cubins"


def load(architecture: str, folder: Path | None = None) -> Cubins:
    """Every .cu file for "sm_90" or the like, from the folder (default: `cache_folder()`) or compiled and put
    there. A folder that cannot be written costs the next start its time, no more.

    Raises DeviceError where NVRTC is not installed, or refuses the architecture or a kernel."""
    folder, texts = folder or cache_folder(), sources.texts()
    headers = "".join(text for name, text in texts.items() if name.endswith(".h"))
    compiler, warnings, fresh = nvrtc.version(), list[str](), list[str]()

    def one(name: str) -> Compiled:
        what = (texts[name], headers, architecture, compiler, *nvrtc.OPTIONS)
        key = hashlib.sha256("\0".join(what).encode()).hexdigest()[:32]
        path = folder / f"{Path(name).stem}-{architecture}-{key}.cubin"
        kept = _read(path, warnings)
        if kept is None:
            kept = nvrtc.compile_file(name, architecture, texts)
            fresh.append(name)
            _write(path, kept, warnings)
        return kept

    names = [name for name in texts if name.endswith(".cu")]
    with ThreadPoolExecutor(min(len(names), os.cpu_count() or 1)) as pool:
        files = dict(zip(names, pool.map(one, names)))
    return Cubins(files, len(fresh), sorted(set(warnings)))


def _read(path: Path, warnings: list[str]) -> Compiled | None:
    """None where there is none, or where it is damaged."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        warnings.append(f"{path.parent} cannot be read ({error.strerror})")
        return None
    start = len(_MAGIC) + _DIGEST
    body = data[start:]
    if data[:start] == _MAGIC + hashlib.sha256(body).digest():
        return msgspec.msgpack.decode(body, type=Compiled)
    warnings.append(f"{path} was damaged: compiled again")
    return None


def _write(path: Path, compiled: Compiled, warnings: list[str]) -> None:
    body = msgspec.msgpack.encode(compiled)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".new-", delete=False) as file:
            try:
                file.write(_MAGIC + hashlib.sha256(body).digest() + body)
                file.flush()
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        warnings.append(f"{path.parent} cannot be written ({error.strerror}): every start compiles again")
