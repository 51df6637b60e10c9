"""The ego filter on real recordings, against their references."""

import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from fusion_rt.cli import app
from fusion_rt.errors import LogError
from fusion_rt.evaluation import ego
from fusion_rt.evaluation.ego_recordings import find


@pytest.fixture(scope="session")
def report(shared_data):
    return ego.evaluate(shared_data / "gnss" / "comma2k19_segment40")


def test_a_minute_of_real_driving(report):
    rows = {row.scenario: row for row in report.rows}
    assert list(rows) == [scenario.name for scenario in ego.SCENARIOS]
    assert rows["as recorded"].rmse_m < 0.6
    assert rows["noise 3 m"].rmse_m < 0.5 * rows["noise 3 m"].fixes_m
    assert rows["outage 5 s"].last_m < rows["outage 10 s"].last_m < rows["outage 30 s"].last_m < 40
    assert rows["outage 30 s"].rmse_m < 0.3 * min(
        rows["outage 30 s"].plain_rmse_m, rows["outage 30 s"].coasted_rmse_m
    )
    assert rows["outage 5 s"].fixes_m is None
    ego.render(report)


def test_reflections_do_not_pull_it_away(report):
    row = next(row for row in report.rows if row.scenario == "multipath")
    assert row.fixes_m > 5
    assert row.rmse_m < 0.2 * row.plain_rmse_m


def test_the_same_twice(shared_data):
    one, two = (ego.evaluate(shared_data / "gnss" / "kitti_oxts") for _ in range(2))
    assert one.rows == two.rows


def test_a_folder_of_oxts(shared_data):
    done = CliRunner().invoke(app, ["eval", "ego", str(shared_data / "gnss" / "kitti_oxts"), "--json"])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["rows"]
    # Fifteen seconds: too short for an outage.
    assert [row["scenario"] for row in rows] == ["as recorded", "noise 3 m", "multipath"]
    assert rows[0]["rmse_m"] < 1.5


def test_what_cannot_be_used(shared_data, tmp_path):
    with pytest.raises(LogError, match="neither oxts files"):
        ego.evaluate(tmp_path)
    whole = shared_data / "gnss" / "comma2k19_segment40"
    shutil.copytree(whole, tmp_path / "segment")
    (tmp_path / "segment" / "processed_log" / "IMU" / "gyro" / "value.npy").write_bytes(b"\x93NUMPY")
    (tmp_path / "short.txt").write_text(
        "".join((shared_data / "gnss/kitti_oxts/drive_tracking_0000.txt").read_text().splitlines(True)[:20])
    )
    with pytest.raises(LogError, match=r"short\.txt: less than 10 s.*segment: not a whole comma2k19 segment"):
        ego.evaluate(tmp_path)
    shutil.copytree(whole, tmp_path / "good")
    recordings, skipped = find(tmp_path)
    assert [r.name for r in recordings] == ["good"]
    assert len(skipped) == 2
    stamps = np.array([recordings[0].begins, recordings[0].ends])
    assert np.isfinite(recordings[0].reference(stamps)).all()
