"""A folder of recordings, without workers; where the engine does not matter, it only counts packets."""

import io
import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from fusion_rt import logs, offline
from fusion_rt.batch.replays import replay_folder
from fusion_rt.errors import ConfigError, LogError
from fusion_rt.offline import Replayed
from fusion_rt.pipeline import PipelineConfig

CONFIG = PipelineConfig(threads=1)
BOTH = ["first.mcap", "town/second.mcap"]


def count(path, config, out):
    """In the place of offline.replay."""
    with logs.open(path) as log:
        n = sum(1 for _ in log)
    out.write(b"%d\n" % n)
    zeros = dict.fromkeys(("log_s", "objects_mean", "objects_p95"), 0.0)
    return Replayed(predictions=n, objects=0, rungs={}, tracks={}, notes=(), **zeros)


def states(report):
    return {row.log: row.state for row in report.logs}


@pytest.fixture
def folder(recordings, tmp_path):
    """One's own."""
    return Path(shutil.copytree(recordings, tmp_path / "in"))


@pytest.fixture
def out(folder, tmp_path, monkeypatch):
    """Where the answers of `folder` lie."""
    monkeypatch.setattr(offline, "replay", count)
    told = []
    report = replay_folder(folder, tmp_path / "out", CONFIG, advance=lambda *so_far: told.append(so_far))
    assert states(report) == {"damaged.mcap": "failed", "first.mcap": "done", "town/second.mcap": "done"}
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
    return tmp_path / "out"


def made(folder, out, config=CONFIG, **options):
    """Which are replayed again."""
    return [row.log for row in replay_folder(folder, out, config, **options).of("done")]


def test_the_bytes_of_each_alone(recordings, answers):
    assert {str(p.relative_to(answers)) for p in answers.rglob("*") if p.is_file()} == {
        "first.jsonl",
        "first.summary.json",
        "town/second.jsonl",
        "town/second.summary.json",
    }
    alone = io.BytesIO()
    result = offline.replay(recordings / "first.mcap", CONFIG, alone)
    assert (answers / "first.jsonl").read_bytes() == alone.getvalue()
    assert alone.getvalue().count(b"\n") == result.predictions == 4
    assert result.objects == result.objects_mean * 4 > 0
    assert result.objects_mean <= result.objects_p95 <= result.objects


def test_what_is_there_is_kept(folder, out):
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.json*")}
    report = replay_folder(folder, out, replace(CONFIG, threads=2))
    assert states(report) == {"damaged.mcap": "failed", "first.mcap": "kept", "town/second.mcap": "kept"}
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.json*")} == before
    for row in report.of("kept"):
        assert (out / row.log).with_suffix(".jsonl").read_text() == f"{row.summary.result.predictions}\n"


def test_what_is_of_another_source_is_made_again(folder, out, model_package):
    assert made(folder, out, again=True) == BOTH
    assert made(folder, out, replace(CONFIG, align=replace(CONFIG.align, deadline_s=0.04))) == BOTH
    assert made(folder, out, replace(CONFIG, model=str(model_package.folder))) == BOTH
    assert made(folder, out) == BOTH
    assert made(folder, out) == []
    shutil.copy(folder / "town" / "second.mcap", folder / "first.mcap")
    assert made(folder, out) == ["first.mcap"]


def test_what_is_incomplete_is_made_again(folder, out):
    (out / "first.jsonl").write_bytes(b"")
    (out / "town" / "second.summary.json").write_text("{}")
    assert made(folder, out) == BOTH


def test_a_recording_that_fails_leaves_no_old_answers(folder, out):
    (folder / "first.mcap").write_bytes(b"no recording")
    report = replay_folder(folder, out, CONFIG)
    assert states(report) == {"damaged.mcap": "failed", "first.mcap": "failed", "town/second.mcap": "kept"}
    assert "first.mcap: not an MCAP recording" in report.of("failed")[1].reason
    assert [path.name for path in out.iterdir()] == ["town"]


def test_where_nothing_can_be_written(folder, out):
    (out / "file").touch()
    report = replay_folder(folder, out / "file", CONFIG)
    assert set(states(report).values()) == {"failed"}
    assert "first.jsonl: cannot be written" in report.logs[1].reason


def test_nothing_to_replay(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(LogError, match=r"empty: no recording NAME\.mcap there"):
        replay_folder(tmp_path / "empty", tmp_path, CONFIG)
    with pytest.raises(ConfigError, match="no model package there"):
        replay_folder(folder, tmp_path, PipelineConfig(model="driving-xl"))
