"""How one language speaks to a home: a data file."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from fusion_rt import config
from fusion_rt.errors import ConfigError

LANGUAGES = files("fusion_rt.sound") / "languages"


class Phrases(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ways to say one thing.

    intent  what it means; slots: told with it, always
    kinds   of devices that <target> may be
    say     JSGF: (a | b) one of these, [a] or not, <rule> another rule
    """

    intent: str
    say: tuple[str, ...]
    kinds: tuple[str, ...] = ()
    slots: dict[str, str] = {}


class Quantity(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which numbers may be said for it: those of min..max that are whole steps from min."""

    min: int
    max: int
    step: Annotated[int, Meta(gt=0)] = 1


class Language(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of `languages/`.

    language        its code
    acoustic_model  of pocketsphinx: "en-us" is in the package; else a folder with `hmm/` and `dict`, ""
                    where there is none: then sentences are understood as text alone
    rules           name -> alternatives
    slots           rules whose words are told with the intent
    target          what <target> may be, of <room>, <device> and rules
    kinds           kind of device -> what it may be called beside its own name
    quantities      rule -> the numbers it may be; the words become digits in the slot of that name
    numbers         number -> how it is said
    pronunciations  word -> its phones in the acoustic model's alphabet, for words that its dictionary lacks
    """

    language: str
    acoustic_model: str = ""
    rules: dict[str, tuple[str, ...]]
    slots: tuple[str, ...] = ()
    target: tuple[str, ...]
    phrases: tuple[Phrases, ...]
    kinds: dict[str, tuple[str, ...]]
    quantities: dict[str, Quantity] = {}
    numbers: dict[int, tuple[str, ...]] = {}
    pronunciations: dict[str, str] = {}

    @classmethod
    def load(cls, name: str | Path) -> Language:
        """A bundled language by its code, or a file. Raises ConfigError."""
        path = Path(str(LANGUAGES / f"{name}.yaml"))
        if not path.is_file():
            path = Path(name)
        if not path.is_file():
            bundled = sorted(
                p.name.removesuffix(".yaml") for p in LANGUAGES.iterdir() if p.name[-4:] == "yaml"
            )
            raise ConfigError(f"language {str(name)!r}: no such file; bundled are {', '.join(bundled)}")
        return config.load(path, cls)

    def said(self, quantity: str) -> dict[str, int]:
        """Words -> number, of one quantity."""
        wanted = self.quantities[quantity]
        numbers = range(wanted.min, wanted.max + 1, wanted.step)
        return {words: n for n, ways in self.numbers.items() if n in numbers for words in ways}
