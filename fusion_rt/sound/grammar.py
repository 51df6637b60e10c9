"""What may be said in one home: a JSGF grammar (W3C note "JSpeech Grammar Format", 2000) of its rooms and
devices, and what a sentence of it means."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from msgspec import Struct

from fusion_rt.errors import ConfigError
from fusion_rt.plan import Plan
from fusion_rt.sound.language import Language, Phrases

_TOKEN = re.compile(r"<([a-z_]+)>|[()\[\]|]|[^\s()\[\]|<>]+")
_NOT_SAID = re.compile(r"[^\w']+")
_SIGNS = {"(": "(?:", ")": ")", "[": "(?:", "]": ")?", "|": "|"}


class Understood(Struct, frozen=True, kw_only=True):
    """intent, and its slots: `room` and `device` are slugs of the plan, `kind` is that of a device,
    quantities are digits."""

    intent: str
    slots: dict[str, str]


class Target(Struct, frozen=True, kw_only=True):
    """A device as it may be spoken of: by its own name, or by what its kind is called."""

    device: str
    kind: str
    room: str
    names: tuple[str, ...]


def words(text: str, language: Language) -> str:
    """A name as it is said: small letters, no signs, numbers as words. "" where nothing of it is a word."""
    said = []
    for word in _NOT_SAID.sub(" ", unicodedata.normalize("NFC", text.lower())).replace("_", " ").split():
        ways = language.numbers.get(int(word)) if word.isdecimal() and word.isascii() else (word.strip("'"),)
        said.append(ways[0] if ways else "")
    return " ".join(" ".join(said).split())


class Grammar:
    """All that may be said.

    jsgf      the grammar, for a recogniser
    unspoken  what of the plan nobody can say, and why: "rooms.wc: ..."
    """

    def __init__(self, plan: Plan, language: Language, known: Iterable[str] | None = None) -> None:
        """known: the words that the recogniser can hear; None: all. Raises ConfigError where the language
        refers to rules that it does not have."""
        self.language = language
        self.unspoken: list[str] = []
        self._known: set[str] | None = None if known is None else set(known)
        self._rooms = self._spoken_rooms(plan)
        self._targets = self._spoken_targets(plan)
        self._known = None  # a hundred thousand words are not kept
        self._rules: dict[str, list[str]] = {name: list(ways) for name, ways in language.rules.items()}
        for name in language.quantities:
            self._rules[name] = list(language.said(name))
        self._patterns = [
            (phrases, re.compile(self._pattern(say) + r"\Z"))
            for phrases in language.phrases
            for say in self._sayings(phrases)
        ]
        self.jsgf = self._write()

    @property
    def vocabulary(self) -> set[str]:
        """Every word that may be said."""
        return set(re.findall(r"(?<!<)\b[\w']+\b(?![>\w'])", _rules_of(self.jsgf)))

    def understand(self, text: str) -> Understood | None:
        """What a sentence of the grammar means; None: it is none, or means nothing in this home."""
        text = "".join(f"{word} " for word in text.lower().split())
        for phrases, pattern in self._patterns:
            match = pattern.match(text)
            if match is None:
                continue
            groups = {name: value.strip() for name, value in match.groupdict().items() if value}
            slots = self._slots(phrases, groups)
            if slots is not None:
                return Understood(intent=phrases.intent, slots=slots)
        return None

    def _slots(self, phrases: Phrases, groups: dict[str, str]) -> dict[str, str] | None:
        slots = dict(phrases.slots)
        room = self._rooms_by_name().get(groups["room"]) if "room" in groups else None
        if "device" in groups:
            name = groups["device"]
            meant = [t for t in self._fitting(phrases) if name in t.names and room in (None, t.room)]
            if not meant:
                return None
            slots["kind"] = meant[0].kind
            if len({t.device for t in meant}) == 1 and "all" not in groups:
                slots["device"], room = meant[0].device, meant[0].room
        if room is not None:
            slots["room"] = room
        for name in self.language.quantities:
            if name in groups:
                slots[name] = str(self.language.said(name)[groups[name]])
        for name in self.language.slots:
            if name in groups:
                slots[name] = groups[name]
        return slots

    def _rooms_by_name(self) -> dict[str, str]:
        return {name: slug for slug, names in self._rooms.items() for name in names}

    def _fitting(self, phrases: Phrases) -> list[Target]:
        return [target for target in self._targets if target.kind in phrases.kinds]

    def _spoken_rooms(self, plan: Plan) -> dict[str, tuple[str, ...]]:
        rooms = {}
        for slug, room in plan.rooms.items():
            names = self._sayable(f"rooms.{slug}", dict.fromkeys((room.name, slug.replace("_", " "))))
            if names:
                rooms[slug] = names
        return rooms

    def _spoken_targets(self, plan: Plan) -> list[Target]:
        targets = []
        for slug, device in plan.devices.items():
            own = self._sayable(f"devices.{slug}", (device.name,))
            by_kind = self.language.kinds.get(device.kind, ())
            names = tuple(dict.fromkeys((*own, *by_kind)))
            if names:
                targets.append(Target(device=slug, kind=device.kind, room=device.room, names=names))
        return targets

    def _sayable(self, where: str, names: Iterable[str]) -> tuple[str, ...]:
        """Of these names, those that can be said and heard; if none can, it is noted."""
        said, why = [], "has no words in it"
        for name in names:
            spoken = words(name, self.language)
            strange = [w for w in spoken.split() if self._known is not None and w not in self._known]
            if strange:
                why = f"the dictionary lacks {', '.join(map(repr, strange))}; add to `pronunciations`"
            elif spoken and spoken not in said:
                said.append(spoken)
        if not said:
            self.unspoken.append(f"{where}: {', '.join(names)}: {why}")
        return tuple(said)

    def _sayings(self, phrases: Phrases) -> list[str]:
        """The ways to say it, with <target> written out; without those that nothing at home fits."""
        found = []
        for say in phrases.say:
            if "<target>" not in say:
                found += [say] if "<room>" not in say or self._rooms or "[" in say else []
            elif self._fitting(phrases):
                found += [say.replace("<target>", target) for target in self.language.target]
        return found

    def _pattern(self, say: str) -> str:
        """A regular expression of a JSGF expansion; every word is followed by one blank."""
        out = []
        for token in _TOKEN.finditer(say):
            text, rule = token.group(), token.group(1)
            if rule == "room":
                out.append(_one_of(list(self._rooms_by_name()), "room"))
            elif rule == "device":
                out.append(_one_of(sorted({n for t in self._targets for n in t.names}), "device"))
            elif rule is not None:
                ways = [self._pattern(way) for way in self._rule(rule, say)]
                named = rule in self.language.slots or rule in self.language.quantities
                out.append(f"(?P<{rule}>{'|'.join(ways)})" if named else f"(?:{'|'.join(ways)})")
            else:
                out.append(_SIGNS.get(text) or f"{re.escape(text)}\\ ")
        try:
            re.compile("".join(out))
        except re.error as error:
            raise ConfigError(f"language {self.language.language}: {say!r}: {error}") from error
        return "".join(out)

    def _rule(self, name: str, say: str) -> Sequence[str]:
        if name not in self._rules:
            raise ConfigError(
                f"language {self.language.language}: {say!r}: no rule <{name}>; there are"
                f" {', '.join(sorted((*self._rules, 'room', 'device', 'target')))}"
            )
        return self._rules[name]

    def _write(self) -> str:
        """Rooms and devices are written together, so that nothing that is not there can be said."""
        lines = [f"<{name}> = {' | '.join(ways)};" for name, ways in self._rules.items()]
        if self._rooms:
            lines.append(f"<room> = {' | '.join(self._rooms_by_name())};")
        commands = []
        for number, phrases in enumerate(self.language.phrases):
            says = [say for say in phrases.say if "<target>" not in say or self._fitting(phrases)]
            if not self._rooms:
                says = [say for say in says if "<room>" not in say]
            if not says:
                continue
            targets = "<target>" in "".join(says)
            if targets:
                lines.append(f"<target_{number}> = {' | '.join(self._target_ways(phrases))};")
            ways = [say.replace("<target>", f"<target_{number}>") for say in says]
            lines.append(f"<command_{number}> = {' | '.join(f'({way})' for way in ways)};")
            commands.append(f"<command_{number}>")
        if not commands:
            raise ConfigError(f"language {self.language.language}: nothing can be said in this home")
        return "\n".join(
            ["#JSGF V1.0 UTF-8;", "grammar home;", f"public <command> = {' | '.join(commands)};", *lines, ""]
        )

    def _target_ways(self, phrases: Phrases) -> list[str]:
        fitting = self._fitting(phrases)
        names = sorted({name for target in fitting for name in target.names})
        ways = []
        for target in self.language.target:
            if "<room>" not in target:
                ways.append(f"({target.replace('<device>', f'({_or(names)})')})")
                continue
            for slug, rooms in self._rooms.items():
                there = sorted({n for t in fitting if t.room == slug for n in t.names})
                if there:
                    way = target.replace("<room>", f"({_or(rooms)})").replace("<device>", f"({_or(there)})")
                    ways.append(f"({way})")
        return ways


def _or(ways: Iterable[str]) -> str:
    return " | ".join(ways)


def _one_of(names: Sequence[str], group: str) -> str:
    longest_first = sorted(names, key=len, reverse=True)  # "living room lamp" before "living room"
    return f"(?P<{group}>{'|'.join(re.escape(f'{name} ') for name in longest_first)})" if names else r"(?!)"


def _rules_of(jsgf: str) -> str:
    """The right-hand sides alone."""
    return "\n".join(line.partition("=")[2] for line in jsgf.splitlines() if "=" in line)
