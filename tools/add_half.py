"""Give a model package that was exported without them its FP16 files:

python tools/add_half.py fusion_rt/models/weights/driving-s
"""

from __future__ import annotations

import argparse
from pathlib import Path

from msgspec.structs import replace

from fusion_rt.models.package import PARTS, PRECISIONS, ModelPackage, digest
from fusion_rt.train.half import write_half


def add_half(folder: Path) -> ModelPackage:
    """The package with FP16 files beside its float ones, written into its folder."""
    package = ModelPackage.load(folder)
    files = {part: f"{part}.f16.onnx" for part in PARTS}
    for part, name in files.items():
        write_half(package.path(part, "f32"), folder / name)
    held = package.spec.precisions | {"f16": files}
    digests = package.spec.sha256 | {name: digest(folder / name) for name in files.values()}
    spec = replace(
        package.spec,
        precisions={name: held[name] for name in PRECISIONS if name in held},
        sha256=dict(sorted(digests.items())),
    )
    return ModelPackage.described(folder, spec)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="of the package; its model.yaml is written anew")
    print(add_half(parser.parse_args().folder).identity)
