"""What the commands share: where they print, and the options that several have."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from typer.core import TyperGroup

from fusion_rt.errors import ConfigError

console = Console()
errors = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Model = Annotated[str, typer.Option(help="A preset's name, or a folder with a model package.")]
Runtime = Annotated[
    str,
    typer.Option(
        help="openvino, onnxruntime, torch; on NVIDIA tensorrt, tensorrt-rtx, torch-cuda, onnxruntime-cuda;"
        " where a pipeline runs also auto, the fastest that works."
    ),
]
Precision = Annotated[str | None, typer.Option(help="int8, f16 or f32; the model's own choice if not given.")]
Odometry = Annotated[
    bool,
    typer.Option("--odometry", help="With the lidar's odometry in the ego filter (extra `odometry`)."),
]
AtOnce = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="So many logs at once, by Ray; else one after the other."),
]
Address = Annotated[
    str | None,
    typer.Option(help="Let a Ray cluster work: HOST:PORT, ray://HOST:PORT, or auto for this machine's."),
]


class DrivingFirst(TyperGroup):
    """A group whose command `driving` may be left out: `fusion-rt bench FILE`, `fusion-rt bench`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            args = ["driving", *args]
        return super().parse_args(ctx, args)


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Imports of what an extra brings. Raises ConfigError where it is not installed."""
    try:
        yield
    except ImportError as error:
        missing = (error.name or "more").split(".")[0]
        raise ConfigError(f"this needs {missing}: pip install 'fusion-rt[{name}]'") from error


def print_json(value: Any) -> None:
    """JSON to standard output, alone there: progress and tables go elsewhere."""
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
    sys.stdout.flush()


def print_table(table: RenderableType) -> None:
    """To standard output; one that is cut to fit a narrow terminal hides its figures."""
    Console(width=max(console.width, 110)).print(table, highlight=False)


def left_out(lines: Sequence[str]) -> None:
    """What could not be used, to standard error."""
    for line in lines:
        errors.print(f"left out: {line}", highlight=False, markup=False, soft_wrap=True)


@contextmanager
def progress(label: str) -> Iterator[Any]:
    """A bar on standard error, gone when done; call the value with (done, total), or a fraction."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task(label, total=1.0)

        def advance(done: float, total: float = 1.0) -> None:
            bar.update(task, completed=done, total=total)

        yield advance
