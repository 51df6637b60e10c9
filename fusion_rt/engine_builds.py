"""Engines are built ahead, or by another process while the pipeline already works.

Another process, because TensorRT's builder takes memory and minutes, and may even crash: the stream goes on.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable
from typing import IO

from fusion_rt.engine.cache import EngineCache
from fusion_rt.engine.tensorrt import engine_key, find_or_build
from fusion_rt.engine.tensorrt_build import MODULES, Log, load_module
from fusion_rt.engine.tensorrt_dla import CORES, check_core
from fusion_rt.errors import EngineError
from fusion_rt.models.package import PARTS, ModelPackage

Told = Callable[[float, str], None]  # the fraction that is done, and of what


def build_engines(
    package: ModelPackage,
    *,
    runtime: str,
    precision: str,
    gpu: str,
    architecture: str,
    here: bool,
    cache: EngineCache,
    told: Told = lambda fraction, what: None,
) -> dict[str, int]:
    """Those of a package that the cache lacks: part -> bytes of its engine.

    here: for the GPU of this machine. Raises EngineError, ConfigError where the package has no such
    precision."""
    trt = load_module(runtime)
    sizes = {}
    for k, part in enumerate(PARTS):
        path, inputs = package.path(part, precision), package.spec.tensors[part].inputs

        def progress(phase: str, step: int, steps: int, k: int = k, name: str = path.stem) -> None:
            told((k + step / max(steps, 1)) / len(PARTS), f"{name}: {phase}")

        held = package.held(part, precision)
        key = engine_key(trt, runtime, path, held, inputs, gpu=gpu, architecture=architecture)
        sizes[part] = len(find_or_build(trt, path, key, cache, progress=progress, here=here))
    told(1.0, "done")
    return sizes


def are_built(
    package: ModelPackage, *, runtime: str, precision: str, gpu: str, architecture: str, cache: EngineCache
) -> bool:
    """Whether nothing is left to build. Raises EngineError where TensorRT, or its DLA core, is not there."""
    if runtime not in MODULES:
        return True
    trt = load_module(runtime)
    if runtime in CORES:  # said at once, not by a build that fails
        check_core(trt, trt.Builder(Log(trt).logger), CORES[runtime])
    return all(
        cache.get(
            engine_key(
                trt,
                runtime,
                package.path(part, precision),
                package.held(part, precision),
                package.spec.tensors[part].inputs,
                gpu=gpu,
                architecture=architecture,
            )
        )
        is not None
        for part in PARTS
    )


class BackgroundBuild:
    """`fusion-rt build` in a process of its own. Polling it costs a system call or two."""

    def __init__(self, package: ModelPackage, runtime: str, precision: str) -> None:
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(
            self.command(package, runtime, precision),
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=subprocess.STDOUT,
        )
        self._end = weakref.finalize(self, _stop, self._process, self._said)

    @staticmethod
    def command(package: ModelPackage, runtime: str, precision: str) -> list[str]:
        return [
            *(sys.executable, "-c", "from fusion_rt.cli import main; main()", "build"),
            *("--model", str(package.folder), "--runtime", runtime, "--precision", precision),
        ]

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def progress(self) -> str:
        """The last line that it said."""
        size = os.fstat(self._said.fileno()).st_size
        tail = os.pread(self._said.fileno(), 4096, max(size - 4096, 0)).decode(errors="replace")
        lines = tail.split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def wait(self) -> None:
        """Until it is done. Raises EngineError, with its last words, where it failed."""
        code = self._process.wait()
        if code:
            raise EngineError(f"building failed ({code}): {self.progress or 'without a word'}")

    def stop(self) -> None:
        """End it, if it still runs; so does whoever forgets it."""
        self._end()


def _stop(process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    said.close()
