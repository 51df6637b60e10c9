import pytest

from fusion_rt.errors import ConfigError
from fusion_rt.homeassistant.memory import Memory, default_path


def test_it_comes_back(tmp_path):
    path = tmp_path / "new" / "state.json"
    assert Memory.load(path) == (Memory(), "")
    memory = Memory(devices={"t": {"people": "sensor"}}, retained=["r"], settings={"a": 1.5, "b": False})
    memory.save(path)
    assert Memory.load(path) == (memory, "")
    assert [file.name for file in path.parent.iterdir()] == ["state.json"]


@pytest.mark.parametrize("content", [b"", b"\xff", b'{"version": 1, "devices": 3}', b'{"version": 9}'])
def test_what_cannot_be_used_is_said_and_replaced(tmp_path, content):
    path = tmp_path / "state.json"
    path.write_bytes(content)
    memory, said = Memory.load(path)
    assert memory == Memory()
    assert "anew" in said
    assert str(path) in said


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="state_file"):
        Memory().save(tmp_path / "file" / "state.json")
    with pytest.raises(ConfigError, match="cannot be read"):
        Memory.load(tmp_path)


def test_the_default_place(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_path("flat") == tmp_path / "fusion_rt" / "homeassistant-flat.json"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_path("flat") == tmp_path / ".local/state/fusion_rt/homeassistant-flat.json"
