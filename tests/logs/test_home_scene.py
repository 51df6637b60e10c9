"""A home's scene as a viewer sees it: a log's by the official reader."""

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap_protobuf.decoder import DecoderFactory
from msgspec.structs import replace

from fusion_rt import logs
from fusion_rt.logs import LogWriter, home_scene
from fusion_rt.logs.polygons import middle, triangles
from fusion_rt.plan import Plan, inside

L_SHAPED = [[0, 0], [6, 0], [6, 2], [2, 2], [2, 5], [0, 5]]
U_SHAPED = [[0, 0], [5, 0], [5, 4], [4, 4], [4, 1], [1, 1], [1, 4], [0, 4]]
PLAN = f"""
site: drawn
rooms:
  kitchen: {{name: Kitchen, polygon: {L_SHAPED}}}
  hall: {{name: Hall, polygon: [[6, 0], [9, 0], [9, 2], [6, 2]]}}
sensors:
  kitchen_radar: {{kind: radar, room: kitchen, pose: {{translation: [0.2, 0.3, 1.5], rpy_deg: [0, 0, 90]}}}}
  kitchen_pir: {{kind: motion, room: kitchen}}
  hall_door: {{kind: contact, room: hall}}
  bell: {{kind: button, room: outside}}
"""


@pytest.fixture(scope="module")
def drawn_plan():
    return Plan.from_yaml(PLAN)


@pytest.fixture
def told(make_scene):
    """The kitchen is occupied by somebody who sits, and somebody who lies."""
    sits = replace(make_scene.person(3), posture="sitting", position=(1.0, 1.5), velocity=(0.0, 0.6))
    lies = replace(make_scene.person(4), posture="lying", covariance=(0.04, 0.0, 0.0, 0.01))
    rooms = (
        make_scene.room("kitchen", True, p=1.0, people=2, activity="cooking"),
        make_scene.room("hall", p=0.0),
    )
    return make_scene.scene(*rooms, people=(sits, lies), missing=("kitchen_pir",))


def entities(path):
    with path.open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        (update,) = [m for _, _, _, m in reader.iter_decoded_messages(topics=[home_scene.TOPIC])]
    assert {entity.frame_id for entity in update.entities} == {"home"}
    return {entity.id: entity for entity in update.entities}


def area(points):
    u, v = points[1::3] - points[0::3], points[2::3] - points[0::3]
    return np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]).sum() / 2


def test_a_viewer_sees_rooms_people_and_sensors(tmp_path, drawn_plan, told):
    with LogWriter(tmp_path / "a.mcap", plan=drawn_plan) as log:
        log.write(told)
    seen = entities(tmp_path / "a.mcap")
    assert set(seen) == {
        "room/kitchen", "room/hall", "person/3", "person/4", "sensor/kitchen_radar", "sensor/kitchen_pir",
        "sensor/hall_door",
    }  # fmt: skip
    (floor,) = seen["room/kitchen"].triangles
    points = np.array([(p.x, p.y) for p in floor.points])
    assert area(points) == pytest.approx(6 * 2 + 2 * 3)
    (empty,) = seen["room/hall"].triangles
    assert floor.color.a > empty.color.a + 0.5
    assert (floor.color.r, floor.color.b) != (empty.color.r, empty.color.b)
    assert seen["room/kitchen"].texts[0].text == "Kitchen 100 %\n2, cooking"
    assert seen["room/hall"].texts[0].text == "Hall 0 %"
    assert len(seen["room/hall"].lines[0].points) == 4

    sits, lies = seen["person/3"], seen["person/4"]
    assert sits.texts[0].text == "3 sitting"
    assert (sits.cylinders[0].pose.position.x, sits.cylinders[0].pose.position.y) == (1.0, 1.5)
    assert sits.arrows[0].shaft_length == pytest.approx(0.6)
    assert lies.cubes[0].size.z < 0.5 < lies.cubes[0].size.x
    ring = np.array([(p.x, p.y) for p in lies.lines[0].points])
    np.testing.assert_allclose(np.ptp(ring, axis=0), (4 * 0.2, 4 * 0.1), rtol=1e-3)

    radar = seen["sensor/kitchen_radar"].cubes[0]
    assert (radar.pose.position.x, radar.pose.position.z) == pytest.approx((0.2, 1.5))
    assert radar.pose.orientation.z == pytest.approx(np.sqrt(0.5))
    missing = {m.key: m.value for m in seen["sensor/kitchen_pir"].metadata}
    assert missing == {"kind": "motion", "status": "missing"}
    assert seen["sensor/kitchen_pir"].cubes[0].color.r > radar.color.r


def test_what_is_drawn_is_nothing_to_read_back(tmp_path, drawn_plan, told):
    with LogWriter(tmp_path / "a.mcap", plan=drawn_plan) as log:
        log.write(told)
        assert log.counts == {"scene": 1}
    with logs.open(tmp_path / "a.mcap") as log:
        assert list(log.scenes()) == [told]
        assert not log.skipped
        assert log.topics[home_scene.TOPIC].messages == 1


@pytest.mark.parametrize("sense", [1, -1])
@pytest.mark.parametrize(
    "corners",
    [[[0, 0], [4, 0], [4, 3], [0, 3]], L_SHAPED, U_SHAPED, [[0, 0], [2, 0], [4, 0], [4, 3], [0, 3]]],
)
def test_triangles_cover_a_polygon_once(corners, sense):
    corners = np.array(corners, np.float64)[::sense]
    found = triangles(corners)
    points = np.random.default_rng(0).uniform(-0.5, 6.5, (500, 2))
    covered = sum(inside(triangle, points).astype(int) for triangle in found)
    np.testing.assert_array_equal(covered, inside(corners, points).astype(int))
    assert inside(corners, np.array([middle(corners)]))[0]
