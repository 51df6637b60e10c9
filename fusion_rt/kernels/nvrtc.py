"""The .cu files compiled for a GPU by NVRTC: no toolkit, no driver and no GPU are needed, only two wheels."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from fusion_rt.errors import DeviceError

# What the CPU build does: every product and sum rounded by itself, so that both give the same bits.
OPTIONS = ("--std=c++17", "--fmad=false", "--prec-div=true", "--prec-sqrt=true", "--ftz=false")
ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_87", "sm_89", "sm_90", "sm_100", "sm_120")  # held to compile
INSTALL = "pip install 'fusion-rt[cuda]'"

_ENTRY = re.compile(r"Compiling entry function '(\w+)'")
_SPILL = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers")


class Resources(Struct, frozen=True):
    """What one thread of a kernel needs: registers, bytes of stack, and bytes of registers that did not
    fit."""

    registers: int
    stack_bytes: int
    spill_bytes: int


class Compiled(Struct, frozen=True):
    """One .cu file for one architecture."""

    cubin: bytes
    resources: dict[str, Resources]  # by kernel


@functools.cache
def _nvrtc() -> Any:
    """The binding. Raises DeviceError where it, or the compiler itself, is not installed."""
    try:
        from cuda.bindings import nvrtc

        nvrtc.nvrtcVersion()  # loads the library
    except (ImportError, RuntimeError, OSError) as error:
        raise DeviceError(
            f"NVRTC, the compiler of the GPU's kernels, is missing: {error}; {INSTALL}"
        ) from error
    return nvrtc


def version() -> str:
    """ "13.0". Raises DeviceError where it is not installed."""
    nvrtc = _nvrtc()
    _, major, minor = nvrtc.nvrtcVersion()
    return f"{major}.{minor}"


def compile_file(name: str, architecture: str, texts: Mapping[str, str]) -> Compiled:
    """The file `name` of `texts`, which also holds the headers, for "sm_90" or the like.

    Raises DeviceError where NVRTC is missing, does not know the architecture, or finds an error."""
    nvrtc = _nvrtc()
    known = [f"sm_{n}" for n in nvrtc.nvrtcGetSupportedArchs()[1]]
    if architecture not in known:
        raise DeviceError(
            f"NVRTC {version()} does not compile for {architecture!r}, only for {', '.join(known)}"
        )
    headers = {header: text for header, text in texts.items() if header.endswith(".h")}
    status, program = nvrtc.nvrtcCreateProgram(
        texts[name].encode(),
        name.encode(),
        len(headers),
        [text.encode() for text in headers.values()],
        [header.encode() for header in headers],
    )
    _check(nvrtc, status, name)
    try:
        options = [o.encode() for o in (f"--gpu-architecture={architecture}", *OPTIONS, "--ptxas-options=-v")]
        (status,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
        log = _text(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program).decode(errors="replace")
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            raise DeviceError(f"{name} does not compile for {architecture} ({status.name}):\n{log.strip()}")
        cubin = _text(nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN, program)
    finally:
        nvrtc.nvrtcDestroyProgram(program)
    return Compiled(cubin, _resources(log))


def _text(size: Any, get: Any, program: Any) -> bytes:
    _, n = size(program)
    out = bytearray(n)
    get(program, out)
    return bytes(out)


def _check(nvrtc: Any, status: Any, name: str) -> None:
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise DeviceError(f"{name}: NVRTC refuses it: {status.name}")


def _resources(log: str) -> dict[str, Resources]:
    """From what ptxas prints of each kernel."""
    _, *parts = _ENTRY.split(log)  # name, text, name, text, ...
    found = {}
    for name, text in zip(parts[::2], parts[1::2]):
        spill, used = _SPILL.search(text), _USED.search(text)
        if spill is None or used is None:
            raise DeviceError(f"NVRTC {version()} says nothing of {name}'s registers:\n{text.strip()}")
        stack, stores, loads = (int(n) for n in spill.groups())
        found[name] = Resources(int(used[1]), stack, stores + loads)
    return found
