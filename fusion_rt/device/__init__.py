"""Where arrays live and kernels run: the one seam between the CPU and other machines."""

from fusion_rt.device.cpu import CpuDevice
from fusion_rt.device.protocol import Device

__all__ = ["CpuDevice", "Device", "available_devices"]


def available_devices() -> list[Device]:
    """Every device of this machine, for tests and benchmarks."""
    return [CpuDevice(threads=1), CpuDevice(threads=2)]
