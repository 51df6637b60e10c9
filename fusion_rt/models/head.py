"""A small model package: one ONNX file and head.yaml about it. Sound events, occupancy, activities, falls.

head = Head.load("sound-events")
head.inputs["effects"][...] = effects
probabilities = head.run()["events"]
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import Struct

from fusion_rt import config, engine
from fusion_rt.engine.buffers import Buffers
from fusion_rt.errors import ConfigError, EngineError
from fusion_rt.models.package import WEIGHTS, digest

DESCRIPTION, MODEL = "head.yaml", "head.onnx"


class HeadSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """head.yaml.

    inputs, outputs  name -> shape, float32, fixed
    features         input -> the meaning of its last axis, in the units that the network was trained on; the
                     scaling is inside the network
    labels           output -> the meaning of its last axis
    thresholds       label -> smallest probability worth showing
    rate_hz          how often the head runs, where it runs over time
    trained_with     the command that made it
    licence          of the data that it was trained on, and whom to name
    """

    name: str
    version: str
    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int, ...]]
    features: dict[str, tuple[str, ...]] = {}
    labels: dict[str, tuple[str, ...]] = {}
    thresholds: dict[str, float] = {}
    rate_hz: float | None = None
    sha256: str
    trained_with: str
    licence: str


class Head:
    """A package that was read and checked, on an engine. identity: "name-version-<8 hex digits of all>"."""

    def __init__(self, folder: Path, spec: HeadSpec, runs: engine.Engine) -> None:
        self.folder, self.spec, self.engine = folder, spec, runs
        described = hashlib.sha256(msgspec.json.encode(spec)).hexdigest()
        self.identity = f"{spec.name}-{spec.version}-{described[:8]}"

    @classmethod
    def load(cls, head: str | Path, *, runtime: str = "openvino", threads: int = 1) -> Head:
        """A bundled head by name, or a folder.

        Raises ConfigError where there is none or head.yaml is wrong, EngineError where the file is missing,
        damaged, or has other names or shapes."""
        folder = WEIGHTS / head if (WEIGHTS / head).is_dir() else Path(head)
        if not (folder / DESCRIPTION).is_file():
            bundled = sorted(p.parent.name for p in WEIGHTS.glob(f"*/{DESCRIPTION}"))
            raise ConfigError(
                f"{head}: no head there (a folder with {DESCRIPTION});"
                f" bundled are: {', '.join(bundled) or 'none'}"
            )
        spec = config.load(folder / DESCRIPTION, HeadSpec)
        path = folder / MODEL
        if not path.is_file():
            raise EngineError(f"{path}: missing; export the head {spec.name!r} again")
        if digest(path) != spec.sha256:
            raise EngineError(
                f"{path}: sha256 is not that of {DESCRIPTION}: the file is damaged or from another version;"
                " export the head again"
            )
        for kind, extents in (("features", spec.inputs), ("labels", spec.outputs)):
            for name, meaning in getattr(spec, kind).items():
                if name not in extents or extents[name][-1] != len(meaning):
                    where = f"{folder / DESCRIPTION}: {kind}.{name}"
                    raise ConfigError(f"{where}: {len(meaning)} names do not fit")
        runs = engine.load(
            path, runtime=runtime, precision="f32", threads=threads, inputs=spec.inputs, outputs=spec.outputs
        )
        return cls(folder, spec, runs)

    @property
    def inputs(self) -> Buffers:
        """Fill these in place."""
        return self.engine.inputs

    def run(self) -> Buffers:
        """The outputs, overwritten by the next run. Raises EngineError where one is not finite."""
        self.engine.run()
        return self.engine.outputs


def describe(folder: Path, **fields: Any) -> HeadSpec:
    """Writes head.yaml about the folder's head.onnx; fields as in HeadSpec, without sha256."""
    spec = HeadSpec(sha256=digest(folder / MODEL), **fields)
    text = yaml.safe_dump(msgspec.to_builtins(spec), sort_keys=False, width=110, allow_unicode=True)
    (folder / DESCRIPTION).write_text(text, encoding="utf-8")
    return spec
