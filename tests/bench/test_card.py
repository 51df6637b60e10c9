"""tools/gpu_check.py goes its whole way on a CPU, and its checks find what is wrong. With a driver without a
card: tests/cuda/test_gpu_check.py."""

import json
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from fusion_rt.bench import card
from fusion_rt.bench.kernel_cases import POINTS, answer_cases, kernel_cases
from fusion_rt.device import CpuDevice
from fusion_rt.device.nvidia import ask_driver
from fusion_rt.kernels.launchers import KERNELS
from fusion_rt.models.package import ModelPackage
from fusion_rt.parity import bundled_frames

TOOL = Path(__file__).resolve().parents[2] / "tools" / "gpu_check.py"


@pytest.fixture(scope="module")
def package():
    return ModelPackage.load("driving-s")


@pytest.fixture(scope="module")
def cases(package):
    rig, frames = bundled_frames(1)
    return {case.label: case for case in kernel_cases(package, rig, frames[0])}


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [str(TOOL), *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(TOOL), run_name="__main__")
    return ended.value.code


def test_the_whole_way_where_nothing_can_stand_in_for_a_card(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "which", lambda name: None)  # no g++
    assert run(monkeypatch, "--cpu-only", "--quick", "--out", str(tmp_path / "cpu")) == 0
    told = capsys.readouterr().out
    assert "No card, and no driver to stand in for one" in told
    assert (tmp_path / "cpu.md").read_text().strip() == told.strip()
    report = json.loads((tmp_path / "cpu.json").read_text())
    assert report["place"] == "cpu"
    assert report["why_no_stub"]
    states = {check["name"]: check["state"] for check in report["checks"]}
    assert states.pop("compute-sanitizer") == "absent"
    states.pop("spills")  # there may be no compiler
    assert {states.pop(f"frame, {r} f16, graph") for r in ("openvino", "onnxruntime")} == {"absent"}
    assert set(states.values()) == {"ok"}
    for kernel in ("image", "image, bent lens", *KERNELS):
        assert {f"kernel {kernel}", f"kernel {kernel}, again"} <= set(states)
    for runtime in ("openvino", "onnxruntime"):
        assert f"engine {runtime} f16" in states
    stages = {t["name"]: t for t in report["timings"]}
    frame = {"bev, openvino f16", "frame, openvino f16, no graph", "- fuse", "- refine"}
    assert frame | {f"kernel {name}" for name in KERNELS} <= set(stages)
    # What a CPU takes is no figure of a card.
    assert {t[time] for t in stages.values() for time in ("p50", "p99", "p999", "least_ms")} == {None}
    assert report["frame_least_ms"] is None
    assert report["frame_bytes"] > 0
    assert report["kernel_bytes"] > 0


def test_without_a_card_it_says_so(monkeypatch, capsys):
    if ask_driver().cards:
        pytest.skip("there is a card")
    assert run(monkeypatch) == 1
    assert "no NVIDIA driver; see `fusion-rt doctor`, or try --cpu-only" in capsys.readouterr().err


class Wrong(CpuDevice):
    """A device whose kernel is off by the least bit, or by another one each time."""

    def __init__(self, changing):
        super().__init__(1)
        self.runs, self.changing = 0, changing

    def kernel(self, name):
        right = super().kernel(name)

        def call(*arguments, **keywords):
            right(*arguments, **keywords)
            self.runs += 1
            if not self.changing or self.runs > 1:
                out = arguments[-1].reshape(-1)
                out[self.runs % 7 if self.changing else 0] += np.float32(1e-3)

        return call


@pytest.mark.parametrize(("changing", "states"), [(False, ["wrong", "ok"]), (True, ["ok", "wrong"])])
def test_a_wrong_kernel_is_found(cases, changing, states):
    checks, _ = card.check_kernel(Wrong(changing), cases["deskew"], runs=2)
    assert [check.state for check in checks] == states
    assert ("off by 0.000999" in checks[0].detail) is not changing


def test_within_what_is_allowed_is_right(cases):
    """A case with a tolerance takes what differs by less, and says by how much."""
    near, _ = card.check_kernel(Wrong(False), cases["deskew"]._replace(tolerance=2e-3), runs=1)
    assert near[0].state == "ok"
    assert near[0].detail == "off by 0.000999, 0.002 is allowed"


def test_every_kernel_has_a_case(cases, package):
    assert {case.name for case in cases.values()} == set(KERNELS)
    deskew = cases["deskew"]
    assert deskew.bytes == POINTS * (12 + 4 + 12)
    timing = card.measure("x", lambda: None, CpuDevice(1), count=10, nbytes=1000, bandwidth=1e9)
    assert timing.least_ms == pytest.approx(1e-3)
    assert timing.p50 <= timing.p99 <= timing.p999
    assert [case.label for case in answer_cases(package)] == ["count_broken", "rows_order", "rows_tell"]
