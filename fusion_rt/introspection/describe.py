"""A message as a line for people, or as JSON, with arrays in short."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from typing import Any

import msgspec
import numpy as np

from fusion_rt.messages import kind
from fusion_rt.metrics.latency import span_ms


def as_json(message: Any) -> dict[str, Any]:
    """Plain data; an array is its dtype, shape, and least and greatest finite value."""
    plain: dict[str, Any] = msgspec.to_builtins(message, enc_hook=_array)
    return plain


def as_line(topic: str, message: Any) -> str:
    """Topic, kind, number, time, age on the bus, and the fields."""
    header = message.header
    when = datetime.fromtimestamp(header.stamp_ns / 1e9, timezone.utc)
    age = span_ms(header.trace, last="received")
    fields = [
        f"{name} {_short(getattr(message, name))}"
        for name in message.__struct_fields__
        if name not in ("header", "certificate")
    ]
    return (
        f"{topic} {kind(message)} #{header.seq} {when:%H:%M:%S.%f}"
        + ("" if age is None else f" age {age:.2f} ms")
        + ": "
        + ", ".join(fields)
    )


def _array(value: Any) -> dict[str, Any]:
    if not isinstance(value, np.ndarray):
        raise NotImplementedError(f"{type(value).__name__} in a message")
    found: dict[str, Any] = {"dtype": value.dtype.name, "shape": list(value.shape)}
    if value.size:
        low, high = value.min(), value.max()
        if not (np.isfinite(low) and np.isfinite(high)):
            finite = value[np.isfinite(value)]
            found["not_finite"] = int(value.size - finite.size)
            low, high = (finite.min(), finite.max()) if finite.size else (None, None)
        found |= {"min": low if low is None else low.item(), "max": high if high is None else high.item()}
    return found


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        array = _array(value)
        low, high = array.get("min"), array.get("max")
        extent = " x ".join(map(str, array["shape"]))
        span = "" if low is None or high is None else f" {_number(low)}..{_number(high)}"
        return f"[{extent} {array['dtype']}{span}]"
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, tuple) and len(value) > 4 and all(isinstance(v, float) for v in value):
        return f"[{len(value)} numbers]"
    if isinstance(value, tuple) and value and isinstance(value[0], msgspec.Struct):
        names = [getattr(item, "label", type(item).__name__) for item in value]
        return ", ".join(f"{names.count(name)} {name}" for name in sorted(set(names)))
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_short, value)) + ")"
    if isinstance(value, msgspec.Struct):
        inner = [f"{n} {_short(getattr(value, n))}" for n in value.__struct_fields__[:4]]
        return "{" + ", ".join(inner) + "}"
    return str(value)


def _number(value: float) -> str:
    return f"{value:.6g}" if isinstance(value, float) and math.isfinite(value) else str(value)
