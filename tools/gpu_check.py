"""Is this NVIDIA machine right, and how fast? One command, no network:

python tools/gpu_check.py                                # checks, then the table
python tools/gpu_check.py --out docs/benchmarks/h100     # and h100.md, h100.json
python tools/gpu_check.py --cpu-only --quick             # the same way on a CPU: a trial of this tool

It says what is there; holds every kernel against the CPU's, bit by bit; every engine's boxes against
OpenVINO's; the same work a hundred times against itself; runs compute-sanitizer where it is installed; and
measures.
The exit status is 1 where something is wrong.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from fusion_rt import __version__
from fusion_rt.bench import card
from fusion_rt.bench.card import BoundKernel, Check, Timing
from fusion_rt.bench.driving import machine
from fusion_rt.device import CpuDevice, Device
from fusion_rt.device.nvidia import ask_driver
from fusion_rt.doctor_nvidia import gather, judge
from fusion_rt.engine_ladder import find_gpu
from fusion_rt.errors import FusionError
from fusion_rt.models.package import ModelPackage
from fusion_rt.parity import bundled_frames


class Report(Struct, frozen=True, kw_only=True):
    """upload_gb_s, download_gb_s: measured; memory_gb_s: as the driver says, or 0. frame_least_ms: the upload
    of a frame and the bytes that its kernels move, no more."""

    version: str
    model: str
    machine: str
    device: str
    cpu: bool
    environment: tuple[str, ...]
    checks: tuple[Check, ...]
    timings: tuple[Timing, ...]
    upload_gb_s: float
    download_gb_s: float
    memory_gb_s: float
    frame_least_ms: float


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cpu-only", action="store_true", help="go the whole way on the CPU")
    parser.add_argument("--quick", action="store_true", help="few runs: a look whether it works")
    parser.add_argument("--kernels-only", action="store_true", help="run every kernel once, for a sanitizer")
    parser.add_argument("--model", default="driving-s", help="a preset's name or a package's folder")
    parser.add_argument("--out", type=Path, help="write OUT.md and OUT.json")
    options = parser.parse_args(arguments)
    try:
        package = ModelPackage.load(options.model)
        device = open_device(options.cpu_only)
        if options.kernels_only:
            return run_kernels(package, device)
        report = examine(package, device, quick=options.quick)
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


def open_device(cpu_only: bool) -> Device:
    """Raises FusionError, with what to do, where there is no card."""
    if cpu_only:
        return CpuDevice(2)
    device, why = find_gpu()
    if device is None:
        raise FusionError(f"{why or 'no NVIDIA driver'}; see `fusion-rt doctor`, or try --cpu-only")
    found: Any = device
    return found


def examine(package: ModelPackage, device: Device, *, quick: bool) -> Report:
    cpu = isinstance(device, CpuDevice)
    rig, frames = bundled_frames(1)
    runs, count = (3, 10) if quick else (card.RUNS, 1000)
    cases = list(card.kernel_cases(package, rig, frames[0]))
    checks: list[Check] = []
    for case in cases:
        say(f"kernel {case.name}")
        checks += card.check_kernel(device, case, runs)
    able: list[tuple[str, str]] = []
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
    checks.append(sanitize(cpu))
    say("bandwidth")
    up, down = card.memory_bandwidth(device)
    cards = () if cpu else ask_driver().cards
    memory = cards[0].bandwidth_gb_s * 1e9 if cards else down
    timings = []
    for case in cases:
        say(f"timing {case.name}")
        kernel = BoundKernel(device, case)
        name = f"kernel {case.name}"
        timings.append(card.measure(name, kernel, device, count=count, nbytes=case.bytes, bandwidth=memory))
    for runtime, precision in able:
        say(f"timing {runtime} {precision}")
        timings += card.measure_parts(package, device, runtime, precision, count=count)
        timings += card.measure_frame(package, device, runtime, precision, count=count)
    upload = card.WholeFrame(card.load(package, CpuDevice(1), "openvino", "f32")).upload_bytes
    return Report(
        version=__version__,
        model=package.identity,
        machine=machine(),
        device=str(device),
        cpu=cpu,
        environment=tuple(f"{f.part}: {f.state}, {f.detail}" for f in judge(gather())),
        checks=tuple(checks),
        timings=tuple(timings),
        upload_gb_s=up / 1e9,
        download_gb_s=down / 1e9,
        memory_gb_s=memory / 1e9,
        frame_least_ms=1e3 * (upload / up + sum(case.bytes for case in cases) / memory),
    )


def run_kernels(package: ModelPackage, device: Device) -> int:
    rig, frames = bundled_frames(1)
    for case in card.kernel_cases(package, rig, frames[0]):
        kernel = BoundKernel(device, case)
        kernel()
        kernel.outputs()
    return 0


def sanitize(cpu: bool) -> Check:
    """Every kernel once under NVIDIA's checker of memory accesses."""
    tool = shutil.which("compute-sanitizer")
    if cpu or tool is None:
        why = (
            "the device is a CPU" if cpu else "compute-sanitizer is not installed: it comes with the toolkit"
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
    if r.cpu:
        yield "**Measured on a CPU: a trial of the tool, no figure of a card.**"
        yield ""
    yield f"`python tools/gpu_check.py`: fusion_rt {r.version}, {r.model}; {r.machine}"
    yield ""
    yield from (f"- {line}" for line in r.environment)
    copies = f"- copies: {r.upload_gb_s:.1f} GB/s to the device, {r.download_gb_s:.1f} GB/s back"
    yield f"{copies}; its memory: {r.memory_gb_s:.0f} GB/s"
    yield f"- a frame of {card.POINTS:,} points and an image takes {r.frame_least_ms:.3f} ms at least:"
    yield "  its upload, and the bytes that its kernels move"
    yield ""
    yield "| check | | |"
    yield "| --- | --- | --- |"
    yield from (f"| {c.name} | {c.state} | {_cell(c.detail)} |" for c in r.checks)
    yield ""
    yield "| stage | runs | p50 ms | p99 ms | p99.9 ms | MB | of the memory's speed |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for t in r.timings:
        moved = f"{t.bytes / 1e6:.1f}" if t.bytes else ""
        share = f"{100 * t.least_ms / t.p50:.0f} %" if t.least_ms else ""
        yield f"| {t.name} | {t.count} | {t.p50:.3f} | {t.p99:.3f} | {t.p999:.3f} | {moved} | {share} |"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())


def say(what: str) -> None:
    """What is being done, on the error stream."""
    print(f"... {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
