"""fusion-rt topics | echo | graph: look at a scenario that runs."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from fusion_rt.commands.common import Json, console, errors, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table

    from fusion_rt.bus import BusConfig, Subscriber
    from fusion_rt.introspection import Observer, TopicView

Config = Annotated[
    str,
    typer.Option(
        "--config", "-c", help="The scenario that runs: its file, or the name of a bundled one; says where."
    ),
]
LOOK_S = 2.5  # two reports of each node
WAITING = 1000  # messages that wait to be printed


def topics(
    config: Config = "driving",
    live: Annotated[bool, typer.Option("--live", "-l", help="Redraw until Ctrl-C.")] = False,
    json: Json = False,
) -> None:
    """The topics of a running scenario: rates, bytes, ages, losses, who publishes and who reads.

    fusion-rt topics --live

    fusion-rt topics --json

    Nothing is slowed by it: nodes report once a second anyway, and of other programs' topics the descriptors
    alone are read. `camera@car` is the hop of `camera` between hosts.
    """
    with _observer(config) as observer:
        if live and not json:
            _redraw(observer)
            return
        observer.look(LOOK_S)
        found = observer.topics()
        if not found and not json:
            errors.print(f"nothing is published in {observer.run_dir}", highlight=False, soft_wrap=True)
    if json:
        print_json({"topics": found})
    elif found:
        print_table(_table(found))


def echo(
    topic: Annotated[str, typer.Argument(help="Which topic.")],
    config: Config = "driving",
    count: Annotated[int | None, typer.Option("--count", "-n", min=1, help="Stop after so many.")] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.01, help="At most so many a second; those between are left out.")
    ] = None,
    json: Json = False,
) -> None:
    """Print a topic's messages, a line each, until Ctrl-C; arrays in short.

    fusion-rt echo imu --rate 2

    fusion-rt echo prediction --count 1 --json

    The topic goes on at its own speed: what the terminal does not take in time is left out, and counted.
    """
    from fusion_rt.bus import Bus, endpoints
    from fusion_rt.introspection import nearest

    settings = _bus(config)
    with Bus(settings) as bus:
        there = endpoints.published(bus.run_dir)
        if topic not in there and topic not in settings.topics:
            raise nearest(topic, [n for n in there if not n.startswith("health.")], str(bus.run_dir))
        is_health = topic.startswith("health.")
        inputs = bus.health([topic.removeprefix("health.")]) if is_health else bus.subscriber([topic])
        with _Drain(topic, inputs, json, rate) as drain:
            try:
                printed = 0
                while count is None or printed < count:
                    for line in drain.lines():
                        sys.stdout.write(line + "\n")
                        printed += 1
                        if printed == count:
                            break
                    sys.stdout.flush()
            except KeyboardInterrupt:
                pass
        counts = inputs.counters[topic]
        if drain.left_out or counts.missing:
            errors.print(
                f"{printed} printed; {drain.left_out} left out here, {counts.skipped} older ones passed over,"
                f" {counts.lost} lost, {counts.malformed} malformed",
                highlight=False,
                soft_wrap=True,
            )


def graph(
    config: Config = "driving",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="A picture (.svg, .png, .pdf), or .dot for Graphviz; else text is printed."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Who talks to whom in a running scenario.

    fusion-rt graph --out graph.svg
    """
    from fusion_rt import introspection
    from fusion_rt.errors import ConfigError

    if out is not None and out.suffix not in (".svg", ".png", ".pdf", ".dot"):
        raise ConfigError(f"{out}: end it in .svg, .png, .pdf or .dot")
    with _observer(config) as observer:
        observer.look(LOOK_S)
        found, nodes, run_dir = introspection.edges(observer.topics()), observer.nodes(), observer.run_dir
    if not found and not nodes:
        raise ConfigError(f"nothing runs in {run_dir}: is a scenario running, and is it this one (--config)?")
    if json:
        print_json({"nodes": nodes, "edges": found})
    if out is not None:
        _write(out, found, nodes)
        errors.print(f"{out} written", highlight=False, soft_wrap=True)
    elif not json:
        console.print(introspection.text(found, nodes), markup=False, highlight=False, soft_wrap=True)


class _Drain:
    """Takes messages as they come in a thread, so that a terminal that stands still holds up nobody; makes
    lines of them at once, so that no slot of a ring is held."""

    def __init__(self, topic: str, inputs: Subscriber, json: bool, rate: float | None):
        self.left_out = 0
        self._topic, self._inputs, self._json = topic, inputs, json
        self._period_s = 0.0 if rate is None else 1.0 / rate
        self._waiting: deque[str] = deque()
        self._some = threading.Condition()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="echo", daemon=True)

    def lines(self) -> Iterable[str]:
        """Those that wait; after a moment without any, none."""
        with self._some:
            if not self._waiting:
                self._some.wait(0.2)
            lines, self._waiting = list(self._waiting), deque()
        return lines

    def __enter__(self) -> _Drain:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._done.is_set():
            message = self._inputs.recv(0.1)
            if message is None or time.monotonic() < due:
                continue
            due = max(due + self._period_s, time.monotonic() - self._period_s)
            line = self._line(message)
            del message
            with self._some:
                if len(self._waiting) < WAITING:
                    self._waiting.append(line)
                else:
                    self.left_out += 1
                self._some.notify()

    def _line(self, message: Any) -> str:
        from fusion_rt.introspection import as_json, as_line

        if self._json:
            return msgspec.json.encode(as_json(message)).decode()
        return as_line(self._topic, message)


def _bus(config: str) -> BusConfig:
    from fusion_rt import scenario

    return scenario.load(scenario.find_file(config)).bus


def _observer(config: str) -> Observer:
    from fusion_rt.introspection import Observer

    return Observer(_bus(config))


def _redraw(observer: Observer) -> None:
    from rich.live import Live

    with Live(console=console, auto_refresh=False) as table:
        try:
            while True:
                observer.look(0.5)
                table.update(_table(observer.topics()), refresh=True)
        except KeyboardInterrupt:
            pass


def _table(found: Iterable[TopicView]) -> Table:
    from rich.table import Table

    table = Table("topic", "from", box=None, header_style="bold", pad_edge=False)
    for name in ("rate", "size", "sent"):
        table.add_column(name, justify="right")
    table.add_column("to")
    for name in ("age", "max"):
        table.add_column(name, justify="right")
    table.add_column("missing")
    for view in found:
        source = view.node or ("another host" if view.pid is None else "a program")
        source = "nobody" if view.silent else source + ("" if view.pid is None else f" ({view.pid})")
        # A bridge reports what other hosts say that they received of its topics.
        names = ["other hosts" if "@" in view.topic and r.node == view.node else r.node for r in view.readers]
        others = [f"{view.other_readers} other"] if view.other_readers else []
        ages = [r.age_ms for r in view.readers if r.age_ms is not None]
        oldest = [r.age_max_ms for r in view.readers if r.age_max_ms is not None]
        losses = [f"{r.node}: {c} {n}" for r in view.readers for c, n in r.missing.items()]
        losses += [f"dropped {view.dropped}"] if view.dropped else []
        table.add_row(
            view.topic,
            source,
            "-" if view.rate_hz is None else f"{view.rate_hz:.1f} Hz",
            _bytes(view.bytes_s) if view.bytes_s else "-",  # of arrays; a message without them is small
            "-" if view.published is None else str(view.published),
            ", ".join(names + others) or "nobody",
            f"{max(ages):.1f} ms" if ages else "-",
            f"{max(oldest):.1f} ms" if oldest else "-",
            "; ".join(losses) or "0",
        )
    return table


def _bytes(a_second: float) -> str:
    for unit in ("B/s", "kB/s", "MB/s"):
        if a_second < 1000:
            return f"{a_second:.1f} {unit}"
        a_second /= 1000
    return f"{a_second:.2f} GB/s"


def _write(out: Path, found: Any, nodes: dict[str, int]) -> None:
    from fusion_rt import introspection
    from fusion_rt.errors import ConfigError

    try:
        if out.suffix == ".dot":
            out.write_text(introspection.dot(found, nodes), encoding="utf-8")
        else:
            introspection.draw(found, out, nodes)
    except ImportError as error:
        raise ConfigError(f"{out}: pictures need matplotlib: pip install 'fusion-rt[bench]'") from error
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written: {error.strerror}") from error
