"""fusion-rt eval home-data and train home-data, as a user types them."""

import json
from datetime import datetime, timedelta

import numpy as np
import pytest
from typer.testing import CliRunner

from fusion_rt.cli import app
from fusion_rt.errors import ConfigError, LogError

runner = CliRunner()
HEADER = '"date","Temperature","Humidity","Light","CO2","HumidityRatio","Occupancy"'


def office(path, rows, seed=0):
    """An office whose lamp and air follow the people."""
    rng = np.random.default_rng(seed)
    lines, co2 = [HEADER], 450.0
    for i in range(rows):
        there = (i // 60) % 2
        co2 += (900 * there + 450 * (1 - there) - co2) * 0.03 + rng.normal(0, 2)
        time = datetime(2015, 2, 16, 8) + timedelta(minutes=i)
        light = 430 * there + rng.normal(5, 1)
        lines.append(f'"{i}","{time}",{21 + there},{30 + there},{light:.1f},{co2:.1f},0.004,{there}')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def run(*arguments):
    done = runner.invoke(app, [*map(str, arguments)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


@pytest.fixture
def home(tmp_path):
    office(tmp_path / "home" / "uci_occupancy" / "tuesday.txt", 240)
    return tmp_path / "home"


def test_a_file_of_the_same_layout_is_judged(home):
    done = run("eval", "home-data", home, "--json")
    report = json.loads(done.stdout)
    (table,) = report["tables"]
    rows = {(row["method"], row["inputs"]): row for row in table["rows"]}
    assert {row["judged"] for row in rows.values()} == {"tuesday"}
    everything = rows["office-occupancy", "all"]["figures"]
    assert everything["accuracy"]["value"] > 0.9
    assert everything["true flips"]["value"] == 3
    assert ("office-occupancy", "without light") in rows
    # What the head learned from is not in this folder.
    assert any("--training" in note for note in table["notes"])
    assert "rooms: no folder uci_room_estimation" in done.stderr
    assert run("eval", "home-data", home, "--json").stdout == done.stdout


def test_tables_are_drawn_and_written(home, tmp_path):
    written = tmp_path / "home.md"
    done = run("eval", "home-data", home, "--part", "occupancy", "--no-baselines", "--markdown", written)
    assert "Office occupancy" in done.stdout
    assert "CC BY 4.0" in done.stdout
    assert "| office-occupancy | without light |" in written.read_text(encoding="utf-8")


def test_what_is_wrong_is_said(home, tmp_path):
    with pytest.raises(ConfigError, match="kitchen: no such part; known are occupancy"):
        run("eval", "home-data", home, "--part", "kitchen")
    with pytest.raises(ConfigError, match="--head needs one --part"):
        run("eval", "home-data", home, "--head", "fall")
    with pytest.raises(LogError, match="uci_room_estimation: not there"):
        run("eval", "home-data", home, "--part", "rooms")
    with pytest.raises(LogError, match="none of the folders"):
        run("eval", "home-data", tmp_path)
    with pytest.raises(ConfigError, match="no head of that name; known are office-occupancy"):
        run("train", "home-data", "kitchen", "--data", home)
    (home / "uci_occupancy" / "tuesday.txt").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(LogError, match="columns are a, b"):
        run("eval", "home-data", home)


def test_training_needs_its_file(home):
    with pytest.raises(LogError, match=r"datatraining\.txt: cannot be read"):
        run("train", "home-data", "office-occupancy", "--data", home)
