import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from fusion_rt.commands import recordings
from fusion_rt.errors import LogError
from fusion_rt.logs import LogWriter
from fusion_rt.messages import Header, ImuSample
from fusion_rt.rig import Camera, Imu, Pose, Rig

app = typer.Typer(pretty_exceptions_enable=False)
app.add_typer(recordings.importers, name="import")
app.command()(recordings.info)

CALIBRATION = """P2: 721.5 0 609.6 44.86 0 721.5 172.9 0.2164 0 0 1 0.002746
R_rect 1 0 0 0 1 0 0 0 1
Tr_velo_cam 0 -1 0 0 0 0 -1 -0.08 1 0 0 -0.27
"""


def run(*words):
    """The command's result; an error of ours is raised, as `main` gets it."""
    result = CliRunner().invoke(app, [str(w) for w in words])
    if isinstance(result.exception, LogError):
        raise result.exception
    return result


@pytest.fixture
def sequences(tmp_path):
    """Tracking: 0001 has three sweeps, the second damaged; 0002 has nothing."""
    for name in ("calib", "velodyne/0001"):
        (tmp_path / "tracking" / name).mkdir(parents=True)
    for name in ("0001", "0002"):
        (tmp_path / "tracking" / "calib" / f"{name}.txt").write_text(CALIBRATION)
    for frame in range(3):
        points = np.ones((5, 4), "<f4")
        (tmp_path / "tracking" / "velodyne" / "0001" / f"{frame:06d}.bin").write_bytes(
            points.tobytes()[frame % 2 :]
        )
    return tmp_path / "tracking"


@pytest.fixture
def drive(tmp_path):
    camera = Camera(width=640, height=480, K=((500, 0, 320), (0, 500, 240), (0, 0, 1)), pose=Pose())
    with LogWriter(tmp_path / "drive.mcap", Rig(cameras={"front": camera}, imus={"imu": Imu()})) as log:
        for i in range(21):
            header = Header(
                sensor_id="imu", frame_id="imu", seq=i, stamp_ns=1_700_000_000_000_000_000 + i * 10**8
            )
            log.write(ImuSample(header=header, specific_force=(0.0, 0.0, 9.8), angular_rate=(0.0, 0.0, 0.0)))
    return tmp_path / "drive.mcap"


def test_import_says_what_was_written_and_what_was_left_out(sequences, tmp_path):
    result = run("import", "kitti", sequences, "-o", tmp_path / "out")
    assert result.exit_code == 0
    assert f"{tmp_path}/out/0001.mcap: 2 packets, 0.2 s\n" in result.output
    assert "left out: " in result.output
    assert "000001.bin: 79 bytes are no whole number of points" in result.output
    assert "sequence 0002 has no images" in result.output


def test_import_json(sequences, tmp_path):
    result = run("import", "kitti", sequences, "-o", tmp_path / "out", "--sequence", "1", "--json")
    answer = json.loads(result.stdout)
    assert answer["logs"] == [{"path": f"{tmp_path}/out/0001.mcap", "packets": 2, "seconds": 0.2}]
    (error,) = answer["errors"]
    assert "000001.bin" in error


def test_import_of_nothing_is_an_error(sequences, tmp_path):
    with pytest.raises(LogError, match="nothing could be read"):
        run("import", "kitti", sequences, "-o", tmp_path / "out", "--sequence", "2")
    with pytest.raises(LogError, match="gone: no such folder"):
        run("import", "kitti", tmp_path / "gone", "-o", tmp_path / "out")


def test_info(drive):
    result = run("info", drive)
    assert result.exit_code == 0
    first, *rest = result.output.splitlines()
    assert first.startswith(f"{drive}: 2.00 s from 2023-11-14 22:13:20 UTC, 23 messages,")
    (row,) = [line.split() for line in rest if line.split()[0] == "/imu"]
    assert row == ["/imu", "fusion_rt.imu", "21", "10.0", "Hz"]
    assert "sensors: front (camera 640 x 480), imu (imu)" in result.output
    assert "sound" not in result.output
    assert "every message is sound" in run("info", drive, "--check").output


def test_info_json(drive):
    answer = json.loads(run("info", drive, "--json").stdout)
    assert answer["topics"]["/imu"] == {"schema": "fusion_rt.imu", "messages": 21, "rate_hz": 10.0}
    assert answer["topics"]["/tf"]["rate_hz"] is None
    assert answer["sensors"]["front"] == {"kind": "camera", "width": 640, "height": 480}
    assert (answer["seconds"], answer["recovered"], answer["skipped"]) == (2.0, "", None)
    assert answer["bytes"] == drive.stat().st_size
    assert json.loads(run("info", drive, "--json", "--check").stdout)["skipped"] == {}


def test_info_of_a_cut_recording_says_so(drive):
    drive.write_bytes(drive.read_bytes()[:-10])
    result = run("info", drive)
    assert result.exit_code == 0
    assert "the index is missing; read through instead: 23 messages are there" in result.output
    assert json.loads(run("info", drive, "--json").stdout)["topics"]["/imu"]["messages"] == 21


def test_info_of_another_file_is_an_error(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(LogError, match=r"a\.png: not an MCAP recording"):
        run("info", tmp_path / "a.png")


@pytest.mark.parametrize("command", [("import", "kitti"), ("info",)])
def test_help_has_an_example(command):
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert f"fusion-rt {' '.join(command)} " in result.output
