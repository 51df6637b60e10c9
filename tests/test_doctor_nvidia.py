"""What `fusion-rt doctor` says of machines as they are found, from their facts; and of this one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

import fusion_rt.doctor
from fusion_rt.cli import app
from fusion_rt.device.nvidia import Card, Driver, ask_driver
from fusion_rt.doctor_nvidia import Facts, Finding, gather, judge

H100 = Card(name="NVIDIA H100 80GB HBM3", architecture="sm_90", memory_bytes=80 << 30, bandwidth_gb_s=3352.3)
RTX = Card(name="NVIDIA GeForce RTX 4090", architecture="sm_89", memory_bytes=24 << 30)
ORIN = Card(name="Orin", architecture="sm_87", memory_bytes=62 << 30, integrated=True)
P40 = Card(name="Tesla P40", architecture="sm_61", memory_bytes=24 << 30)
KERNELS = {"pycuda": "2026.1", "cuda-bindings": "13.0.3", "nvidia-cuda-nvrtc": "13.0.88"}


def of(card, cuda="13.0", **packages):
    return Facts(driver=Driver(loaded=True, cuda=cuda, cards=(card,)), packages=KERNELS | packages)


CASES = {
    "nothing": (
        Facts(driver=Driver(loaded=False)),
        {"NVIDIA driver": ("absent", "runs on the CPU", "https://www.nvidia.com/drivers")},
    ),
    "a container without --gpus": (
        Facts(driver=Driver(loaded=False, error="no libcuda"), container=True, device_file=True),
        {"NVIDIA driver": ("wrong", "there is a card, but no libcuda.so.1", "--gpus all")},
    ),
    "a driver without its library": (
        Facts(driver=Driver(loaded=False, error="no libcuda"), device_file=True),
        {"NVIDIA driver": ("wrong", "no libcuda.so.1", "reinstall the driver")},
    ),
    "updated and not restarted": (
        Facts(driver=Driver(loaded=True, error="cuInit: system driver mismatch (803)")),
        {"NVIDIA driver": ("wrong", "mismatch (803)", "restart the machine")},
    ),
    "no visible card": (
        Facts(driver=Driver(loaded=True, error="cuInit: no CUDA-capable device is detected (100)")),
        {"NVIDIA driver": ("wrong", "(100)", "CUDA_VISIBLE_DEVICES")},
    ),
    "a driver of CUDA 11": (
        of(H100, cuda="11.8"),
        {"NVIDIA driver": ("wrong", "too old, CUDA 12 or newer", "release 580 or newer")},
    ),
    "a driver of CUDA 12 under packages for 13": (
        replace(
            of(
                RTX,
                cuda="12.4",
                **{"tensorrt-cu13": "10.16.1", "tensorrt-rtx-cu13": "1.7.1", "torch": "2.13.0"},
            ),
            torch_cuda="13.0",
        ),
        {
            "NVIDIA driver": ("ok", "those for 13 do not", "release 580"),
            "CUDA kernels": ("wrong", "does not load on a driver of CUDA 12.4", "release 580"),
            "tensorrt": ("wrong", "does not run on a driver of CUDA 12.4", "pip install tensorrt-cu12"),
            "tensorrt-rtx": ("wrong", "does not run on a driver of CUDA 12.4", "release 580"),
            "torch-cuda": ("wrong", "is for CUDA 13.0, the driver runs 12.4", "pytorch.org"),
            "engine": ("absent", "OpenVINO on the CPU", "see above"),
        },
    ),
    "an H100 with everything": (
        replace(of(H100, **{"tensorrt-cu13": "11.4.0", "torch": "2.13.0"}), torch_cuda="13.0"),
        {
            "card 0": ("ok", "H100 80GB HBM3, sm_90, 80 GiB, 3352 GB/s (in use)", ""),
            "tensorrt": ("ok", "11.4.0 for CUDA 13", ""),
            "tensorrt-rtx": ("absent", "has no sm_90", ""),
            "engine": ("ok", "tensorrt, torch-cuda, OpenVINO", ""),
        },
    ),
    "an H100 with nothing": (
        replace(of(H100), packages={}),
        {
            "CUDA kernels": ("absent", "no launcher", "pip install 'fusion-rt[cuda]'"),
            "tensorrt": ("absent", "fastest", "pip install 'fusion-rt[tensorrt]'"),
            "torch-cuda": ("absent", "", "pip install 'fusion-rt[torch-cuda]'"),
            "onnxruntime-cuda": ("absent", "", "pip install onnxruntime-gpu"),
            "engine": ("absent", "OpenVINO on the CPU", "see above"),
        },
    ),
    "a launcher without a compiler": (
        replace(of(RTX), packages={"pycuda": "2026.1"}),
        {"CUDA kernels": ("absent", "no compiler", "pip install 'fusion-rt[cuda]'")},
    ),
    "a GeForce with RTX alone": (
        of(RTX, **{"tensorrt-rtx-cu13": "1.7.1.116"}),
        {"tensorrt-rtx": ("ok", "1.7.1.116", ""), "engine": ("ok", "tensorrt-rtx, OpenVINO", "")},
    ),
    "packages for the CPU": (
        of(RTX, torch="2.13.0", onnxruntime="1.31.0"),
        {
            "torch-cuda": ("absent", "was built without CUDA", "pip uninstall torch"),
            "onnxruntime-cuda": ("absent", "", "pip uninstall onnxruntime; pip install onnxruntime-gpu"),
        },
    ),
    "both ONNX Runtimes": (
        of(RTX, **{"onnxruntime": "1.31.0", "onnxruntime-gpu": "1.31.0"}),
        {"onnxruntime-cuda": ("wrong", "has the same files", "pip uninstall onnxruntime onnxruntime-gpu")},
    ),
    "a Jetson": (
        replace(of(ORIN, tensorrt="10.7.0"), jetson="R36 (release)"),
        {
            "NVIDIA driver": ("ok", "Jetson Linux R36 (release)", ""),
            "card 0": ("ok", "62 GiB shared with the CPU", ""),
            "tensorrt": ("ok", "10.7.0", ""),
            "tensorrt-rtx": ("absent", "has no sm_87", ""),
            "torch-cuda": ("absent", "", "docs/nvidia.md"),
        },
    ),
    "a card that is too old": (of(P40), {"card 0": ("absent", "sm_61, 24 GiB: too old", "sm_75 or newer")}),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_said(case):
    facts, expected = CASES[case]
    rows = {row.part: row for row in judge(facts)}
    for part, (state, detail, remedy) in expected.items():
        row = rows[part]
        assert row.state == state, row
        assert detail in row.detail
        assert remedy in row.remedy
        assert state == "ok" or row.remedy or "has no" in row.detail
    if facts.driver.cards and case != "a card that is too old":
        assert list(rows)[-1] == "engine"


def test_two_cards():
    rows = judge(Facts(driver=Driver(loaded=True, cuda="13.0", cards=(RTX, H100))))
    assert rows[0].detail == "runs CUDA 13.0, 2 cards"
    assert [row.detail.split()[-2:] for row in rows[1:3]] == [["(in", "use)"], ["(not", "used)"]]


def test_this_machine():
    """Really asked: whatever there is, nothing raises, and the whole command agrees."""
    facts = gather()
    assert facts.driver == ask_driver()
    if not Path("/dev/nvidiactl").exists():
        assert facts.driver == Driver(loaded=False)
    code = "from fusion_rt.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "doctor", "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    rows = {row["part"]: row for row in json.loads(done.stdout)}
    for mine in judge(facts):
        assert rows[mine.part]["detail"] == mine.detail
    assert done.returncode == int(any(row["state"] == "wrong" for row in rows.values()))


def test_brackets_of_an_extra_are_printed(monkeypatch):
    """They are no markup."""
    found = [Finding("ray", "absent", "[many] logs", "pip install 'fusion-rt[ray]'")]
    monkeypatch.setattr(fusion_rt.doctor, "examine", lambda: found)
    said = CliRunner().invoke(app, ["doctor"]).stdout
    assert "fusion-rt[ray]" in said
    assert "[many] logs" in said
