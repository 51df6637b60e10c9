"""fusion-rt keys: who may listen to us from other hosts."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusion_rt.commands.common import Json, console, print_json

if TYPE_CHECKING:
    from fusion_rt.bus.keys import KeyPair

keys = typer.Typer(help="Key pairs and allow-lists, for nodes on other hosts.", no_args_is_help=True)
allow = typer.Typer(help="Whose public keys may connect to us.", no_args_is_help=True)
keys.add_typer(allow, name="allow")

PairFile = Annotated[Path, typer.Argument(help="The file of the pair; it stays on this machine.")]
ListFile = Annotated[Path, typer.Argument(help="The allow-list, as `bus.allow` in the scenario names it.")]


@keys.callback()
def _keys() -> None:
    """Key pairs and allow-lists, for nodes on other hosts."""


@allow.callback()
def _allow() -> None:
    """Whose public keys may connect to us."""


@keys.command()
def make(pair: PairFile, json: Json = False) -> None:
    """Make a key pair: both halves in one file that only you can read. The public half is printed.

    fusion-rt keys make car.json

    Each machine makes its own. The public half goes to the other machines: into the allow-list of those that
    this one listens to, and into the scenario of those that listen to this one.
    """
    from fusion_rt.bus.keys import KeyPair

    made = KeyPair.generate()
    made.save(pair)
    _tell(pair, made, json)


@keys.command()
def show(pair: PairFile, json: Json = False) -> None:
    """Print the public half of a pair."""
    from fusion_rt.bus.keys import KeyPair

    _tell(pair, KeyPair.load(pair), json)


@keys.command()
def rotate(pair: PairFile, json: Json = False) -> None:
    """A new pair in the place of an old one, which is kept beside it as FILE.old.

    fusion-rt keys rotate car.json

    Nothing that runs is disturbed: a node reads its pair when it starts. First let the others take the new
    key beside the old one (`fusion-rt keys allow add LIST car KEY --overlap 24`, and both under `keys:` where
    they fetch from this machine), then start this machine's nodes again.
    """
    from fusion_rt.bus.keys import KeyPair

    old, new = KeyPair.load(pair), KeyPair.generate()
    kept = new.replace(pair)
    if json:
        print_json({"public": new.public, "old_public": old.public, "old_pair": str(kept)})
        return
    _say(f"{pair}: new pair, public key {new.public}")
    _say(f"{kept}: the old one, {old.public}")


@allow.command()
def add(
    file: ListFile,
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    key: Annotated[str, typer.Argument(help="The public key, 40 characters.")],
    overlap: Annotated[
        float | None,
        typer.Option(
            min=0, help="Hours for which the keys that NAME has already are accepted as well; then not."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Let this key in. Nodes that run see it within a second.

    fusion-rt keys allow add allowed.json desk 'KEY'

    fusion-rt keys allow add allowed.json desk 'NEW KEY' --overlap 24
    """
    from fusion_rt.bus import allow_list

    entries = allow_list.load(file) if file.exists() else {}
    spare = None if overlap is None else timedelta(hours=overlap)
    allow_list.save(file, allow_list.add(entries, name, key, overlap=spare, now=datetime.now(timezone.utc)))
    _list(file, json)


@allow.command()
def remove(
    file: ListFile, name: Annotated[str, typer.Argument(help="Whose keys.")], json: Json = False
) -> None:
    """Shut a name out: its connections are ended within a second, without a restart of ours."""
    from fusion_rt.bus import allow_list

    allow_list.save(file, allow_list.remove(allow_list.load(file), name))
    _list(file, json)


@allow.command("list")
def list_(file: ListFile, json: Json = False) -> None:
    """Who is let in, and until when."""
    _list(file, json)


def _list(file: Path, json: bool) -> None:
    from rich.table import Table

    from fusion_rt.bus import allow_list

    entries = allow_list.load(file)
    if json:
        print_json(entries)
        return
    now = datetime.now(timezone.utc)
    table = Table("name", "public key", "accepted", box=None, header_style="bold")
    for name, allowed in entries.items():
        for entry in allowed:
            until = "" if entry.until is None else f"until {entry.until:%Y-%m-%d %H:%M:%S} UTC"
            table.add_row(name, entry.key, until if entry.valid(now) else f"no more, {until}")
    console.print(table if entries else "nobody is let in", highlight=False, markup=False)


def _tell(path: Path, pair: KeyPair, json: bool) -> None:
    if json:
        print_json({"public": pair.public, "pair": str(path)})
    else:
        _say(f"{path}: public key {pair.public}")


def _say(text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
