"""tools/gpu_check.py goes its whole way on a CPU, and its checks find what is wrong."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from fusion_rt.bench import card
from fusion_rt.device import CpuDevice
from fusion_rt.device.nvidia import ask_driver
from fusion_rt.models.package import ModelPackage
from fusion_rt.parity import bundled_frames

TOOL = Path(__file__).resolve().parents[2] / "tools" / "gpu_check.py"


@pytest.fixture(scope="module")
def package():
    return ModelPackage.load("driving-s")


@pytest.fixture(scope="module")
def cases(package):
    rig, frames = bundled_frames(1)
    return list(card.kernel_cases(package, rig, frames[0]))


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [str(TOOL), *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(TOOL), run_name="__main__")
    return ended.value.code


def test_the_whole_way_on_a_cpu(tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, "--cpu-only", "--quick", "--out", str(tmp_path / "cpu")) == 0
    told = capsys.readouterr().out
    assert "Measured on a CPU: a trial of the tool, no figure of a card." in told
    assert (tmp_path / "cpu.md").read_text().strip() == told.strip()
    report = json.loads((tmp_path / "cpu.json").read_text())
    assert report["cpu"]
    states = {check["name"]: check["state"] for check in report["checks"]}
    assert states.pop("compute-sanitizer") == "absent"
    assert set(states.values()) == {"ok"}
    for kernel in ("image", "deskew", "pillars", "lift", "bev_warp"):
        assert {f"kernel {kernel}", f"kernel {kernel}, again"} <= set(states)
    for runtime in ("openvino", "onnxruntime"):
        assert f"engine {runtime} f16" in states
    stages = {t["name"]: t for t in report["timings"]}
    assert {"kernel pillars", "bev, openvino f16", "frame, openvino f16", "- fuse", "- refine"} <= set(stages)
    for t in stages.values():
        assert 0 < t["p50"] <= t["p99"] <= t["p999"]
    assert report["frame_least_ms"] > 0


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
    checks = card.check_kernel(Wrong(changing), cases[1], runs=2)
    assert [check.state for check in checks] == states
    assert ("off by 0.000999" in checks[0].detail) is not changing


def test_every_case_moves_what_it_says(cases):
    assert {case.name for case in cases} == {"image", "deskew", "pillars", "lift", "bev_warp"}
    deskew = cases[1]
    assert deskew.bytes == card.POINTS * (12 + 4 + 12)
    timing = card.measure("x", lambda: None, CpuDevice(1), count=10, nbytes=1000, bandwidth=1e9)
    assert timing.least_ms == pytest.approx(1e-3)
