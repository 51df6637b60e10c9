"""fusion-rt build"""

from __future__ import annotations

from typing import Annotated

import typer

from fusion_rt.commands.common import Json, Model, console, errors, print_json, progress


def build(
    model: Model = "driving-s",
    runtime: Annotated[str, typer.Option(help="tensorrt, tensorrt-rtx, or tensorrt-dla0.")] = "tensorrt",
    precision: Annotated[str, typer.Option(help="f16, int8 or f32.")] = "f16",
    architecture: Annotated[
        str | None,
        typer.Option(help="Build for this one, as sm_89, instead of this machine's (tensorrt-rtx)."),
    ] = None,
    json: Json = False,
) -> None:
    """Build a model's TensorRT engines for this machine's GPU ahead, so that the first start is quick.

    A pipeline does the same by itself, in the background, while another engine serves. Engines are kept in
    ~/.cache/fusion_rt, or in $FUSION_RT_CACHE.

    fusion-rt build
    fusion-rt build --runtime tensorrt-rtx --architecture sm_89      # needs no GPU
    """
    from fusion_rt.device.nvidia import ask_driver
    from fusion_rt.engine.cache import EngineCache
    from fusion_rt.engine.tensorrt_build import MODULES
    from fusion_rt.engine_builds import build_engines
    from fusion_rt.errors import ConfigError, EngineError
    from fusion_rt.models.package import ModelPackage

    if runtime not in MODULES:
        raise ConfigError(f"--runtime {runtime}: engines are built for {', '.join(MODULES)} only")
    package, cache, gpu = ModelPackage.load(model), EngineCache(), ""
    if architecture is None:
        cards = ask_driver().cards
        if not cards:
            raise EngineError(
                "there is no NVIDIA GPU to build for: see `fusion-rt doctor`; TensorRT-RTX also builds for"
                " another machine's, with --runtime tensorrt-rtx --architecture sm_89"
            )
        gpu, architecture, here = cards[0].name, cards[0].architecture, True
    else:
        here = False
    if cache.note:
        errors.print(cache.note, highlight=False, markup=False, soft_wrap=True)
    whole = -1

    with progress("building") as advance:

        def told(fraction: float, what: str) -> None:
            nonlocal whole
            advance(fraction)
            if not errors.is_terminal and int(100 * fraction) > whole:  # a line a per cent, for a file
                whole = int(100 * fraction)
                errors.print(f"{whole} % {what}", highlight=False, markup=False, soft_wrap=True)

        sizes = build_engines(
            package,
            runtime=runtime,
            precision=precision,
            gpu=gpu,
            architecture=architecture,
            here=here,
            cache=cache,
            told=told,
        )
    if json:
        print_json({"folder": str(cache.folder), "architecture": architecture, "engines": sizes})
    else:
        total = sum(sizes.values()) / 1e6
        text = f"{cache.folder}: {', '.join(sizes)} of {package.identity} for {architecture}, {total:.1f} MB"
        console.print(text, highlight=False, markup=False, soft_wrap=True)
