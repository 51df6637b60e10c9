"""NVIDIA: which card, driver and packages are there, what fits what, and how to get what is missing.

Facts are gathered by `gather` and judged by `judge`, which reads nothing but them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from fusion_rt.device.nvidia import Card, Driver, ask_driver


class Finding(Struct, frozen=True):
    """One row: `state` is "ok", "absent" (optional, not there) or "wrong" (there, but does not work)."""

    part: str
    state: str
    detail: str
    remedy: str = ""


class Facts(Struct, frozen=True, kw_only=True):
    """What was found.

    packages    distribution -> version, of those that matter here
    torch_cuda  the CUDA that torch was built for; "" where for none
    jetson      the release of Jetson Linux, "R36 (release)", "" elsewhere
    container   whether we run in one
    device_file whether the kernel's module shows a card
    """

    driver: Driver
    packages: dict[str, str] = {}
    torch_cuda: str = ""
    jetson: str = ""
    container: bool = False
    device_file: bool = False


_PACKAGES = (
    *("tensorrt-cu13", "tensorrt-cu12", "tensorrt", "tensorrt-rtx-cu13", "tensorrt-rtx-cu12", "torch"),
    *("onnxruntime-gpu", "onnxruntime", "pycuda", "cuda-bindings", "nvidia-cuda-nvrtc"),
)
# The architectures that TensorRT-RTX has code for; TensorRT has it for all from sm_75 on.
_RTX = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_120", "sm_121")
_OLDEST = 75
_NEW_DRIVER = "https://www.nvidia.com/drivers (release 580 or newer), then restart"


def gather() -> Facts:
    """Of this machine. Changes nothing, imports none of the packages."""
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    release = Path("/etc/nv_tegra_release")
    return Facts(
        driver=ask_driver(),
        packages=packages,
        torch_cuda=_torch_cuda(),
        jetson=release.read_text(encoding="utf-8").split(",")[0].strip("# ") if release.is_file() else "",
        container=Path("/.dockerenv").exists() or Path("/run/.containerenv").exists(),
        device_file=Path("/dev/nvidiactl").exists() or Path("/proc/driver/nvidia/version").exists(),
    )


def judge(facts: Facts) -> list[Finding]:
    """Rows for people, the driver first and what will serve last."""
    rows = [_driver(facts)]
    cards = facts.driver.cards
    if not cards:
        return rows
    rows += [_card(i, card) for i, card in enumerate(cards)]
    first = cards[0]
    if _number(first) < _OLDEST:
        return rows
    rows += [
        _kernels(facts),
        _tensorrt(facts),
        _tensorrt_rtx(facts, first),
        _torch(facts),
        _onnxruntime(facts),
    ]
    ready = [row.part for row in rows[-4:] if row.state == "ok"]
    if rows[1 + len(cards)].state != "ok":
        serves = Finding("engine", "absent", "OpenVINO on the CPU, until the CUDA kernels run", "see above")
    elif ready:
        serves = Finding("engine", "ok", f"auto takes the first that works: {', '.join(ready)}, OpenVINO")
    else:
        serves = Finding(
            "engine", "absent", "OpenVINO on the CPU: no engine for the card is installed", "see above"
        )
    return [*rows, serves]


def _driver(facts: Facts) -> Finding:
    driver, part = facts.driver, "NVIDIA driver"
    if not driver.loaded:
        if not (facts.device_file or driver.error):
            return Finding(
                part, "absent", "no libcuda.so.1: the pipeline runs on the CPU", f"with a card: {_NEW_DRIVER}"
            )
        remedy = f"reinstall the driver: {_NEW_DRIVER}"
        if facts.container:
            remedy = "start the container with `--gpus all` (needs the NVIDIA Container Toolkit on the host)"
        elif facts.jetson:
            remedy = "sudo apt install nvidia-l4t-cuda"
        return Finding(part, "wrong", "there is a card, but no libcuda.so.1", remedy)
    if driver.error and not driver.cards:
        return Finding(part, "wrong", driver.error, _why(driver.error, facts))
    detail = f"runs CUDA {driver.cuda}, {len(driver.cards)} card{'s' if len(driver.cards) > 1 else ''}"
    if facts.jetson:
        detail += f", Jetson Linux {facts.jetson}"
    if _version(driver.cuda) < (12, 0):
        return Finding(part, "wrong", f"{detail}: too old, CUDA 12 or newer is wanted", _NEW_DRIVER)
    if _version(driver.cuda) < (13, 0):
        return Finding(part, "ok", f"{detail}: packages for CUDA 12 fit, those for 13 do not", _NEW_DRIVER)
    return Finding(part, "ok", detail)


def _why(error: str, facts: Facts) -> str:
    """By the numbers of cuda.h."""
    number = int(m.group(1)) if (m := re.search(r"\((\d+)\)", error)) else 0
    return {
        100: "no card that CUDA can use is visible: is $CUDA_VISIBLE_DEVICES empty? nvidia-smi",
        802: "the NVLink fabric is not up: systemctl status nvidia-fabricmanager",
        803: "the library and the kernel module are of different releases: restart the machine",
        804: "remove the cuda-compat package: it is for data-centre cards only",
        999: "the module does not answer: nvidia-smi, then restart the machine",
    }.get(number, "is the driver loaded? nvidia-smi" + ("; --gpus all" if facts.container else ""))


def _card(i: int, card: Card) -> Finding:
    memory = f"{card.memory_bytes / 2**30:.0f} GiB{' shared with the CPU' if card.integrated else ''}"
    detail = f"{card.name}, {card.architecture}, {memory}"
    if card.bandwidth_gb_s:
        detail += f", {card.bandwidth_gb_s:.0f} GB/s"
    if _number(card) < _OLDEST:
        return Finding(
            f"card {i}", "absent", f"{detail}: too old, the pipeline runs on the CPU", "sm_75 or newer"
        )
    return Finding(f"card {i}", "ok", detail + (" (in use)" if i == 0 else " (not used)"))


def _kernels(facts: Facts) -> Finding:
    part, packages = "CUDA kernels", facts.packages
    by = [f"{name} {packages[name]}" for name in ("pycuda", "cuda-bindings") if name in packages]
    if not by:
        return Finding(part, "absent", "no launcher", "pip install 'fusion-rt[cuda]'")
    if "nvidia-cuda-nvrtc" not in packages:
        detail = f"{', '.join(by)}; no compiler: only kernels that were compiled before run"
        return Finding(part, "absent", detail, "pip install 'fusion-rt[cuda]'")
    compiler = packages["nvidia-cuda-nvrtc"]
    if _version(compiler)[0] > _version(facts.driver.cuda)[0]:
        detail = f"NVRTC {compiler}: its code does not load on a driver of CUDA {facts.driver.cuda}"
        return Finding(part, "wrong", detail, _NEW_DRIVER)
    return Finding(part, "ok", f"{', '.join(by)}, compiled by NVRTC {compiler}")


def _tensorrt(facts: Facts) -> Finding:
    part, packages = "tensorrt", facts.packages
    major = min(_version(facts.driver.cuda)[0], 13)
    install = f"pip install tensorrt-cu{major}"
    if facts.jetson:
        install = "sudo apt install python3-libnvinfer, and a venv with --system-site-packages"
    elif major == 13:
        install = "pip install 'fusion-rt[tensorrt]'"
    for cuda in (13, 12):
        version = packages.get(f"tensorrt-cu{cuda}")
        if version is None:
            continue
        if cuda > major:
            detail = f"tensorrt-cu{cuda} {version} does not run on a driver of CUDA {facts.driver.cuda}"
            return Finding(part, "wrong", detail, f"pip uninstall tensorrt-cu{cuda}; {install}")
        return Finding(part, "ok", f"{version} for CUDA {cuda}")
    if "tensorrt" in packages:  # the system's, or the package that chooses by itself
        return Finding(part, "ok", packages["tensorrt"])
    return Finding(part, "absent", "the fastest engine", install)


def _tensorrt_rtx(facts: Facts, card: Card) -> Finding:
    part = "tensorrt-rtx"
    version = facts.packages.get("tensorrt-rtx-cu13") or facts.packages.get("tensorrt-rtx-cu12")
    if card.architecture not in _RTX:
        return Finding(part, "absent", f"has no {card.architecture}: TensorRT or torch serve this card")
    if version is None:
        return Finding(part, "absent", "for GeForce and RTX cards; smaller than TensorRT",
                       "pip install 'fusion-rt[tensorrt-rtx]'")  # fmt: skip
    if "tensorrt-rtx-cu13" in facts.packages and _version(facts.driver.cuda) < (13, 0):
        detail = f"{version} for CUDA 13 does not run on a driver of CUDA {facts.driver.cuda}"
        return Finding(part, "wrong", detail, _NEW_DRIVER)
    return Finding(part, "ok", version)


def _torch(facts: Facts) -> Finding:
    part, version = "torch-cuda", facts.packages.get("torch")
    install = "pip install 'fusion-rt[torch-cuda]'"
    if facts.jetson:
        install = "NVIDIA's wheel for this JetPack: docs/nvidia.md"
    if version is None:
        return Finding(part, "absent", "torch in a CUDA graph", install)
    if not facts.torch_cuda:
        return Finding(
            part, "absent", f"torch {version} was built without CUDA", f"pip uninstall torch; {install}"
        )
    if _version(facts.torch_cuda)[0] > _version(facts.driver.cuda)[0]:
        detail = f"torch {version} is for CUDA {facts.torch_cuda}, the driver runs {facts.driver.cuda}"
        return Finding(part, "wrong", detail, "https://pytorch.org/get-started, for the driver's CUDA")
    return Finding(part, "ok", f"torch {version} for CUDA {facts.torch_cuda}")


def _onnxruntime(facts: Facts) -> Finding:
    part, version = "onnxruntime-cuda", facts.packages.get("onnxruntime-gpu")
    if version is None:
        both = "pip uninstall onnxruntime; " if "onnxruntime" in facts.packages else ""
        return Finding(part, "absent", "the last engine for the card", f"{both}pip install onnxruntime-gpu")
    if "onnxruntime" in facts.packages:
        detail = f"{version}, but onnxruntime {facts.packages['onnxruntime']} for CPUs has the same files"
        remedy = "pip uninstall onnxruntime onnxruntime-gpu; pip install onnxruntime-gpu"
        return Finding(part, "wrong", detail, remedy)
    return Finding(part, "ok", version)


def _torch_cuda() -> str:
    """From torch's own file: to import it takes seconds."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return ""
    try:
        text = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(r"^cuda.*=\s*'([\d.]+)'", text, re.MULTILINE)
    return found.group(1) if found else ""


def _version(text: str) -> tuple[int, int]:
    numbers = [int(n) for n in re.findall(r"\d+", text)[:2]]
    return (numbers[0] if numbers else 0, numbers[1] if len(numbers) > 1 else 0)


def _number(card: Card) -> int:
    return int(card.architecture.removeprefix("sm_"))


def examine() -> Iterator[Finding]:
    """The rows for this machine."""
    yield from judge(gather())
