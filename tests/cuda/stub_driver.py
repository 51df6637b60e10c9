"""The driver without a card, libcuda.cpp, as a library: for the tests and for `gpu_check.py --cpu-only`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import fusion_rt

HERE = Path(__file__).parent
KERNELS = Path(fusion_rt.__file__).parent / "kernels"


def build(folder: Path, *options: str) -> Path | None:
    """libcuda.so.1 in that folder, by g++ with these options; None where there is no g++. A process that
    loads it has it in the place of the machine's driver, for good."""
    compiler = shutil.which("g++")
    if compiler is None:
        return None
    out = folder / "libcuda.so.1"
    flags = ["-std=c++17", "-O2", "-ffp-contract=off", "-fno-math-errno", "-fPIC", "-shared", "-w"]
    flags += ["-fvisibility=hidden", f"-I{KERNELS}", "-Wl,-soname,libcuda.so.1", *options]
    subprocess.run([compiler, *flags, str(HERE / "libcuda.cpp"), "-o", str(out), "-ldl"], check=True)
    return out
