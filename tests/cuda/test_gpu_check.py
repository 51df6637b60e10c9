"""tools/gpu_check.py on the driver without a card: the whole way of a card, and not one figure of one."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fusion_rt.bench.card import kernel_clock
from fusion_rt.engine import CARD_RUNTIMES
from fusion_rt.kernels import sources
from fusion_rt.kernels.launchers import KERNELS

TOOL = Path(__file__).resolve().parents[2] / "tools" / "gpu_check.py"


@pytest.fixture(scope="module")
def report(driver, tmp_path_factory):
    """What it wrote: the text, and the same as data."""
    out = tmp_path_factory.mktemp("report") / "a" / "b"
    command = [sys.executable, str(TOOL), "--cpu-only", "--quick", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.strip() == out.with_suffix(".md").read_text().strip()
    return done.stdout, json.loads(out.with_suffix(".json").read_text())


def test_it_says_that_there_is_no_card(report):
    text, told = report
    assert told["place"] == "stub"
    assert "**No card: the driver of tests/cuda stood in for one." in text
    assert told["device"].startswith("cuda, a card of the tests")


def test_every_kernel_has_its_rows_and_is_right(report):
    _, told = report
    states = {check["name"]: check["state"] for check in told["checks"]}
    labels = {*KERNELS, "image, bent lens", "count_broken", "rows_order", "rows_tell"}
    for label in labels:
        assert states[f"kernel {label}"] == states[f"kernel {label}, again"] == "ok"
    moved = {t["name"]: t["bytes"] for t in told["timings"]}
    assert {label for label in labels if not moved[f"kernel {label}"] > 0} == set()


def test_every_function_was_launched_and_spills_nothing(report):
    _, told = report
    functions = {f["name"]: f for f in told["functions"]}
    assert set(functions) == set(sources.kernels())
    assert [name for name, f in functions.items() if not f["checks"]] == []
    assert {f["spill_bytes"] for f in functions.values()} == {0}


def test_what_is_not_there_is_said_and_all_the_rest_done(report):
    _, told = report
    checks = {check["name"]: check for check in told["checks"]}
    for runtime in CARD_RUNTIMES:
        assert checks[f"engine {runtime} f16"]["state"] == "absent"
        assert checks[f"engine {runtime} f16"]["detail"]
    assert checks["compute-sanitizer"]["state"] == "absent"
    assert checks["engine openvino f16"]["state"] == checks["answers openvino f16, again"]["state"] == "ok"
    assert checks["frame, openvino f16, graph"]["detail"] == "openvino cannot be recorded"
    names = {t["name"] for t in told["timings"]}
    assert {"bev, openvino f16", "frame, openvino f16, no graph", "- image", "- pillars", "- fuse"} <= names


def test_no_figure_of_a_card_where_there_is_none(report):
    text, told = report
    for timing in told["timings"]:
        assert {timing[name] for name in ("p50", "p99", "p999", "least_ms")} == {None}
    for name in ("upload_gb_s", "download_gb_s", "memory_gb_s", "frame_least_ms"):
        assert told[name] is None
    assert "| kernel pillars | 5 |  |  |  |  | " in text


def test_starts_are_figures_of_any_machine(report):
    _, told = report
    assert [(s["name"], s["most"]) for s in told["starts"]] == [
        ("compile from an empty cache", 5.0),
        ("second start", 1.0),
    ]
    assert all(s["seconds"] > 0 for s in told["starts"])
    assert told["starts"][0]["detail"].startswith(f"{len(sources.kernels())} kernels in ")


def test_a_kernel_is_timed_by_the_card_s_clock_from_cold_caches(stub, device):
    """The stub says 1 ms of everything; what is asked of it, and in which order, is real."""
    buffer, calls = device.empty((4,), np.float32), []

    def call():
        calls.append(stub.calls("cuMemsetD8Async"))
        device.launch("count_broken", buffer, 4, device.empty((1,), np.int32), items=4)

    timing = kernel_clock(device)("x", call, count=10, nbytes=1_000_000, bandwidth=1e9)
    assert (timing.count, timing.p50, timing.least_ms) == (10, 1.0, 1.0)
    assert len(calls) == 13, "three to warm up"
    assert all(before < after for before, after in itertools.pairwise(calls)), (
        "caches are flushed before each"
    )
