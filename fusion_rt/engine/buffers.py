"""What every engine does the same way: make buffers, name itself, refuse what is not finite."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusion_rt.errors import EngineError

Buffers = Mapping[str, NDArray[Any]]


def make_buffers(path: Path, shapes: Sequence[tuple[str, Sequence[int | None]]]) -> Buffers:
    """Zeroed float32 arrays, in order. Raises EngineError for a shape that is not fixed."""
    out: dict[str, NDArray[Any]] = {}
    for name, shape in shapes:
        if not all(isinstance(n, int) and n > 0 for n in shape):
            raise EngineError(f"{path}: {name} has shape {tuple(shape)}; export the model with fixed shapes")
        out[name] = np.zeros(tuple(n for n in shape if n is not None), np.float32)
    return MappingProxyType(out)


def identity(runtime: str, version: str, precision: str, path: Path) -> str:
    return f"{runtime}-{version}-{precision}-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"


def check_precision(path: Path, precision: str, *, quantised: bool, half: bool) -> None:
    """Raises EngineError where the file is not of the precision that was asked for."""
    found = "int8" if quantised else "f16" if half else "f32"
    if precision not in ("int8", "f16", "f32"):
        raise EngineError(f"precision {precision!r} is not one of int8, f16, f32")
    if precision != found:
        raise EngineError(f"{path}: holds {found} layers, {precision} was asked for; give the matching file")


def check_finite(path: Path, outputs: Buffers) -> None:
    """Raises EngineError where an output holds NaN or infinity: one such value makes the sum of squares so,
    and that is numpy's fastest pass over an array."""
    for name, array in outputs.items():
        with np.errstate(over="ignore", invalid="ignore"):  # large values may overflow the sum alone
            total = np.vdot(array, array)
        if not math.isfinite(total):
            bad = int(np.count_nonzero(~np.isfinite(array)))
            if bad:
                raise EngineError(
                    f"{path}: {bad} of {array.size} values of {name} are not finite; were the inputs?"
                )
