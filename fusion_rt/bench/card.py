"""A device on trial: its kernels against the CPU's, its engines against OpenVINO, the same bits each time,
and how long each stage takes beside the least that its memory allows."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from fusion_rt.bench.kernel_cases import BoundKernel, KernelCase, dense, expected, launches
from fusion_rt.device import CpuDevice, Device
from fusion_rt.engine import CARD_RUNTIMES, RUNTIMES
from fusion_rt.engine import load as load_engine
from fusion_rt.errors import FusionError
from fusion_rt.images import decode_image
from fusion_rt.kernels import cubins, nvrtc
from fusion_rt.models.package import PARTS, ModelPackage
from fusion_rt.parity import bundled_frames, self_test
from fusion_rt.perception import Perception
from fusion_rt.percepts import Motion, Perceived, Sweep, View

RUNS = 100  # that must give the same bits
_STANDING = np.eye(2, 3, dtype=np.float32)


class Timing(Struct, frozen=True, kw_only=True):
    """Milliseconds over `count` runs, each waited for; None where that would be no figure of a card.
    least_ms: what memory alone would take for the bytes; None: unknown."""

    name: str
    count: int
    p50: float | None
    p99: float | None
    p999: float | None
    bytes: int = 0
    least_ms: float | None = None

    def untold(self) -> Timing:
        """The same run without its times."""
        return Timing(name=self.name, count=self.count, p50=None, p99=None, p999=None, bytes=self.bytes)


class Start(Struct, frozen=True, kw_only=True):
    """How long a step of a start takes, s, and how long it may."""

    name: str
    seconds: float
    most: float
    detail: str


class FunctionNeeds(Struct, frozen=True, kw_only=True):
    """What one thread of a .cu function needs, and for which checks it was launched."""

    name: str
    registers: int
    stack_bytes: int
    spill_bytes: int
    checks: tuple[str, ...]


class Check(Struct, frozen=True, kw_only=True):
    """state: "ok", "wrong", or "absent" where there was nothing to check."""

    name: str
    state: str
    detail: str


def check_kernel(device: Device, case: KernelCase, runs: int = RUNS) -> tuple[list[Check], set[str]]:
    """The device's values against those of the CPU, to the bit or as near as the case says, and its bits
    against its own again and again; and which .cu functions were launched for it."""
    ours = BoundKernel(device, case)
    with launches(device) as functions:
        first = ours.outputs()
    pairs = list(zip(first, expected(case), strict=True))
    same = all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)
    near = same or all(
        np.allclose(a, b, rtol=case.tolerance, atol=case.tolerance, equal_nan=True) for a, b in pairs
    )
    off = max(float(np.nanmax(np.abs(a.astype(np.float64) - b), initial=0.0)) for a, b in pairs)
    allowed = f"{case.tolerance:g} is allowed" if case.tolerance else "none is allowed"
    again = 0
    for _ in range(runs):
        again += all(np.array_equal(a, b, equal_nan=True) for a, b in zip(first, ours.outputs()))
    name = f"kernel {case.label}"
    return [
        Check(
            name=name,
            state="ok" if near else "wrong",
            detail="the CPU's bits" if same else f"off by {off:.3g}, {allowed}",
        ),
        Check(
            name=f"{name}, again",
            state="ok" if again == runs else "wrong",
            detail=f"{again} of {runs} the same bits",
        ),
    ], functions


def runtimes(device: Device) -> tuple[str, ...]:
    """Those to try on it."""
    return RUNTIMES if isinstance(device, CpuDevice) else (*CARD_RUNTIMES, "openvino")


def load(package: ModelPackage, device: Device, runtime: str, precision: str, **more: Any) -> Perception:
    """Perception with kernels and network on the device."""
    return Perception(package, device, runtime=runtime, precision=precision, **more)


def check_engine(package: ModelPackage, device: Device, runtime: str, precision: str) -> Check:
    """Its boxes beside OpenVINO's on the CPU."""
    name, exact = f"engine {runtime} {precision}", "int8" if precision == "int8" else "f32"
    try:
        candidate = load(package, device, runtime, precision)
    except FusionError as error:
        return Check(name=name, state="absent", detail=str(error))
    try:
        reference = Perception(package, CpuDevice(2), precision=exact)
        a = self_test(reference, candidate, held=precision)
    except FusionError as error:
        return Check(name=name, state="wrong", detail=str(error))
    detail = f"{a.boxes} boxes, off by {1e3 * a.position_m:.1f} mm and {a.score:.4f} of a score at most"
    return Check(name=name, state="wrong" if a.reason else "ok", detail=a.reason or detail)


def check_answers(package: ModelPackage, device: Device, runtime: str, precision: str, runs: int) -> Check:
    """Whether whole answers have the same bits each time."""
    name = f"answers {runtime} {precision}, again"
    try:
        frame = WholeFrame(load(package, device, runtime, precision))
        first = frame.answer()
        same = sum(_equal(first, frame.answer()) for _ in range(runs))
    except FusionError as error:
        return Check(name=name, state="absent", detail=str(error))
    state = "ok" if same == runs else "wrong"
    return Check(name=name, state=state, detail=f"{same} of {runs} the same bits")


def _equal(a: Perceived, b: Perceived) -> bool:
    ours, theirs = a.detections, b.detections
    return np.array_equal(ours.boxes, theirs.boxes) and np.array_equal(ours.scores, theirs.scores)


class WholeFrame:
    """A camera image and a sweep of `POINTS` points, over and over."""

    def __init__(self, perception: Perception) -> None:
        self._perception, (rig, frames) = perception, bundled_frames(1)
        (self._camera,) = list(rig.cameras.values())[:1]
        self._pixels, T = decode_image(frames[0].image), next(iter(rig.lidars.values())).T_ego_lidar
        xyz, intensity, t = dense(frames[0])
        cloud = type(frames[0].cloud)(
            header=frames[0].cloud.header,
            xyz=xyz,
            intensity=intensity,
            t=t,
            ring=np.zeros(len(xyz), np.uint16),
        )
        knots_T = np.stack([T[:3], T[:3]]).astype(np.float32)
        self._sweep = Sweep(cloud, np.array([-0.05, 0.05], np.float32), knots_T)
        self.upload_bytes: int = self._pixels.nbytes + xyz.nbytes + intensity.nbytes + t.nbytes

    def __call__(self) -> Perceived:
        """Encode, lift, fuse, decode: upload included, the JPEG's decoding not."""
        seen = self._perception.encode(self._pixels, self._camera, bgr=True)
        motion = Motion(known=True, T_prev_now=_STANDING, since_prev_s=0.1)
        return self._perception.detect([self._sweep], [View(seen, self._camera.T_camera_ego)], motion)

    @property
    def why_no_graph(self) -> str:
        """ "" where part of it is one."""
        return self._perception.why_no_graph

    def answer(self) -> Perceived:
        """The same without memory, which makes answers differ."""
        seen = self._perception.encode(self._pixels, self._camera, bgr=True)
        return self._perception.detect([self._sweep], [View(seen, self._camera.T_camera_ego)], Motion())


def measure(
    name: str,
    call: Callable[[], object],
    device: Device,
    *,
    count: int,
    nbytes: int = 0,
    bandwidth: float = 0.0,
) -> Timing:
    """`count` runs after a tenth of them to warm up, each from an idle device until it is idle again.

    bandwidth: bytes a second of the device's memory."""
    taken = []
    for k in range(-max(count // 10, 3), count):
        device.synchronize()
        began = time.perf_counter_ns()
        call()
        device.synchronize()
        if k >= 0:
            taken.append((time.perf_counter_ns() - began) / 1e6)
    return _timing(name, taken, nbytes, bandwidth)


class CardClock:
    """Times of a card's own: from one event to the next, with nothing of the host between them.

    Before each run a memory larger than any cache is cleared, for a millisecond: meanwhile the host puts the
    whole run on the stream, and no cache still holds what the run reads."""

    FLUSH = 1 << 27  # bytes
    AHEAD_MS = 1.0

    def __init__(self, device: Any) -> None:
        self._device, self._launcher = device, device.launcher
        self._flushed = device.empty((self.FLUSH,), np.uint8)
        self._events = self._launcher.event(), self._launcher.event()
        self._times = 1
        alone = min(self._time(lambda: device.zero(self._flushed)) for _ in range(3))
        self._times = max(1, round(self.AHEAD_MS / max(alone, 1e-3)))

    def measure(
        self, name: str, call: Callable[[], object], *, count: int, nbytes: int, bandwidth: float
    ) -> Timing:
        """As `measure`."""
        taken = [self._time(call) for _ in range(max(count // 10, 3) + count)][-count:]
        return _timing(name, taken, nbytes, bandwidth)

    def _time(self, call: Callable[[], object]) -> float:
        device, launcher, (began, ended) = self._device, self._launcher, self._events
        for _ in range(self._times):
            device.zero(self._flushed)
        launcher.record(began, device.stream)
        call()
        launcher.record(ended, device.stream)
        device.synchronize()
        ms: float = launcher.elapsed_ms(began, ended)
        return ms


def kernel_clock(device: Device) -> Callable[..., Timing]:
    """What measures a kernel: (name, call, count=, nbytes=, bandwidth=)."""
    if isinstance(device, CpuDevice):
        return lambda name, call, **how: measure(name, call, device, **how)
    return CardClock(device).measure


def measure_frame(
    package: ModelPackage, device: Device, runtime: str, precision: str, *, count: int
) -> Iterator[Timing | Check]:
    """The whole frame as one graph, and without; where it cannot be one, why. With torch also one operator
    after the other. Then each stage, waited for at its end. Raises FusionError."""
    name = f"frame, {runtime} {precision}"
    frame = WholeFrame(load(package, device, runtime, precision))
    for _ in range(2):
        frame()
    why = frame.why_no_graph
    if why:
        yield Check(name=f"{name}, graph", state="absent", detail=why)
    else:
        yield measure(f"{name}, graph", frame, device, count=count)
    plain = load(package, device, runtime, precision, record=False)
    yield measure(f"{name}, no graph", WholeFrame(plain), device, count=count)
    if runtime == "torch-cuda":
        for engine in plain.engines:
            engine.replay = False  # type: ignore[attr-defined]
        yield measure(f"{name}, eager", WholeFrame(plain), device, count=count)
    stages: dict[str, list[float]] = {}
    last = 0

    def lap(stage: str) -> None:
        nonlocal last
        device.synchronize()
        now = time.perf_counter_ns()
        stages.setdefault(stage, []).append((now - last) / 1e6)
        last = time.perf_counter_ns()

    frame = WholeFrame(load(package, device, runtime, precision, record=False, lap=lap))
    for k in range(count + 3):
        if k == 3:
            stages.clear()
        last = time.perf_counter_ns()
        frame()
    yield from (_timing(f"- {stage}", taken, 0, 0.0) for stage, taken in stages.items())


def measure_starts(architecture: str) -> tuple[list[Start], list[FunctionNeeds]]:
    """Compiling every kernel into an empty folder, and finding all of them there; and what each .cu function
    needs. It is the CPU that works, so these are figures of any machine. Raises DeviceError: no compiler."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        found = cubins.load(architecture, Path(folder))
        compiled = time.perf_counter()
        cubins.load(architecture, Path(folder))
        done = time.perf_counter()
    needs = {name: r for file in found.files.values() for name, r in file.resources.items()}
    what = f"{len(needs)} kernels in {len(found.files)} files for {architecture}, NVRTC {nvrtc.version()}"
    return [
        Start(name="compile from an empty cache", seconds=compiled - began, most=5.0, detail=what),
        Start(name="second start", seconds=done - compiled, most=1.0, detail="all of them found"),
    ], [
        FunctionNeeds(
            name=name,
            registers=r.registers,
            stack_bytes=r.stack_bytes,
            spill_bytes=r.spill_bytes,
            checks=(),
        )
        for name, r in sorted(needs.items())
    ]


def measure_parts(
    package: ModelPackage, device: Device, runtime: str, precision: str, *, count: int
) -> Iterator[Timing]:
    """Each network alone, on buffers of the device; torch also without its CUDA graph. Raises FusionError."""
    for part in PARTS:
        path, held = package.path(part, precision), package.held(part, precision)
        card: Any = None if isinstance(device, CpuDevice) else device
        engine = load_engine(path, runtime=runtime, precision=held, threads=2, device=card)
        yield measure(f"{part}, {runtime} {held}", engine.run, device, count=count)
        if runtime == "torch-cuda":
            engine.replay = False  # type: ignore[attr-defined]
            yield measure(f"{part}, {runtime} {held}, eager", engine.run, device, count=count)


def memory_bandwidth(device: Device, nbytes: int = 1 << 26) -> tuple[float, float]:
    """Bytes a second up to the device and back, by copies of 64 MiB."""
    host = np.ones(nbytes // 4, np.float32)  # zeros may share one page
    buffer = device.empty(host.shape, np.float32)
    up = measure("up", lambda: device.upload(host, buffer), device, count=10)
    down = measure("down", lambda: device.download(buffer, host), device, count=10)
    assert up.p50
    assert down.p50
    return nbytes / (up.p50 / 1e3), nbytes / (down.p50 / 1e3)


def _timing(name: str, taken: Sequence[float], nbytes: int, bandwidth: float) -> Timing:
    p50, p99, p999 = np.percentile(taken, [50, 99, 99.9]).tolist()
    least = nbytes / bandwidth * 1e3 if bandwidth and nbytes else None
    return Timing(name=name, count=len(taken), p50=p50, p99=p99, p999=p999, bytes=nbytes, least_ms=least)
