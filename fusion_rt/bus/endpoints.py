"""Where topics live: sockets in a folder of the run, loopback, or another host with keys."""

from __future__ import annotations

import ipaddress
import os
import shutil
import stat
from pathlib import Path

from fusion_rt.bus.forks import Descriptor
from fusion_rt.bus.locks import is_locked, lock_exclusive, lock_shared
from fusion_rt.bus.wire import prefix
from fusion_rt.errors import BusError

IPC_PATH_MAX = 107  # bytes of sockaddr_un.sun_path, less the zero
RUN_LOCK = ".run"


def runtime_root() -> Path:
    """The folder of all runs of this user: $XDG_RUNTIME_DIR/fusion_rt, or /tmp/fusion_rt-<uid>."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base and os.path.isdir(base) and os.access(base, os.W_OK):
        return Path(base) / "fusion_rt"
    return Path(f"/tmp/fusion_rt-{os.getuid()}")


def ipc_endpoint(run_dir: Path, topic: str) -> str:
    """The topic's socket in the run's folder. Raises BusError where its path is too long for a socket."""
    prefix(topic)
    path = run_dir.absolute() / topic
    if len(os.fsencode(path)) > IPC_PATH_MAX:
        raise BusError(f"{path}: more than {IPC_PATH_MAX} bytes for a socket; use a shorter run_dir")
    return f"ipc://{path}"


def ipc_path(endpoint: str) -> str | None:
    """The file of an ipc endpoint; None for tcp."""
    return endpoint[6:] if endpoint.startswith("ipc://") else None


def check(endpoint: str, *, secured: bool) -> None:
    """Raises BusError for an endpoint that is not ipc with an absolute path, nor tcp on loopback, nor tcp
    with CURVE keys (`secured`)."""
    path = ipc_path(endpoint)
    if path is not None:
        if not path.startswith("/"):
            raise BusError(f"{endpoint}: give the socket an absolute path, such as ipc:///tmp/run/topic")
        return
    host, colon, port = endpoint.removeprefix("tcp://").rpartition(":")
    if not endpoint.startswith("tcp://") or not colon or not port.isdigit() or not 0 < int(port) < 65536:
        raise BusError(f"{endpoint}: neither ipc:///path nor tcp://host:port")
    if secured:
        return
    try:
        loopback = ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback:
        raise BusError(
            f"{endpoint}: other hosts are reached with CURVE keys only; give `keys`, or use tcp://127.0.0.1:{port}"
        )


def private_folder(path: Path) -> Path:
    """The folder, made if need be, that no other user can look into. Raises BusError otherwise."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.lstat()
    except OSError as error:
        raise BusError(f"{path}: no folder for sockets: {error.strerror}; choose another run_dir") from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise BusError(f"{path}: must be a folder of yours with mode 0700: chmod 700 {path}")
    return path


class RunFolder:
    """The folder of one run, held as long as anyone who opened it lives.

    Opening one removes the folders of runs that nobody holds any more. Closing the last holder's leaves
    nothing behind."""

    def __init__(self, path: Path):
        self.path = path
        if path.parent == runtime_root():
            private_folder(path.parent)
        self._held = self._hold()
        _sweep(path.parent, keep=path)

    def close(self) -> None:
        """Let go; the last one out removes the folder. Later calls do nothing, nor does one in a fork."""
        # A shared lock becomes exclusive where nobody shares it.
        if self._held.fd >= 0 and lock_exclusive(self._held.fd, 0):
            shutil.rmtree(self.path, ignore_errors=True)
        self._held.close()

    def _hold(self) -> Descriptor:
        while True:
            private_folder(self.path)
            held = claim(self.path / RUN_LOCK, shared=True)
            if held is not None:
                return held


def claim(path: Path, *, shared: bool = False) -> Descriptor | None:
    """A descriptor with a lock on the file, made if need be; None where somebody's lock is in the way.

    Whoever removes such a file holds its lock, so a claim is never on a file without a name."""
    while True:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            return None  # the folder has just been removed
        except OSError as error:
            raise BusError(f"{path}: cannot be opened: {error.strerror}") from error
        if not (lock_shared if shared else lock_exclusive)(fd, 0):
            os.close(fd)
            return None
        if os.fstat(fd).st_nlink:
            return Descriptor(fd)
        os.close(fd)


def published(run_dir: Path) -> dict[str, int]:
    """Topics that have a living publisher in the run's folder, and its process number. Touches nothing."""
    found = {}
    for path in sorted(run_dir.glob("*.lock")):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue  # gone meanwhile
        try:
            pid = os.read(fd, 20)
            if is_locked(fd, 0) and pid.isdigit():
                found[path.stem] = int(pid)
        finally:
            os.close(fd)
    return found


def _sweep(root: Path, keep: Path) -> None:
    for lock in root.glob(f"*/{RUN_LOCK}"):
        if lock.parent == keep:
            continue
        try:
            fd = os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        if lock_exclusive(fd, 0):
            shutil.rmtree(lock.parent, ignore_errors=True)
        os.close(fd)
