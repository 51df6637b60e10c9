"""DLA, the accelerator beside the GPU of some Jetsons: TensorRT puts there what DLA can take, and leaves the
rest to the GPU. Nothing of it has run on a Jetson yet.

Which releases have it: https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/work-dla.html
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from fusion_rt.errors import EngineError

CORES = {"tensorrt-dla0": 0, "tensorrt-dla1": 1}
_WHERE = (
    "DLA is in Jetson AGX Orin and Orin NX, for TensorRT up to 10.7 and from 11.4.1 (JetPack 7.2.2) on;"
    " use `runtime: tensorrt`"
)


def check_core(trt: ModuleType, builder: Any, core: int) -> None:
    """Raises EngineError where this machine has no such core."""
    cores = builder.num_DLA_cores
    if core >= cores:
        found = f"no DLA core {core}, but {cores}" if cores else "no DLA"
        raise EngineError(f"TensorRT {trt.__version__} sees {found} here; {_WHERE}")


def use_core(trt: ModuleType, builder: Any, config: Any, *, core: int, precision: str) -> None:
    """Raises EngineError: this machine has no such core, or it cannot compute so."""
    if precision not in ("f16", "int8"):
        raise EngineError(f"DLA computes in f16 and int8, not in {precision}; ask for one of them")
    check_core(trt, builder, core)
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)


def run_on_core(runtime: Any, core: int) -> None:
    """Where engines that this runtime loads will run."""
    runtime.DLA_core = core
