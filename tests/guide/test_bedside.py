"""The guide's worked example, shortened."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "guide" / "bedside"


def test_the_bedside_monitor_learns_and_streams():
    pytest.importorskip("torch")
    command = [
        sys.executable,
        str(FOLDER / "run.py"),
        "--seconds",
        "600",
        "--steps",
        "250",
        "--samples",
        "700",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--answers", "6", "--without", "bed"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    table = {
        name.strip(): (float(alarm), float(place))
        for name, alarm, place in re.findall(
            r"^(all|without \w+) +alarm +([\d.]+)%  place +([\d.]+)%", done.stdout, re.M
        )
    }
    assert set(table) == {"all", "without bed", "without vitals", "without note"}
    assert table["all"][0] > 75
    assert table["all"][1] > 95
    for lost in ("bed", "vitals", "note"):
        assert table[f"without {lost}"][0] < table["all"][0] - 3  # each tells what no other does
    assert done.stdout.count("without bed\n") >= 1  # the answers go on, and say so
    assert re.search(r"^\d+ of [67] alarms right$", done.stdout, re.M)
