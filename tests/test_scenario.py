from pathlib import Path

import pytest

from fusion_rt import scenario
from fusion_rt.errors import ConfigError, NodeError
from fusion_rt.scenario import Scenario

ROOT = Path(__file__).resolve().parents[1]


def test_the_driving_scenario():
    nodes = scenario.load(ROOT / "configs" / "driving.yaml").processes("driving.yaml")
    assert [node.use for node in nodes] == ["replay", "fusion"]
    replay = nodes[0]
    settings = scenario.settings(scenario.find("replay"), replay)
    assert settings.loop
    assert settings.speed == 1.0


def test_a_node_may_have_another_name_than_what_it_uses():
    given = Scenario(nodes={"front": {"use": "camera", "source": 0, "sensor_id": "cam", "ends_run": True}})
    (node,) = given.processes("s.yaml")
    assert (node.name, node.use, node.ends_run, node.source) == (
        "front",
        "camera",
        True,
        "s.yaml: nodes.front",
    )
    assert node.config == {"source": 0, "sensor_id": "cam"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nodes: {}", "nothing to run"),
        ("nodes: {a b: {}}", "for a name"),
        ("node: {}", "node: unknown key, did you mean 'nodes'"),
        ("nodes: {a: {}}\nbus: {run_dri: x}", "bus.run_dri: unknown key, did you mean 'run_dir'"),
        ("nodes: 3", "nodes: "),
    ],
)
def test_wrong_files(tmp_path, text, message):
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        scenario.load(path)


@pytest.mark.parametrize("content", [{"use": 3}, {"ends_run": "yes"}])
def test_wrong_reserved_keys(content):
    with pytest.raises(ConfigError, match=r"s.yaml: nodes.a: `use`"):
        Scenario(nodes={"a": content}).processes("s.yaml")


def test_nodes_that_are_not_there(tmp_path, monkeypatch):
    with pytest.raises(
        ConfigError,
        match=r"no node 'fussion': did you mean 'fusion'\? installed: bridge, camera, control, foxglove",
    ):
        scenario.find("fussion")
    information = tmp_path / "x-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: x\nVersion: 1\n")
    (information / "entry_points.txt").write_text("[fusion_rt.nodes]\nlost = no_such_module:run\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(NodeError, match=r"'lost' \(no_such_module:run\) cannot be imported"):
        scenario.find("lost")


def test_files(tmp_path):
    assert scenario.locate(str(tmp_path / "a.yaml")) == tmp_path / "a.yaml"
    with pytest.raises(ConfigError, match="not bundled"):
        scenario.locate("bundled:nothing.mcap")
    with pytest.raises(ConfigError, match="cannot be read"):
        scenario.load_rig(str(tmp_path / "absent.yaml"))


def test_whose_sensors_are_recorded():
    """The fusion node's before others'; one of sensors alone may have it in any node, or in none."""
    nodes = {"foxglove": {"rig": "a.yaml"}, "engine": {"use": "fusion", "rig": "b.yaml"}}
    assert scenario.sensors_of(Scenario(nodes=nodes), "s.yaml") == {"rig": "b.yaml"}
    assert scenario.sensors_of(Scenario(nodes={"foxglove": nodes["foxglove"]}), "s.yaml") == {"rig": "a.yaml"}
    home = {"household": {"plan": "a.yaml"}, "home": {"plan": "b.yaml"}}
    assert scenario.sensors_of(Scenario(nodes=home), "s.yaml") == {"plan": "b.yaml"}
    assert scenario.sensors_of(Scenario(nodes=home | nodes), "s.yaml") == {"rig": "b.yaml", "plan": "b.yaml"}
    with pytest.raises(ConfigError, match=r"s\.yaml: no node has a `rig` or a `plan`, .* name it with --rig"):
        scenario.sensors_of(Scenario(nodes={"replay": {"log": "x.mcap"}}), "s.yaml")
