"""fusion-rt cuda: the kernels for NVIDIA cards."""

from __future__ import annotations

import time
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from fusion_rt.commands.common import Json, console, errors, print_json

cuda = typer.Typer(help="The kernels for NVIDIA cards.", no_args_is_help=True)

Architectures = Annotated[
    list[str] | None,
    typer.Option("--arch", help="sm_90 or the like; several, or all; the card found here if not given."),
]


@cuda.callback()
def _cuda() -> None:
    """The kernels for NVIDIA cards."""


@cuda.command("compile")
def compile_kernels(arch: Architectures = None, json: Json = False) -> None:
    """Compile the kernels, or take them from the cache, and say what each needs.

    fusion-rt cuda compile --arch sm_90

    Neither a card nor a driver is needed, only the extra `cuda`. A pipeline does this by itself when it
    starts; run it before, or when an image for another machine is made, and the first start is as fast as the
    next.
    """
    from fusion_rt.kernels import cubins, nvrtc

    names = arch or [_card()]
    told = []
    for architecture in nvrtc.ARCHITECTURES if names == ["all"] else names:
        start = time.perf_counter()
        with errors.status(f"compiling for {architecture}"):
            found = cubins.load(architecture)
        took_s = time.perf_counter() - start
        needs = {kernel: r for file in found.files.values() for kernel, r in file.resources.items()}
        told.append({"architecture": architecture, "compiled": found.compiled, "seconds": round(took_s, 3),
                     "warnings": found.warnings, "kernels": msgspec.to_builtins(needs)})  # fmt: skip
        if json:
            continue
        table = Table("kernel", "registers", "stack, bytes", "spilled, bytes", box=None, header_style="bold")
        for kernel, r in sorted(needs.items()):
            table.add_row(kernel, str(r.registers), str(r.stack_bytes), str(r.spill_bytes))
        console.print(table)
        source = (
            f"{found.compiled} of {len(found.files)} files compiled, the rest from {cubins.cache_folder()}"
        )
        console.print(f"{architecture}, NVRTC {nvrtc.version()}: {took_s:.2f} s; {source}")
        for warning in found.warnings:
            errors.print(warning, style="yellow")
    if json:
        print_json(told)


def _card() -> str:
    """The architecture of the first card. Raises DeviceError where there is none."""
    from fusion_rt.device.nvidia import first_card

    return first_card().architecture
