"""Is this NVIDIA machine right, and how fast? One command, no network:

python tools/gpu_check.py                                # checks, then the table
python tools/gpu_check.py --out docs/benchmarks/h100     # and h100.md, h100.json
python tools/gpu_check.py --cpu-only --quick             # the same way without a card: a trial of this tool

It says what is there; how long the kernels take to compile, and what they need; holds every kernel against
the CPU's, bit by bit or within what is allowed; every engine's boxes against OpenVINO's; the same work a
hundred times against itself; runs compute-sanitizer where it is installed; and measures.

With --cpu-only the driver without a card that the tests have (tests/cuda, built with g++) stands in for a
card, or, where that cannot be had, the CPU's own device does. No time of a card can come of it: those cells
stay empty.
The exit status is 1 where something is wrong.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from fusion_rt import __version__
from fusion_rt.bench import card
from fusion_rt.bench.card import Check, FunctionNeeds, Start, Timing
from fusion_rt.bench.driving import machine
from fusion_rt.bench.kernel_cases import POINTS, BoundKernel, KernelCase, answer_cases, kernel_cases
from fusion_rt.device import CpuDevice, Device
from fusion_rt.device.nvidia import ask_driver
from fusion_rt.doctor_nvidia import gather, judge
from fusion_rt.engine_ladder import find_gpu
from fusion_rt.errors import FusionError
from fusion_rt.kernels import nvrtc
from fusion_rt.models.package import ModelPackage
from fusion_rt.parity import bundled_frames

NO_CARD = {
    "stub": "**No card: the driver of tests/cuda stood in for one. The whole way was gone; nothing of a card"
    " was measured, and those cells are empty.**",
    "cpu": "**No card, and no driver to stand in for one ({why}): the CPU's own device went the way. Nothing"
    " of a card was measured, and those cells are empty.**",
}


class Report(Struct, frozen=True, kw_only=True):
    """place: "card", "stub" (a driver without a card) or "cpu". upload_gb_s, download_gb_s: measured;
    memory_gb_s: as the driver says. frame_bytes, kernel_bytes: what a frame uploads, and what its kernels
    move; frame_least_ms: the time of both, no more. None: unknown."""

    version: str
    model: str
    machine: str
    device: str
    place: str
    why_no_stub: str
    environment: tuple[str, ...]
    starts: tuple[Start, ...]
    functions: tuple[FunctionNeeds, ...]
    checks: tuple[Check, ...]
    timings: tuple[Timing, ...]
    upload_gb_s: float | None
    download_gb_s: float | None
    memory_gb_s: float | None
    frame_bytes: int
    kernel_bytes: int
    frame_least_ms: float | None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cpu-only", action="store_true", help="go the whole way without a card")
    parser.add_argument("--quick", action="store_true", help="few runs: a look whether it works")
    parser.add_argument("--kernels-only", action="store_true", help="run every kernel once, for a sanitizer")
    parser.add_argument("--model", default="driving-s", help="a preset's name or a package's folder")
    parser.add_argument("--out", type=Path, help="write OUT.md and OUT.json")
    options = parser.parse_args(arguments)
    try:
        package = ModelPackage.load(options.model)
        place, why_no_stub = stand_in() if options.cpu_only else ("card", "")
        device = CpuDevice(2) if place == "cpu" else open_device()
        if options.kernels_only:
            return run_kernels(package, device)
        report = examine(package, device, place, why_no_stub, quick=options.quick)
    except FusionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    text = markdown(report)
    print(text)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.with_suffix(".md").write_text(text, encoding="utf-8")
        options.out.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    return int(any(check.state == "wrong" for check in report.checks))


def stand_in() -> tuple[str, str]:
    """ "stub": this process has a driver without a card from now on. "cpu", and why: it cannot be had."""
    recipe = Path(__file__).resolve().parents[1] / "tests" / "cuda" / "stub_driver.py"
    if not recipe.is_file():
        return "cpu", f"{recipe} is missing: run this from a checkout"
    try:
        nvrtc.version()
    except FusionError as error:
        return "cpu", str(error)
    spec = importlib.util.spec_from_file_location(recipe.stem, recipe)
    assert spec is not None
    assert spec.loader is not None
    driver = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(driver)
    with tempfile.TemporaryDirectory() as folder:
        library = driver.build(Path(folder))
        if library is None:
            return "cpu", "g++ is missing"
        ctypes.CDLL(str(library))
    return "stub", ""


def open_device() -> Device:
    """Raises FusionError, with what to do, where there is no card."""
    device, why = find_gpu()
    if device is None:
        raise FusionError(f"{why or 'no NVIDIA driver'}; see `fusion-rt doctor`, or try --cpu-only")
    found: Any = device
    return found


def examine(package: ModelPackage, device: Device, place: str, why_no_stub: str, *, quick: bool) -> Report:
    runs, count = (card.RUNS, 1000) if place == "card" else (10, 20)
    if quick:
        runs, count = 3, 5
    starts, needs, checks = look_at_compiler(device)
    cases, launched = cases_for(package, device), dict[str, list[str]]()
    for case in cases:
        say(f"kernel {case.label}")
        found, functions = card.check_kernel(device, case, runs)
        checks += found
        for name in functions:
            launched.setdefault(name, []).append(case.label)
    able = list[tuple[str, str]]()
    precisions = ("f16",) if quick and "f16" in package.spec.precisions else tuple(package.spec.precisions)
    tried = [name for name in card.runtimes(device) if not (quick and name == "torch")]
    for runtime in tried:
        for precision in precisions:
            say(f"engine {runtime} {precision}")
            check = card.check_engine(package, device, runtime, precision)
            checks.append(check)
            if check.state == "ok":
                able.append((runtime, precision))
    # On a CPU torch is the reference and not for speed.
    able = [(runtime, precision) for runtime, precision in able if runtime != "torch"]
    for runtime, precision in able:
        say(f"answers {runtime} {precision}")
        checks.append(card.check_answers(package, device, runtime, precision, runs))
    checks.append(sanitize(place))
    say("bandwidth")
    up, down = card.memory_bandwidth(device)
    cards = () if place == "cpu" else ask_driver().cards
    memory = cards[0].bandwidth_gb_s * 1e9 if cards else 0.0
    timings, moved, clock = list[Timing](), 0, card.kernel_clock(device)
    for case in cases:
        say(f"timing {case.label}")
        kernel = BoundKernel(device, case)
        kernel()
        moved += kernel.bytes if case.label == case.name else 0  # each kernel once
        name = f"kernel {case.label}"
        timings.append(clock(name, kernel, count=count, nbytes=kernel.bytes, bandwidth=memory))
    for runtime, precision in able:
        say(f"timing {runtime} {precision}")
        timings += card.measure_parts(package, device, runtime, precision, count=count)
        for told in card.measure_frame(package, device, runtime, precision, count=count):
            (checks if isinstance(told, Check) else timings).append(told)  # type: ignore[arg-type]
    upload = card.WholeFrame(card.load(package, CpuDevice(1), "openvino", "f32")).upload_bytes
    real = place == "card"
    least = 1e3 * (upload / up + moved / memory) if real and memory else None
    return Report(
        version=__version__,
        model=package.identity,
        machine=machine(),
        device=str(device),
        place=place,
        why_no_stub=why_no_stub,
        environment=tuple(f"{f.part}: {f.state}, {f.detail}" for f in judge(gather())),
        starts=tuple(starts),
        functions=tuple(msgspec.structs.replace(n, checks=tuple(launched.get(n.name, ()))) for n in needs),
        checks=tuple(checks),
        timings=tuple(timings if real else [t.untold() for t in timings]),
        upload_gb_s=up / 1e9 if real else None,
        download_gb_s=down / 1e9 if real else None,
        memory_gb_s=memory / 1e9 if real and memory else None,
        frame_bytes=upload,
        kernel_bytes=moved,
        frame_least_ms=least,
    )


def cases_for(package: ModelPackage, device: Device) -> list[KernelCase]:
    """All kernels; a CPU has the last steps of an answer in one with others."""
    rig, frames = bundled_frames(1)
    cases = list(kernel_cases(package, rig, frames[0]))
    return cases if isinstance(device, CpuDevice) else [*cases, *answer_cases(package)]


def look_at_compiler(device: Device) -> tuple[list[Start], list[FunctionNeeds], list[Check]]:
    say("compiler")
    found: Any = device
    architecture = "sm_90" if isinstance(device, CpuDevice) else found.architecture
    try:
        starts, needs = card.measure_starts(architecture)
    except FusionError as error:
        return [], [], [Check(name="spills", state="absent", detail=str(error))]
    spills = {n.name: n.spill_bytes for n in needs if n.spill_bytes}
    told = ", ".join(f"{name} {n} bytes" for name, n in spills.items()) or f"none, {architecture}"
    return starts, needs, [Check(name="spills", state="wrong" if spills else "ok", detail=told)]


def run_kernels(package: ModelPackage, device: Device) -> int:
    for case in cases_for(package, device):
        BoundKernel(device, case).outputs()
    return 0


def sanitize(place: str) -> Check:
    """Every kernel once under NVIDIA's checker of memory accesses."""
    tool = shutil.which("compute-sanitizer")
    if place != "card" or tool is None:
        why = (
            "no card" if place != "card" else "compute-sanitizer is not installed: it comes with the toolkit"
        )
        return Check(name="compute-sanitizer", state="absent", detail=why)
    say("compute-sanitizer")
    command = [
        tool,
        "--tool",
        "memcheck",
        "--error-exitcode",
        "9",
        sys.executable,
        __file__,
        "--kernels-only",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    last = (done.stdout.strip() or done.stderr.strip() or "it said nothing").splitlines()[-1]
    return Check(name="compute-sanitizer", state="wrong" if done.returncode else "ok", detail=last)


def markdown(report: Report) -> str:
    return "\n".join(_lines(report)) + "\n"


def _lines(r: Report) -> Iterator[str]:
    yield f"# {r.device}"
    yield ""
    if r.place in NO_CARD:
        yield NO_CARD[r.place].format(why=r.why_no_stub)
        yield ""
    yield f"`python tools/gpu_check.py`: fusion_rt {r.version}, {r.model}; {r.machine}"
    yield ""
    yield from (f"- {line}" for line in r.environment)
    copies = (
        f"- copies: {_number(r.upload_gb_s, 1)} GB/s to the device, {_number(r.download_gb_s, 1)} GB/s back"
    )
    yield f"{copies}; its memory: {_number(r.memory_gb_s, 0)} GB/s"
    least = _number(r.frame_least_ms, 3)
    yield f"- a frame of {POINTS:,} points and an image takes at least {least} ms:"
    yield f"  {r.frame_bytes / 1e6:.1f} MB up, and {r.kernel_bytes / 1e6:.1f} MB that its kernels move"
    yield ""
    if r.starts:
        yield "| start | s | at most | |"
        yield "| --- | ---: | ---: | --- |"
        yield from (f"| {s.name} | {s.seconds:.2f} | {s.most:.0f} | {s.detail} |" for s in r.starts)
        yield ""
    yield "| check | | |"
    yield "| --- | --- | --- |"
    yield from (f"| {c.name} | {c.state} | {_cell(c.detail)} |" for c in r.checks)
    yield ""
    yield "Kernels by the card's own clock, with cold caches; all else by the host's, from call to end."
    yield ""
    yield "| stage | runs | p50 ms | p99 ms | p99.9 ms | p99/p50 | MB | least ms | of the memory's speed |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for t in r.timings:
        moved = f"{t.bytes / 1e6:.1f}" if t.bytes else ""
        share = f"{100 * t.least_ms / t.p50:.0f} %" if t.least_ms and t.p50 else ""
        tail = f"{t.p99 / t.p50:.2f}" if t.p99 and t.p50 else ""
        times = " | ".join(_number(v, 3) for v in (t.p50, t.p99, t.p999))
        yield f"| {t.name} | {t.count} | {times} | {tail} | {moved} | {_number(t.least_ms, 4)} | {share} |"
    if r.functions:
        yield ""
        yield "| .cu function | registers | stack bytes | spill bytes | launched by |"
        yield "| --- | ---: | ---: | ---: | --- |"
        for f in r.functions:
            needs = f"{f.registers} | {f.stack_bytes} | {f.spill_bytes}"
            yield f"| {f.name} | {needs} | {', '.join(f.checks)} |"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())


def say(what: str) -> None:
    """What is being done, on the error stream."""
    print(f"... {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
