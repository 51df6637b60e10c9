"""A recording made on the spot: every sensor, small enough for a test."""

from pathlib import Path

import pytest

from fusion_rt import config

DRIVE = """
duration_s: 0.7
world: {speed_mps: [5.0, 14.0], actors: 5}
cameras: {camera: {jpeg_quality: 80}}
lidars: {lidar: {pattern: VLP-16, sectors: 2, columns: 300}}
gnss: {gnss: {rate_hz: 10.0}}
imus: {imu: {rate_hz: 100.0}}
""" + (Path(__file__).parents[1] / "small_rig.yaml").read_text()


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MCAP log of a simulated drive; the test skips without the `sim` extra."""
    pytest.importorskip("embreex", reason="needs the sim extra")
    from fusion_rt.sim.drive_config import DriveConfig
    from fusion_rt.sim.recording import record

    path = tmp_path_factory.mktemp("golden") / "drive.mcap"
    record(config.parse(DRIVE, DriveConfig, "golden"), 3, path)
    return path
