import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from fusion_rt.commands import formats, recordings
from fusion_rt.errors import ConfigError, FusionError
from fusion_rt.logs import LogWriter
from fusion_rt.messages import GnssFix, Header, PointCloud
from fusion_rt.rig import Gnss, Lidar, Pose, Rig

app = typer.Typer(pretty_exceptions_enable=False)
app.add_typer(recordings.importers, name="import")
app.command()(formats.convert)


def run(*words):
    """The command's result; an error of ours is raised, as `main` gets it."""
    result = CliRunner().invoke(app, [str(w) for w in words])
    if isinstance(result.exception, FusionError):
        raise result.exception
    return result


@pytest.fixture
def drive(tmp_path):
    path = tmp_path / "drive.mcap"
    with LogWriter(path, Rig(lidars={"lidar": Lidar(pose=Pose())}, gnss={"gnss": Gnss()})) as log:
        for k in range(3):
            stamp = 1_700_000_000_000_000_000 + k * 10**8
            header = Header(sensor_id="lidar", frame_id="lidar", seq=k, stamp_ns=stamp)
            n = np.zeros(9, np.float32)
            log.write(
                PointCloud(
                    header=header, xyz=np.ones((9, 3), np.float32), intensity=n, t=n, ring=n.astype("u2")
                )
            )
        header = Header(sensor_id="gnss", frame_id="gnss", seq=0, stamp_ns=stamp)
        log.write(
            GnssFix(
                header=header,
                latitude_deg=49.0,
                longitude_deg=8.0,
                altitude_m=0.0,
                position_covariance=(1.0,) * 9,
            )
        )
    return path


def test_there_and_back(drive, tmp_path):
    result = run("convert", drive, "--to", "rosbag2", "-o", tmp_path / "bag")
    assert result.output == f"{tmp_path}/bag: 1 of gnss, 3 of lidar\n"
    result = run("import", "rosbag", tmp_path / "bag", "-o", tmp_path / "again.mcap")
    assert result.output == f"{tmp_path}/again.mcap: 4 packets, 0.2 s\n"
    assert (tmp_path / "again.mcap").read_bytes() == drive.read_bytes()


def test_convert_says_what_it_left_out(drive, tmp_path):
    answer = json.loads(run("convert", drive, "--to", "pcd", "-o", tmp_path / "p", "--json").stdout)
    assert answer == {
        "path": f"{tmp_path}/p",
        "packets": {"lidar": 3},
        "left_out": ["gnss: pcd has no place for GnssFix"],
    }
    answer = json.loads(run("import", "pcd", tmp_path / "p", "-o", tmp_path / "b.mcap", "--json").stdout)
    assert answer["logs"] == [{"path": f"{tmp_path}/b.mcap", "packets": 3, "seconds": 0.2}]
    assert "no ground is seen in the first sweep" in answer["notes"][0]
    assert answer["errors"] == []


def test_topics_are_pairs(drive, tmp_path):
    run("convert", drive, "--to", "rosbag1", "-o", tmp_path / "a.bag")
    for word, said in (("lidar", "expected NAME=TOPIC"), ("lidar=", "expected NAME=TOPIC")):
        with pytest.raises(ConfigError, match=said):
            run("import", "rosbag", tmp_path / "a.bag", "-o", tmp_path / "b.mcap", "--topic", word)
    twice = ("--topic", "lidar=/lidar/points", "--topic", "lidar=/x")
    with pytest.raises(ConfigError, match="lidar is /lidar/points already"):
        run("import", "rosbag", tmp_path / "a.bag", "-o", tmp_path / "b.mcap", *twice)
    # Under another name it is not in the rig that the bag holds; without that, the bag says enough.
    named = ("--topic", "roof=/lidar/points", "--lidar-height", "1.9")
    result = run("import", "rosbag", tmp_path / "a.bag", "-o", tmp_path / "b.mcap", *named, "--json")
    assert json.loads(result.stdout)["logs"][0]["packets"] == 4


@pytest.mark.parametrize(
    "command",
    [
        ("import", "rosbag"),
        ("import", "mcap"),
        ("import", "pcd"),
        ("import", "nuscenes"),
        ("import", "ouster"),
        ("convert",),
    ],
)
def test_help_has_an_example(command):
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert f"fusion-rt {' '.join(command)} " in result.output
