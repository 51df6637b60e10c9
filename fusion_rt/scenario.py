"""A scenario file: which nodes run, with what configuration, and how they find each other.

    bus: {}
    nodes:
      replay: {log: "bundled:drive.mcap", loop: true}
      fusion: {rig: "bundled:drive.mcap"}

A node's name says what runs, unless `use` does: `front: {use: camera, source: /dev/video0}`. What can be
used is whatever an installed package declares in the entry-point group `fusion_rt.nodes`: a function
`run(config: SomeStruct, bus: Bus) -> None`, whose struct is the node's configuration.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any, get_type_hints

from msgspec import Struct

from fusion_rt import config
from fusion_rt.bus import Bus, BusConfig
from fusion_rt.bus.wire import TOPIC
from fusion_rt.errors import ConfigError, NodeError
from fusion_rt.plan import Plan
from fusion_rt.rig import Rig

GROUP = "fusion_rt.nodes"
BUNDLED = "bundled:"

Run = Callable[[Any, Bus], None]


class Node(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One process of a scenario.

    use       which entry point of the group runs
    ends_run  when this node has done its work, everything stops: a recording replayed once
    config    for the node itself to check
    source    where the configuration is from, for errors
    """

    name: str
    use: str
    source: str
    ends_run: bool = False
    config: dict[str, Any] = {}


class Scenario(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a scenario file holds. Nodes start in the order of the file and stop in it too: sources first,
    so that what they have sent is still worked off.

    bus    how the nodes find each other
    nodes  name -> the node's configuration, with `use` and `ends_run` where needed
    """

    bus: BusConfig = BusConfig()
    nodes: dict[str, dict[str, Any]]

    def __post_init__(self) -> None:
        if not self.nodes:
            raise ConfigError("nodes: none, so there is nothing to run")
        for name in self.nodes:
            if not TOPIC.fullmatch(f"health.{name}"):
                raise ConfigError(f"nodes.{name}: use letters, digits, '_', '-' and '.' for a name")

    def processes(self, source: str = "scenario") -> tuple[Node, ...]:
        """The nodes in order. Raises ConfigError where `use` or `ends_run` is not what it should be."""
        return tuple(_node(name, content, f"{source}: nodes.{name}") for name, content in self.nodes.items())


def load(path: str | Path) -> Scenario:
    """Raises ConfigError."""
    return config.load(path, Scenario)


def find_file(name: str, kind: str = "") -> Path:
    """A file of configs/, or of configs/`kind`: a path, or the name of one that comes with the package.

    Raises ConfigError where there is neither."""
    path = Path(name).expanduser()
    if path.is_file():
        return path
    bundled = {p.stem: p for p in sorted((_package_folder("configs") / kind).glob("*.yaml"))}
    if name not in bundled:
        near = difflib.get_close_matches(name, bundled, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(f"{name}: no such file; {hint}bundled: {', '.join(sorted(bundled))}")
    return bundled[name]


def sensors_of(scenario: Scenario, source: str | Path) -> dict[str, str]:
    """What a recorder of this scenario has to be told, {"rig": ...}, {"plan": ...} or both: what its fusion
    node and its home node work with, or the first node that has one. Raises ConfigError where none has."""
    found = {
        "rig": _named(scenario, source, "rig", "fusion"),
        "plan": _named(scenario, source, "plan", "home"),
    }
    known = {key: name for key, name in found.items() if name is not None}
    if not known:
        raise ConfigError(
            f"{source}: no node has a `rig` or a `plan`, so the sensors are not known: name it with --rig, or"
            " --plan for a home"
        )
    return known


def _named(scenario: Scenario, source: str | Path, key: str, best: str) -> str | None:
    for node in sorted(scenario.processes(str(source)), key=lambda node: node.use != best):
        if isinstance(node.config.get(key), str):
            name: str = node.config[key]
            return name
    return None


def find(use: str) -> Run:
    """The function that an installed package declares under this name.

    Raises ConfigError: none does. Raises NodeError: the package cannot be imported."""
    declared = {entry.name: entry for entry in entry_points(group=GROUP)}
    if use not in declared:
        near = difflib.get_close_matches(use, declared, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(f"no node {use!r}: {hint}installed: {', '.join(sorted(declared)) or 'none'}")
    try:
        run: Run = declared[use].load()
    except (ImportError, AttributeError) as error:
        raise NodeError(f"node {use!r} ({declared[use].value}) cannot be imported: {error}") from error
    return run


def settings(run: Run, node: Node) -> Any:
    """The node's configuration as the struct that its `run` asks for. Raises ConfigError."""
    return config.convert(node.config, get_type_hints(run)["config"], node.source)


def locate(path: str) -> Path:
    """A file: "bundled:NAME" is one of the package's own, everything else is as in the shell.

    Raises ConfigError where the package has no such file."""
    if not path.startswith(BUNDLED):
        return Path(path).expanduser()
    folder = _package_folder("data")
    found = folder / path.removeprefix(BUNDLED)
    if not found.is_file():
        names = sorted(p.name for p in folder.glob("*")) if folder.is_dir() else []
        raise ConfigError(f"{path}: not bundled; there are: {', '.join(names) or 'none'}")
    return found


def load_rig(path: str) -> Rig:
    """The rig of a YAML file, or the one that a recording holds. Raises ConfigError, LogError."""
    file = locate(path)
    if file.suffix != ".mcap":
        return Rig.load(file)
    from fusion_rt import logs  # protobuf takes a while: only where a recording is read

    with logs.open(file) as log:
        return log.rig


def load_plan(path: str) -> Plan:
    """The plan of a home: a YAML file, the name of one of configs/home, or a recording that holds one.

    Raises ConfigError, RigError, LogError."""
    if not path.endswith(".mcap"):
        return Plan.load(find_file(path, "home"))
    from fusion_rt import logs  # protobuf takes a while: only where a recording is read

    file = locate(path)
    with logs.open(file) as log:
        if log.plan is None:
            raise ConfigError(f"{file}: holds no plan of a home; give the plan's YAML file")
        plan: Plan = log.plan
        return plan


def _package_folder(name: str) -> Path:
    return Path(str(files("fusion_rt").joinpath(name)))


def _node(name: str, content: Mapping[str, Any], source: str) -> Node:
    rest = dict(content)
    use, ends_run = rest.pop("use", name), rest.pop("ends_run", False)
    if not isinstance(use, str) or not isinstance(ends_run, bool):
        raise ConfigError(f"{source}: `use` is the name of a node, `ends_run` is true or false")
    return Node(name=name, use=use, source=source, ends_run=ends_run, config=rest)
