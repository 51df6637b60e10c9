"""What the kernels' own text says of them: which there are, and what each takes."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from msgspec import Struct

FOLDER = Path(__file__).parent
_KERNEL = re.compile(r"FRT_KERNEL\((\w+)\)\s*\(([^)]*)\)")
_PARAMETER = re.compile(r"(const )?([\w ]+?)(\*?) ?(\w+)")
_POINTED = {"float": np.float32, "int": np.int32, "unsigned char": np.uint8}


class Parameter(Struct, frozen=True):
    """One parameter: `kind` is "pointer", "int", "float", or the name of a structure that is passed by value.
    Of a pointer, `dtype` is what lies there ("" where that is a structure's matter), and whether it is
    `written`."""

    name: str
    kind: str
    dtype: str = ""
    written: bool = False


def texts() -> dict[str, str]:
    """File name -> text: the .cu files and the headers that they share."""
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.cu"))} | {
        name: (FOLDER / name).read_text(encoding="utf-8") for name in ("frt.h", "grouped.h")
    }


@functools.cache
def kernels() -> Mapping[str, tuple[Parameter, ...]]:
    """Kernel -> its parameters, in order."""
    found = {}
    for file, text in texts().items():
        if file.endswith(".cu"):
            for name, parameters in _KERNEL.findall(re.sub(r"//[^\n]*", "", text)):
                found[name] = tuple(_parameter(p) for p in parameters.split(","))
    return found


def _parameter(text: str) -> Parameter:
    matched = _PARAMETER.fullmatch(" ".join(text.split()))
    assert matched is not None, f"not a parameter: {text!r}"
    const, kind, star, name = matched.groups()
    if not star:
        return Parameter(name, kind)
    dtype = np.dtype(_POINTED[kind]).name if kind in _POINTED else ""
    return Parameter(name, "pointer", dtype, written=not const)
