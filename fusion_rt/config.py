"""Typed configuration from YAML. An unknown or wrong key is refused, with its path and what is allowed."""

from __future__ import annotations

import difflib
import re
import types
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
import yaml

from fusion_rt.errors import ConfigError

T = TypeVar("T")
# In C where there is one: a rig of three cameras takes 1 ms instead of 8.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load(path: str | Path, type_: type[T]) -> T:
    """The file as a `type_` (a msgspec Struct with forbid_unknown_fields).

    Raises ConfigError: the file is missing, is not YAML, or has a wrong key or value."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    return parse(text, type_, str(path))


def parse(text: str, type_: type[T], source: str) -> T:
    """The YAML text as a `type_`; `source` names it in errors."""
    try:
        data = yaml.load(text, _LOADER)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: not YAML: {error}") from error
    return convert({} if data is None else data, type_, source)


def convert(data: Any, type_: type[T], source: str) -> T:
    """Plain data as a `type_`; `source` names it in errors."""
    refuse_unknown_keys(data, type_, source)
    try:
        return msgspec.convert(data, type_, strict=True)
    except msgspec.ValidationError as error:
        # msgspec writes "[...]" for a key of a dict: fill the keys in, outermost first.
        place = re.search(r" - at `\$\.?(.*)`$", str(error))
        where = _name_keys(data, type_, place.group(1)) + ": " if place else ""
        what = str(error)[: place.start()] if place else str(error)
        raise ConfigError(f"{source}: {where}{what}") from error


def refuse_unknown_keys(data: Any, type_: Any, source: str, path: str = "") -> None:
    """Raises ConfigError at the first key that `type_` has no field for, with the nearest name."""
    for struct in _named(_members(type_), data, source, path):
        if isinstance(struct, type) and issubclass(struct, msgspec.Struct) and isinstance(data, dict):
            hints = get_type_hints(struct, include_extras=True)
            fields = {f.encode_name: hints[f.name] for f in msgspec.structs.fields(struct)}
            tag = struct.__struct_config__.tag_field
            for key, value in data.items():
                if key == tag:
                    continue
                if key not in fields:
                    hint = _suggestion(str(key), list(fields))
                    raise ConfigError(f"{source}: {path}{key}: unknown key{hint}")
                refuse_unknown_keys(value, fields[key], source, f"{path}{key}.")
            return
        if get_origin(struct) is dict and isinstance(data, dict):
            for key, value in data.items():
                refuse_unknown_keys(value, get_args(struct)[1], source, f"{path}{key}.")
        elif get_origin(struct) in (list, tuple) and isinstance(data, list):
            for i, value in enumerate(data):
                refuse_unknown_keys(value, get_args(struct)[0], source, f"{path.rstrip('.')}[{i}].")


def _name_keys(data: Any, type_: Any, place: str) -> str:
    """`place` with every "[...]" replaced by the key whose value does not convert."""
    head, dots, tail = place.partition("[...]")
    if not dots:
        return place
    node, node_type = data, type_
    for name in head.split("."):
        hints = get_type_hints(_members(node_type)[0], include_extras=True)
        node, node_type = node[name], hints[name]
    arguments = get_args(_members(node_type)[0])
    items = list(node.items()) if isinstance(node, dict) else list(enumerate(node))
    value_type = arguments[1] if isinstance(node, dict) else arguments[0]
    for key, value in items:
        try:
            msgspec.convert(value, value_type, strict=True)
        except msgspec.ValidationError:
            rest = _name_keys(value, value_type, tail.lstrip("."))
            return f"{head}.{key}.{rest}".rstrip(".")
    return place


def _members(type_: Any) -> list[Any]:
    """The alternatives of a union; Annotated is unwrapped."""
    if get_origin(type_) is Annotated:
        return _members(get_args(type_)[0])
    if get_origin(type_) in (Union, types.UnionType):
        return [m for arg in get_args(type_) for m in _members(arg)]
    return [type_]


def _named(members: list[Any], data: Any, source: str, path: str) -> list[Any]:
    """Of alternatives that differ by their tag, the one that `data` names. Raises ConfigError if none."""
    tagged = {m.__struct_config__.tag: m for m in members if hasattr(m, "__struct_config__")}
    if len(tagged) < 2 or not isinstance(data, dict):
        return members
    field = next(iter(tagged.values())).__struct_config__.tag_field
    name = data.get(field)
    if name not in list(tagged):
        what = f"{name!r} is not one of" if field in data else "is missing; one of"
        raise ConfigError(f"{source}: {path}{field}: {what} {', '.join(map(str, tagged))}")
    return [tagged[name]]


def _suggestion(key: str, allowed: list[str]) -> str:
    near = difflib.get_close_matches(key, allowed, n=1)
    hint = f", did you mean {near[0]!r}?" if near else ";"
    return f"{hint} allowed here: {', '.join(sorted(allowed))}"
