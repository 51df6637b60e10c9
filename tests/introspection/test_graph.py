import shutil
import subprocess

import pytest

from fusion_rt.introspection import Edge, Reading, TopicView, dot, draw, edges, text


def view(topic, node, readers=(), *, pid=1, others=0, rate=10.0):
    readings = tuple(
        Reading(node=name, received=1, age_ms=None, age_max_ms=None, missing={}) for name in readers
    )
    return TopicView(
        topic=topic,
        node=node,
        pid=pid,
        rate_hz=rate,
        bytes_s=None,
        published=1 if node else None,
        dropped=0,
        readers=readings,
        other_readers=others,
    )


VIEWS = [
    view("camera", "replay", ["fusion", "recorder"]),
    view("audio", "replay"),
    view("prediction", "fusion", ["recorder"], others=1),
    view("mine", None, ["fusion"], pid=77, rate=None),
    view("lidar@car", None, ["bridge"], pid=None),
    view("prediction@desk", "bridge", ["bridge"]),
]


def test_edges():
    assert edges(VIEWS) == [
        Edge("bridge", "other hosts", "prediction", 10.0),
        Edge("car", "bridge", "lidar", 10.0),
        Edge("fusion", "other programs", "prediction", 10.0),
        Edge("fusion", "recorder", "prediction", 10.0),
        Edge("process 77", "fusion", "mine", None),
        Edge("replay", "fusion", "camera", 10.0),
        Edge("replay", "recorder", "camera", 10.0),
    ]


def test_text():
    said = text(edges(VIEWS), ["monitor", "fusion"])
    assert "replay\n    camera 10.0 Hz -> fusion, recorder" in said
    assert said.endswith("monitor\n    talks to nobody")


def test_dot_is_graphviz_language(tmp_path):
    source = dot([Edge('a "b"', "c\\", "t", 1.0)])
    assert '"a \\"b\\"" -> "c\\\\" [label="t 1.0 Hz"];' in source
    if shutil.which("dot"):
        subprocess.run(["dot", "-Tsvg"], input=source, text=True, check=True, capture_output=True)


@pytest.mark.parametrize("circle", [False, True])
def test_pictures(tmp_path, circle):
    pytest.importorskip("matplotlib")
    found = edges(VIEWS) + ([Edge("recorder", "replay", "back", None)] if circle else [])
    for name in ("graph.svg", "graph.png"):
        draw(found, tmp_path / name, ["silent"])
    svg = (tmp_path / "graph.svg").read_text()
    assert svg.count("<path") > len(found)
    assert (tmp_path / "graph.png").read_bytes().startswith(b"\x89PNG")
