"""Where arrays live and kernels run: the one seam between the CPU and other machines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fusion_rt import engine
from fusion_rt.device.cpu import CpuDevice
from fusion_rt.device.protocol import Device

__all__ = ["CpuDevice", "Device", "available_devices", "load_engine"]


def available_devices() -> list[CpuDevice]:
    """The CPU, for tests and benchmarks of its kernels."""
    return [CpuDevice(threads=1), CpuDevice(threads=2)]


def load_engine(path: Path, *, device: Device, **wanted: Any) -> engine.Engine:
    """engine.load for a device. A runtime of the CPU also serves a card, with copies to and fro."""
    if wanted.get("runtime") in engine.CARD_RUNTIMES:
        card: Any = None if type(device) is CpuDevice else device
        return engine.load(path, device=card, **wanted)
    if isinstance(device, CpuDevice):
        return engine.load(path, threads=device.threads, **wanted)
    from fusion_rt.device.cuda import CudaDevice
    from fusion_rt.device.engines import HostedEngine

    assert isinstance(device, CudaDevice)
    return HostedEngine(engine.load(path, threads=device.threads, **wanted), device)
