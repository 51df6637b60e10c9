"""fusion-rt ...: the commands, mounted."""

from __future__ import annotations

import sys

import typer
from rich.markup import escape

from fusion_rt.commands import (
    bench,
    build,
    cuda,
    detectors,
    doctor,
    evaluate,
    formats,
    home,
    home_data,
    introspect,
    keys,
    learn,
    log,
    recordings,
    rules,
    run,
    schema,
    sound,
)
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
for command in (run.run, run.replay, run.record, run.tell, run.node):
    app.command(rich_help_panel="Run")(command)
app.command(rich_help_panel="Look")(introspect.topics)
app.command(rich_help_panel="Look")(introspect.echo)
app.command(rich_help_panel="Look")(introspect.graph)
app.add_typer(rules.rules, name="rules", rich_help_panel="Home")
app.add_typer(home.home, name="home", rich_help_panel="Home")
app.command(rich_help_panel="Look")(sound.hear)
app.add_typer(keys.keys, name="keys", rich_help_panel="Other machines")
app.add_typer(recordings.importers, name="import", rich_help_panel="Recordings")
app.add_typer(log.tools, name="log", rich_help_panel="Recordings")
app.command(rich_help_panel="Recordings")(recordings.info)
app.command(rich_help_panel="Recordings")(formats.convert)
app.command(rich_help_panel="Recordings")(schema.schema)
app.add_typer(learn.simulations, name="sim", rich_help_panel="Learn")
app.add_typer(learn.training, name="train", rich_help_panel="Learn")
app.command(rich_help_panel="Learn")(learn.export)
app.command(rich_help_panel="Learn")(build.build)
app.command(rich_help_panel="Learn")(learn.calibrate)
app.command(rich_help_panel="Learn")(learn.adapt)
app.add_typer(detectors.models, name="model", rich_help_panel="Learn")
app.add_typer(cuda.cuda, name="cuda", rich_help_panel="Other machines")
app.add_typer(evaluate.evaluations, name="eval", rich_help_panel="Judge")
app.add_typer(bench.benchmarks, name="bench", rich_help_panel="Judge")
app.command(rich_help_panel="Judge")(doctor.doctor)
learn.training.command("sounds")(sound.train_sounds)
learn.training.command("effects")(sound.train_effects)
evaluate.evaluations.command("sounds")(sound.eval_sounds)
bench.benchmarks.command("voice")(sound.bench_voice)
learn.training.command("home-data")(home_data.train_home_data)
evaluate.evaluations.command("home-data")(home_data.eval_home_data)


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
