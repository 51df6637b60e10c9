import os
import subprocess
import sys

import msgspec
import pytest
from msgspec.structs import replace

from fusion_rt.engine.cache import ENVIRONMENT, KEPT, EngineCache, EngineKey
from fusion_rt.errors import EngineError

KEY = EngineKey(
    model="a" * 64,
    part="bev.f16",
    runtime="tensorrt",
    version="10.16.1.11",
    gpu="NVIDIA H100 80GB HBM3",
    architecture="sm_90",
    precision="f16",
    shapes={"roi": (128, 160)},
)
ENGINE = bytes(range(256)) * 64


def test_what_was_put_is_found_by_the_whole_description(tmp_path):
    cache = EngineCache(tmp_path)
    path = cache.put(KEY, ENGINE)
    assert path.name.startswith("bev.f16-sm_90-")
    assert EngineCache(tmp_path).get(KEY) == ENGINE
    for field, value in {
        "model": "b" * 64,
        "runtime": "tensorrt-rtx",
        "version": "11.0.0.114",  # an upgrade builds anew and leaves the old one
        "gpu": "NVIDIA H200",
        "architecture": "sm_89",
        "precision": "f32",
        "shapes": {"roi": (64, 160)},
    }.items():
        other = replace(KEY, **{field: value})
        assert cache.get(other) is None, field
        cache.put(other, b"other")
    assert cache.get(KEY) == ENGINE
    assert not cache.note


@pytest.mark.parametrize("damage", ["cut", "turned", "foreign", "empty", "of another key"])
def test_a_damaged_file_is_built_again(tmp_path, damage):
    cache = EngineCache(tmp_path)
    path = cache.put(KEY, ENGINE)
    whole = path.read_bytes()
    damaged = {
        "cut": whole[:-100],
        "turned": whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:],
        "foreign": b"hello" * 99,
        "empty": b"",
        "of another key": cache.put(replace(KEY, precision="f32"), ENGINE).read_bytes(),
    }[damage]
    path.write_bytes(damaged)
    assert cache.get(KEY) is None
    assert str(path) in cache.note
    assert cache.note.endswith("it is built again")
    cache.put(KEY, ENGINE)
    assert EngineCache(tmp_path).get(KEY) == ENGINE


def test_a_strangers_file_is_not_run(tmp_path):
    if os.getuid():
        pytest.skip("only root can give files away")
    cache = EngineCache(tmp_path)
    os.chown(cache.put(KEY, ENGINE), 12345, -1)
    assert cache.get(KEY) is None
    assert "belongs to user 12345" in cache.note


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    """Another is taken, and said; what lies in the first is still read."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    given = EngineCache(tmp_path / "given")
    given.put(KEY, ENGINE)

    def refuse(folder):
        if folder == given.folder:
            raise PermissionError(30, "Read-only file system")
        folder.mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr("fusion_rt.engine.cache._writable", refuse)
    cache = EngineCache(tmp_path / "given")
    assert cache.get(KEY) == ENGINE
    assert "given cannot be written (Read-only file system); engines are kept in" in cache.note
    other = replace(KEY, precision="int8")
    path = cache.put(other, ENGINE)
    assert path.parent == tmp_path / f"fusion_rt-{os.getuid()}" / "engines"
    assert EngineCache(tmp_path / "given").get(other) == ENGINE


def test_no_folder_at_all(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "file"))
    with pytest.raises(
        EngineError, match=rf"no folder for built engines: .* name a writable one in \${ENVIRONMENT}"
    ):
        EngineCache(tmp_path / "file" / "cache")


def test_the_environment_names_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "mine"))
    assert EngineCache().folder == tmp_path / "mine" / "engines"


def test_the_oldest_go(tmp_path):
    cache = EngineCache(tmp_path)
    for i in range(KEPT + 5):
        os.utime(cache.put(replace(KEY, model=f"{i:064d}"), ENGINE), (i, i))
    newest = replace(KEY, model="c" * 64)
    cache.put(newest, ENGINE)
    assert len(list(tmp_path.glob("*.engine"))) == KEPT
    assert cache.get(newest) == ENGINE
    assert cache.get(replace(KEY, model=f"{0:064d}")) is None


BUILD = """
import sys
from pathlib import Path
import msgspec
from fusion_rt.engine.cache import EngineCache, EngineKey
cache, key = EngineCache(Path(sys.argv[1])), msgspec.json.decode(sys.argv[2], type=EngineKey)
with cache.building(key):
    if cache.get(key) is None:
        cache.put(key, b"an engine")
        print("built")
    else:
        print("found")
"""


def test_of_three_processes_one_builds(tmp_path):
    command = [sys.executable, "-I", "-c", BUILD, str(tmp_path), msgspec.json.encode(KEY).decode()]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = [process.communicate(timeout=120)[0].strip() for process in processes]
    assert sorted(answers) == ["built", "found", "found"]
    assert not list(tmp_path.glob(".*"))
