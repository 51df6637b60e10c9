"""fusion-rt ...: the commands, mounted."""

from __future__ import annotations

import sys

import typer
from rich.markup import escape

from fusion_rt.commands import bench as benchmarks
from fusion_rt.commands import detectors, doctor, evaluate, learn, recordings, run, schema
from fusion_rt.commands.common import errors
from fusion_rt.errors import FusionError

app = typer.Typer(
    name="fusion-rt",
    help="Streaming, real-time multi-sensor fusion. Start with: fusion-rt run",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for command in (run.run, run.replay, run.record, run.node):
    app.command(rich_help_panel="Run")(command)
app.add_typer(recordings.importers, name="import", rich_help_panel="Recordings")
app.command(rich_help_panel="Recordings")(recordings.info)
app.command(rich_help_panel="Recordings")(schema.schema)
app.add_typer(learn.simulations, name="sim", rich_help_panel="Learn")
app.command(rich_help_panel="Learn")(learn.train)
app.command(rich_help_panel="Learn")(learn.export)
app.command(rich_help_panel="Learn")(learn.calibrate)
app.command(rich_help_panel="Learn")(learn.adapt)
app.add_typer(detectors.models, name="model", rich_help_panel="Learn")
app.add_typer(evaluate.evaluations, name="eval", rich_help_panel="Judge")
app.command(rich_help_panel="Judge")(benchmarks.bench)
app.command(rich_help_panel="Judge")(doctor.doctor)


def main() -> None:
    """The entry point of the shell: an error of ours is one line, never a traceback."""
    try:
        app()
    except FusionError as error:
        errors.print(f"[red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except BrokenPipeError:  # the reader of our output has gone, as with `| head`
        sys.stderr.close()
        sys.exit(0)
