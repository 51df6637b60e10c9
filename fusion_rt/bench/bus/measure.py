"""Every load with every peer, one cell after the other, each process of its own."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import psutil
import yaml
from msgspec import Struct

from fusion_rt import __version__
from fusion_rt.bench.bus.loads import LOADS, Load, Report, Task
from fusion_rt.bench.bus.process import PATIENCE_S, READY, STOP, TAIL_S
from fusion_rt.bench.bus.transports import PEERS, Peer
from fusion_rt.bench.driving import machine
from fusion_rt.errors import ConfigError

Say = Callable[[str], None]
LEAVE_S = 5.0
# Isolated: the package that runs, not a checkout in the present folder, which is not built.
COMMAND = (sys.executable, "-I", "-m", "fusion_rt.bench.bus.process")


class Share(Struct, frozen=True, kw_only=True):
    """One process: its share of a core in percent, its memory, and what of that it shares with others."""

    name: str
    cpu: float
    rss_mb: float
    shared_mb: float


class Cell(Struct, frozen=True, kw_only=True):
    """One load with one peer.

    p50_ms, p90_ms, p99_ms, max_ms  age of large messages, or of all where there are only small ones: from
                                    written by the driver to readable by a listener, the recorder excepted
    received, offered               by all listeners
    cpu                             percent of a core, all processes together
    failed                          why there are no figures
    """

    load: str
    peer: str
    p50_ms: float | None = None
    p90_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None
    received: int = 0
    offered: int = 0
    cpu: float = 0.0
    processes: tuple[Share, ...] = ()
    failed: str | None = None


class BusResult(Struct, frozen=True, kw_only=True):
    """The whole run. left_out: peers that are not installed, with what brings them."""

    version: str
    machine: str
    python: str
    system: str
    seconds: float
    versions: dict[str, str]
    loads: tuple[Load, ...]
    cells: tuple[Cell, ...]
    left_out: tuple[str, ...]


def measure(
    *,
    seconds: float = 10.0,
    warm_s: float = 2.0,
    loads: Sequence[str] = (),
    peers: Sequence[str] = (),
    say: Say = lambda line: None,
) -> BusResult:
    """The named loads with the named peers (none named: all). Raises ConfigError for unknown names."""
    chosen_loads = [load for load in LOADS if not loads or load.name in loads]
    chosen_peers = [peer for peer in PEERS.values() if not peers or peer.name in peers]
    _known("load", loads, [load.name for load in LOADS])
    _known("peer", peers, list(PEERS))
    left_out = tuple(
        f"{peer.name}: not installed; pip install {peer.package}"
        for peer in chosen_peers
        if not peer.installed()
    )
    cells = []
    for load in chosen_loads:
        for peer in chosen_peers:
            if peer.installed() and (not peer.only or load.name in peer.only):
                say(f"{load.name}: {peer.name}")
                cell = _cell(load, peer, seconds, warm_s)
                if cell.failed is not None:
                    say(f"  again, since {cell.failed}")
                    cell = _cell(load, peer, seconds, warm_s)
                cells.append(cell)
    return BusResult(
        version=__version__,
        machine=machine(),
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()}",
        seconds=seconds,
        versions=_versions([peer for peer in chosen_peers if peer.installed()]),
        loads=tuple(chosen_loads),
        cells=tuple(cells),
        left_out=left_out,
    )


def _known(what: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise ConfigError(f"no {what} {name!r}: there are {', '.join(known)}")


def _versions(peers: Sequence[Peer]) -> dict[str, str]:
    from importlib.metadata import version

    names = {package for peer in peers for package in (peer.package or "").split()}
    return {name: version(name) for name in sorted(names | {"pyzmq", "numpy"})}


def _cell(load: Load, peer: Peer, seconds: float, warm_s: float) -> Cell:
    folder = Path(tempfile.mkdtemp(prefix="frt-bench-"))
    try:
        common = Task(
            transport=peer.name,
            load=load,
            run_dir=str(folder),
            ports=_free_ports(len(load.streams)),
            seconds=seconds,
            warm_s=warm_s,
        )
        replace = msgspec.structs.replace
        listeners = [replace(common, listener=i) for i in range(len(load.listeners))]
        senders = [replace(common, stream=i) for i in range(len(load.streams))]
        for task in (*listeners, *senders):
            (folder / f"{task.name}.json").write_bytes(msgspec.json.encode(task))
        run = _run_dora if peer.module == "dora" else _run
        try:
            daemon = run(folder, listeners, senders, warm_s + seconds + TAIL_S + PATIENCE_S)
        except _Failed as error:
            return Cell(load=load.name, peer=peer.name, failed=str(error))
        reports = {
            task.name: msgspec.json.decode((folder / f"{task.name}.report").read_bytes(), type=Report)
            for task in (*listeners, *senders)
        }
        return _summary(load, peer, reports, daemon)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Failed(Exception):
    """A process of the cell ended without its report."""


def _run(folder: Path, listeners: Sequence[Task], senders: Sequence[Task], limit_s: float) -> list[Share]:
    """Listeners first, each until it says that it is ready, then the senders. Returns other processes."""
    running: dict[str, subprocess.Popen[bytes]] = {}
    deadline = time.monotonic() + limit_s
    try:
        for group in (listeners, senders):
            for task in group:
                running[task.name] = _start(folder, task.name)
            for task in group:
                _wait_for(folder, task.name, running[task.name], deadline, READY)
        for group in (listeners, senders):
            for task in group:
                _wait_for(folder, task.name, running[task.name], deadline, None)
            (folder / STOP).touch()
        for process in running.values():
            process.wait(LEAVE_S)  # some tidy up shared memory
    except subprocess.TimeoutExpired:
        pass
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    return []


def _start(folder: Path, name: str) -> subprocess.Popen[bytes]:
    with open(folder / f"{name}.out", "wb") as out:
        return subprocess.Popen(
            [*COMMAND, str(folder / f"{name}.json")], stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )


def _wait_for(
    folder: Path, name: str, process: subprocess.Popen[bytes], deadline: float, word: str | None
) -> None:
    """Until the process has written `word`, or, None, its report."""
    while time.monotonic() < deadline:
        said = (folder / f"{name}.out").read_text(errors="replace")
        done = (folder / f"{name}.report").exists() if word is None else word in said
        if done:
            return
        if process.poll() not in (None, 0):
            last = said.strip().rsplit("\n", 1)[-1]
            raise _Failed(f"{name} ended with {process.returncode}: {last[:200]}")
        time.sleep(0.02)
    raise _Failed(f"{name} did not come to its end")


def _run_dora(
    folder: Path, listeners: Sequence[Task], senders: Sequence[Task], limit_s: float
) -> list[Share]:
    """Its own command starts the processes, beside a daemon in itself. Returns that daemon's share."""
    from fusion_rt.bench.bus.transports.dora import dataflow

    program = shutil.which("dora", path=os.pathsep.join([str(Path(sys.executable).parent), os.defpath]))
    if program is None:
        raise _Failed("no program `dora`: pip install dora-rs-cli")
    tasks = [*listeners, *senders]
    files = {task.name: str(folder / f"{task.name}.json") for task in tasks}
    flow = folder / "dataflow.yml"
    flow.write_text(yaml.safe_dump(dataflow(tasks, list(COMMAND), files)))
    with open(folder / "dora.out", "wb") as out:
        process = subprocess.Popen(
            [program, "run", str(flow)], cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    deadline = time.monotonic() + limit_s
    daemon = psutil.Process(process.pid)
    cpu_s, began = 0.0, time.monotonic()
    rss = shared = 0
    try:
        while not all((folder / f"{task.name}.report").exists() for task in tasks):
            if all((folder / f"{task.name}.report").exists() for task in listeners):
                (folder / STOP).touch()
            if time.monotonic() > deadline or process.poll() is not None:
                last = (folder / "dora.out").read_text(errors="replace").strip().rsplit("\n", 1)[-1]
                raise _Failed(f"dora run: {last[:200] or 'came to no end'}")
            memory, times = daemon.memory_info(), daemon.cpu_times()
            rss, shared, cpu_s = memory.rss, memory.shared, times.user + times.system
            time.sleep(0.1)
    except psutil.Error:
        raise _Failed("dora run: ended before its nodes") from None
    finally:
        _end_tree(process)
    span = time.monotonic() - began
    return [Share(name="dora", cpu=100 * cpu_s / span, rss_mb=rss / 1e6, shared_mb=shared / 1e6)]


def _end_tree(process: subprocess.Popen[bytes]) -> None:
    try:
        family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    except psutil.NoSuchProcess:
        family = []
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()


def _summary(load: Load, peer: Peer, reports: dict[str, Report], others: list[Share]) -> Cell:
    heard = [one for one in load.listeners if not one.record]
    large = [s.topic for s in load.streams if s.nbytes > 4096] or [s.topic for s in load.streams]
    ages = [age for one in heard for t in large for age in reports[one.name].age_us.get(t, [])]
    if not ages:
        return Cell(load=load.name, peer=peer.name, failed="no message came")
    p50, p90, p99 = np.percentile(ages, [50, 90, 99]) / 1e3
    shares = [
        Share(
            name=name,
            cpu=100 * report.cpu_s / max(report.span_s, 1e-9),
            rss_mb=report.rss_bytes / 1e6,
            shared_mb=report.shared_bytes / 1e6,
        )
        for name, report in reports.items()
    ]
    shares += others
    return Cell(
        load=load.name,
        peer=peer.name,
        p50_ms=float(p50),
        p90_ms=float(p90),
        p99_ms=float(p99),
        max_ms=max(ages) / 1e3,
        received=sum(sum(r.received.values()) for r in reports.values()),
        offered=sum(sum(r.offered.values()) for r in reports.values()),
        cpu=sum(share.cpu for share in shares),
        processes=tuple(shares),
    )


def _free_ports(count: int) -> tuple[int, ...]:
    """Of this machine, free now; held until all are chosen, so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return tuple(one.getsockname()[1] for one in sockets)
    finally:
        for one in sockets:
            one.close()
