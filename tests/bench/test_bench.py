"""A short benchmark of the bundled drive with real processes, and what it is told and tells."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from fusion_rt import config
from fusion_rt.bench import table
from fusion_rt.bench.config import BenchConfig, recording
from fusion_rt.bench.driving import BenchResult
from fusion_rt.errors import ConfigError
from fusion_rt.scenario import find_file

ROOT = Path(__file__).resolve().parents[2]
SIM = """
duration_s: 0.3
cameras: {}
lidars: {lidar: {pattern: VLP-16, sectors: 1, columns: 200}}
gnss: {}
imus: {}
rig: {lidars: {lidar: {pose: {translation: [0.0, 0.0, 1.73]}}}}
"""


def parse(text):
    return config.parse(text, BenchConfig, "bench.yaml")


def test_what_ships():
    settings = config.load(find_file("driving", "bench"), BenchConfig)
    assert list(settings.engines) == ["openvino int8", "openvino f32"]
    assert settings.sim is not None
    assert config.load(ROOT / "configs" / "bench" / "driving.yaml", BenchConfig) == settings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seconds: 3", "give either `log`"),
        ("{log: a.mcap, sim: {}}", "give either `log`"),
        ("{log: a.mcap, engines: {}}", "nothing to measure"),
        ("{log: a.mcap, secnds: 3}", "did you mean 'seconds'"),
        ("{log: a.mcap, seconds: -1}", "seconds"),
    ],
)
def test_wrong_files(text, message):
    with pytest.raises(ConfigError, match=message):
        parse(text)


def test_a_recording_is_simulated_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    settings = BenchConfig(sim=config.parse(SIM, dict, "sim"))
    shares = []
    path = recording(settings, shares.append)
    assert path.parent == tmp_path / "fusion_rt"
    assert shares
    written = path.stat().st_mtime_ns
    assert recording(settings, lambda share: pytest.fail("made again")) == path
    assert path.stat().st_mtime_ns == written
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # nothing half done
    other = BenchConfig(sim=config.parse(SIM.replace("200", "100"), dict, "sim"))
    assert recording(other) != path


def test_a_benchmark_of_the_bundled_drive(tmp_path):
    plot, page = tmp_path / "stages.png", tmp_path / "bench.md"
    options = ["--log", "bundled:drive.mcap", "--seconds", "4", "--json"]
    with tempfile.TemporaryDirectory(prefix="frt") as folder:
        os.chmod(folder, 0o700)
        done = subprocess.run(
            [
                *(sys.executable, "-I", "-c", "from fusion_rt.cli import main; main()", "bench"),
                *(*options, "--markdown", str(page), "--plot", str(plot)),
            ],
            env=os.environ | {"XDG_RUNTIME_DIR": folder},
            capture_output=True,
            timeout=200,
            check=False,
        )
    assert done.returncode == 0, done.stderr.decode()
    result = config.convert(json.loads(done.stdout), BenchResult, "result")
    assert [engine.name for engine in result.engines] == ["openvino int8", "openvino f32"]
    for engine in result.engines:
        assert engine.latency_ms.count > 0
        assert engine.rest_ms.p50 < engine.latency_ms.p50
        assert {"camera_encode", "pillars", "fuse", "track"} <= set(engine.stages_ms)
        assert engine.offline_ms.count == 59  # gaps between 60 answers
        assert engine.rss_mb["fusion"] > 0
    assert plot.read_bytes().startswith(b"\x89PNG")
    text = page.read_text()
    assert text == table.markdown(result)
    assert "## openvino f32" in text
    assert "the same without the network" in text
