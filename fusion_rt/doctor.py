"""What this machine can run, what is missing, and how to get it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from fusion_rt import doctor_nvidia
from fusion_rt.doctor_nvidia import Finding
from fusion_rt.errors import FusionError

# distribution -> (what it gives, the extra that installs it; "" = always installed)
_PACKAGES = {
    "numpy": ("arrays", ""),
    "opencv-python": ("image decoding, cameras", ""),
    "pyzmq": ("the bus", ""),
    "mcap": ("recordings", ""),
    "openvino": ("inference on the CPU (default)", ""),
    "onnxruntime": ("inference on the CPU (fallback)", "onnxruntime"),
    "embreex": ("simulator", "sim"),
    "torch": ("training, reference engine", "train"),
    "matplotlib": ("plots of benchmarks", "bench"),
    "kiss-icp": ("lidar odometry: --odometry", "odometry"),
    "paho-mqtt": ("the nodes mqtt and household", "mqtt"),
    "pyserial": ("a home's radars: the node radar", "home"),
    "eclipse-zenoh": ("the node zenoh", "zenoh"),
    "rosbags": ("ROS bags: import, convert", "ros"),
    "pypcd4": ("PCD files: import, convert", "pcd"),
    "dpkt": ("packet captures: import ouster", "pcap"),
    "av": ("H.264 in recordings and between hosts", "video"),
    "foxglove-sdk": ("live viewers: the node foxglove", "foxglove"),
    "ray": ("many logs at once: --workers, --address", "batch"),
}


def examine() -> list[Finding]:
    """Every finding, in a fixed order. Reads the machine, changes nothing."""
    return [*_machine(), *_packages(), _kernels(), _model(), *doctor_nvidia.examine()]


def _machine() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = psutil.virtual_memory()
    yield Finding(
        "machine",
        "ok",
        f"{platform.system()} {platform.machine()}, {cores} cores, {memory.total / 2**30:.0f} GiB"
        f" ({memory.available / 2**30:.0f} free)",
    )
    supported = (3, 10) <= sys.version_info[:2] <= (3, 13)
    yield Finding(
        "python",
        "ok" if supported else "wrong",
        platform.python_version(),
        "" if supported else "use Python 3.10 to 3.13",
    )
    shared = Path("/dev/shm")
    if shared.is_dir() and os.access(shared, os.W_OK):
        free = shutil.disk_usage(shared).free
        enough = free > 256 << 20
        yield Finding(
            "shared memory",
            "ok" if enough else "wrong",
            f"{free / 2**20:.0f} MiB free at {shared}",
            "" if enough else "the bus needs 256 MiB; in a container: --shm-size=1g",
        )
    else:
        yield Finding("shared memory", "wrong", f"{shared} is not writable", "the bus keeps its rings there")


def _packages() -> Iterator[Finding]:
    for name, (purpose, extra) in _PACKAGES.items():
        try:
            yield Finding(name, "ok", f"{importlib.metadata.version(name)}: {purpose}")
        except importlib.metadata.PackageNotFoundError:
            target = f"fusion-rt[{extra}]" if extra else "fusion-rt"
            state = "absent" if extra else "wrong"
            yield Finding(name, state, purpose, f"pip install '{target}'")


def _kernels() -> Finding:
    from fusion_rt.device import CpuDevice

    try:
        device = CpuDevice()
        return Finding("CPU kernels", "ok", str(device))
    except (FusionError, OSError) as error:
        return Finding(
            "CPU kernels", "wrong", str(error), "reinstall: pip install --force-reinstall fusion-rt"
        )


def _model() -> Finding:
    from fusion_rt.models.package import ModelPackage

    try:
        package = ModelPackage.load("driving-s")
        return Finding("model driving-s", "ok", package.identity)
    except FusionError as error:
        return Finding("model driving-s", "wrong", str(error), "fusion-rt train, then fusion-rt export")
