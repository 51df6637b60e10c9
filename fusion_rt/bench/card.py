"""A device on trial: its kernels against the CPU's, its engines against OpenVINO, the same bits each time,
and how long each stage takes beside the least that its memory allows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct

from fusion_rt.device import CpuDevice, Device
from fusion_rt.engine import CARD_RUNTIMES, RUNTIMES
from fusion_rt.engine import load as load_engine
from fusion_rt.errors import FusionError
from fusion_rt.images import decode_image, network_intrinsics
from fusion_rt.models.package import PARTS, ModelPackage
from fusion_rt.parity import Frame, bundled_frames, self_test
from fusion_rt.perception import Perception
from fusion_rt.percepts import Motion, Perceived, Sweep, View
from fusion_rt.rig import Rig
from fusion_rt.transforms import Array

POINTS = 120_000
RUNS = 100  # that must give the same bits
_STANDING = np.eye(2, 3, dtype=np.float32)


class Timing(Struct, frozen=True, kw_only=True):
    """Milliseconds over `count` runs, each waited for. least_ms: what memory alone would take; 0: unknown."""

    name: str
    count: int
    p50: float
    p99: float
    p999: float
    bytes: int = 0
    least_ms: float = 0.0


class Check(Struct, frozen=True, kw_only=True):
    """state: "ok", "wrong", or "absent" where there was nothing to check."""

    name: str
    state: str
    detail: str


class KernelCase(NamedTuple):
    """One call of a kernel: its inputs in the order of its arguments, `written` of them outputs, which come
    last; keywords; and the bytes that it must read and write at least."""

    name: str
    arguments: tuple[Any, ...]
    written: int
    keywords: dict[str, Any]
    bytes: int


def kernel_cases(package: ModelPackage, rig: Rig, frame: Frame) -> Iterator[KernelCase]:
    """Each kernel that works on images, points or canvases, on a frame of `POINTS` points."""
    spec, rng = package.spec, np.random.default_rng(0)
    camera, pixels = next(iter(rig.cameras.values())), decode_image(frame.image)
    K = network_intrinsics(camera, spec.image.width, spec.image.height)
    planes = np.zeros((3, spec.image.height, spec.image.width), np.float32)
    how = {"bgr": True, "mean": spec.image.mean, "std": spec.image.std}
    yield _case("image", (pixels, planes, camera.intrinsics, camera.distortion, K), (0, 1), how, written=(1,))

    T = next(iter(rig.lidars.values())).T_ego_lidar
    xyz, intensity, t = dense(frame)
    knots_t, knots_T = np.array([-0.05, 0.05], np.float32), np.stack([T[:3], T[:3]]).astype(np.float32)
    knots_T[1, 0, 3] += 1.0  # a metre on the way
    moved = np.zeros_like(xyz)
    yield _case("deskew", (xyz, t, knots_t, knots_T, moved), (0, 1, 4), written=(4,))

    ego = (xyz @ T[:3, :3].T + T[:3, 3]).astype(np.float32)
    W, b = package.pillars
    canvas = np.zeros((spec.grid.ny, spec.grid.nx, W.shape[1] + 1), np.float32)
    arguments = (ego, intensity, W, b, spec.grid, spec.z_min, spec.z_max, canvas)
    yield _case("pillars", arguments, (0, 1, 7), written=(7,))

    (shape,) = package.spec.tensors["camera"].outputs.values()
    features = rng.random(shape, dtype=np.float32)
    at = np.diag([1 / spec.image.stride, 1 / spec.image.stride, 1.0]) @ K
    P = (at @ camera.T_camera_ego[:3]).astype(np.float32)[None]
    lifted = np.zeros((spec.head.ny, spec.head.nx, shape[-1]), np.float32)
    depth = np.zeros((spec.head.ny, spec.head.nx), np.float32)
    yield _case("lift", (features, P, spec.head, spec.z_levels, lifted, depth), (0, 4, 5), written=(4, 5))

    state = rng.random(package.spec.tensors["bev"].inputs["state"][1:], dtype=np.float32)
    turn = np.array([[0.999, -0.04, 1.0], [0.04, 0.999, 0.2]], np.float32)
    yield _case("bev_warp", (state, turn, spec.head, np.zeros_like(state)), (0, 3), written=(3,))


def _case(
    name: str,
    arguments: tuple[Any, ...],
    large: Sequence[int],
    keywords: dict[str, Any] | None = None,
    *,
    written: Sequence[int],
) -> KernelCase:
    """large: which arguments live on the device."""
    moved = sum(arguments[i].nbytes for i in large)
    marked = tuple(_Large(a, i in written) if i in large else a for i, a in enumerate(arguments))
    return KernelCase(name, marked, len(written), keywords or {}, moved)


class _Large(NamedTuple):
    array: Array
    written: bool


class BoundKernel:
    """A case on a device: its arrays are there."""

    def __init__(self, device: Device, case: KernelCase) -> None:
        self._kernel, self._device, self._keywords = device.kernel(case.name), device, case.keywords
        self._arguments, self._outputs = [], []
        for argument in case.arguments:
            if isinstance(argument, _Large):
                buffer = device.empty(argument.array.shape, argument.array.dtype)
                if argument.written:
                    self._outputs.append((buffer, argument.array))
                else:
                    device.upload(argument.array, buffer)
                argument = buffer
            self._arguments.append(argument)

    def __call__(self) -> None:
        self._kernel(*self._arguments, **self._keywords)

    def outputs(self) -> list[Array]:
        """On the host."""
        out = []
        for buffer, like in self._outputs:
            array = np.empty_like(like)
            self._device.download(buffer, array)
            out.append(array)
        return out


def check_kernel(device: Device, case: KernelCase, runs: int = RUNS) -> list[Check]:
    """The device's bits against those of one thread of the CPU, and against its own again and again."""
    ours, reference = BoundKernel(device, case), BoundKernel(CpuDevice(1), case)
    ours()
    reference()
    pairs = list(zip(ours.outputs(), reference.outputs(), strict=True))
    same = all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)
    off = max(float(np.nanmax(np.abs(a.astype(np.float64) - b), initial=0.0)) for a, b in pairs)
    detail = "the CPU's bits" if same else f"off by {off:.3g}"
    first, again = ours.outputs(), 0
    for _ in range(runs):
        ours()
        again += all(np.array_equal(a, b, equal_nan=True) for a, b in zip(first, ours.outputs()))
    name = f"kernel {case.name}"
    return [
        Check(name=name, state="ok" if same else "wrong", detail=detail),
        Check(
            name=f"{name}, again",
            state="ok" if again == runs else "wrong",
            detail=f"{again} of {runs} the same bits",
        ),
    ]


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
        self.upload_bytes = self._pixels.nbytes + xyz.nbytes + intensity.nbytes + t.nbytes

    def __call__(self) -> Perceived:
        """Encode, lift, fuse, decode: upload included, the JPEG's decoding not."""
        seen = self._perception.encode(self._pixels, self._camera, bgr=True)
        motion = Motion(known=True, T_prev_now=_STANDING, since_prev_s=0.1)
        return self._perception.detect([self._sweep], [View(seen, self._camera.T_camera_ego)], motion)

    def answer(self) -> Perceived:
        """The same without memory, which makes answers differ."""
        seen = self._perception.encode(self._pixels, self._camera, bgr=True)
        return self._perception.detect([self._sweep], [View(seen, self._camera.T_camera_ego)], Motion())


def dense(frame: Frame) -> tuple[Array, Array, Array]:
    """A sweep of `POINTS` points: those of the frame, again and again, each a little aside."""
    rng, cloud = np.random.default_rng(0), frame.cloud
    rows = np.arange(POINTS) % len(cloud.xyz)
    xyz = (cloud.xyz[rows] + rng.normal(0, 0.02, (POINTS, 3))).astype(np.float32)
    return xyz, np.ascontiguousarray(cloud.intensity[rows]), np.ascontiguousarray(cloud.t[rows])


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


def measure_frame(
    package: ModelPackage, device: Device, runtime: str, precision: str, *, count: int
) -> list[Timing]:
    """The whole, and then each stage of it, waited for at its end. Raises FusionError."""
    whole = measure(
        f"frame, {runtime} {precision}",
        WholeFrame(load(package, device, runtime, precision)),
        device,
        count=count,
    )
    stages: dict[str, list[float]] = {}
    last = 0

    def lap(stage: str) -> None:
        nonlocal last
        device.synchronize()
        now = time.perf_counter_ns()
        stages.setdefault(stage, []).append((now - last) / 1e6)
        last = time.perf_counter_ns()

    frame = WholeFrame(load(package, device, runtime, precision, lap=lap))
    for k in range(count + 3):
        if k == 3:
            stages.clear()
        last = time.perf_counter_ns()
        frame()
    return [whole, *(_timing(f"- {stage}", taken, 0, 0.0) for stage, taken in stages.items())]


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
            from fusion_rt.engine.torch_cuda import TorchCudaEngine

            eager = TorchCudaEngine(path, held, card, graph=False)
            yield measure(f"{part}, {runtime} {held}, no graph", eager.run, device, count=count)


def memory_bandwidth(device: Device, nbytes: int = 1 << 26) -> tuple[float, float]:
    """Bytes a second up to the device and back, by copies of 64 MiB."""
    host = np.ones(nbytes // 4, np.float32)  # zeros may share one page
    buffer = device.empty(host.shape, np.float32)
    up = measure("up", lambda: device.upload(host, buffer), device, count=10)
    down = measure("down", lambda: device.download(buffer, host), device, count=10)
    return nbytes / (up.p50 / 1e3), nbytes / (down.p50 / 1e3)


def _timing(name: str, taken: Sequence[float], nbytes: int, bandwidth: float) -> Timing:
    p50, p99, p999 = np.percentile(taken, [50, 99, 99.9]).tolist()
    least = nbytes / bandwidth * 1e3 if bandwidth else 0.0
    return Timing(name=name, count=len(taken), p50=p50, p99=p99, p999=p999, bytes=nbytes, least_ms=least)
