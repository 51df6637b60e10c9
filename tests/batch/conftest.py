"""Pieces of the bundled drive, as a user's folder of recordings."""

from pathlib import Path

import pytest

from fusion_rt import logs
from fusion_rt.batch import replays
from fusion_rt.pipeline import PipelineConfig
from fusion_rt.scenario import locate


def piece(path: Path, start_s: float, end_s: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with logs.open(locate("bundled:drive.mcap")) as whole, logs.LogWriter(path, whole.rig) as out:
        for packet in whole:
            if start_s <= (packet.header.stamp_ns - whole.start_ns) / 1e9 < end_s:
                out.write(packet)


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two in two folders, and one that is none."""
    folder = tmp_path_factory.mktemp("recordings")
    piece(folder / "first.mcap", 0.0, 0.4)
    piece(folder / "town" / "second.mcap", 1.0, 1.3)
    (folder / "damaged.mcap").write_bytes(b"no recording")
    return folder


@pytest.fixture(scope="session")
def answers(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the engine says of each, one after the other on one thread."""
    folder = tmp_path_factory.mktemp("answers")
    replays.replay_folder(recordings, folder, PipelineConfig(threads=1))
    return folder
