"""A home's scene as a viewer draws it, in the frame "home": rooms filled by how likely somebody is there,
people by posture, sensors by whether they tell."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from foxglove_schemas_protobuf.LinePrimitive_pb2 import LinePrimitive
from foxglove_schemas_protobuf.SceneUpdate_pb2 import SceneUpdate

from fusion_rt.logs.polygons import middle, triangles
from fusion_rt.plan import Plan
from fusion_rt.rig import Pose
from fusion_rt.scene import Person, RoomState, Scene
from fusion_rt.transforms import Array, quaternion_from_matrix

TOPIC = "/scene/drawn"
LIFETIME_NS = 1_000_000_000  # five scenes: what is not said again is gone
EMPTY, FULL = (0.55, 0.6, 0.65), (1.0, 0.62, 0.15)
STATUS_COLOURS = {"used": (0.3, 0.85, 0.3), "stale": (1.0, 0.8, 0.2), "missing": (0.9, 0.25, 0.25)}
UNKNOWN = (0.6, 0.6, 0.6)
BODY_M = {"standing": (0.45, 0.45, 1.7), "sitting": (0.5, 0.5, 1.2), "lying": (1.6, 0.5, 0.4)}  # x, y, z
SIGMAS = 2.0  # of a person's ellipse
ROUND = 24  # its corners
SENSOR_M, STEP_M = 0.12, 0.3


def scene_update(scene: Scene, plan: Plan) -> SceneUpdate:
    """An entity a room ("room/SLUG"), a person ("person/ID") and a sensor ("sensor/SLUG")."""
    update = SceneUpdate()
    stamp_ns = scene.header.stamp_ns
    middles = {slug: middle(room.corners) for slug, room in plan.rooms.items()}
    for state in scene.rooms:
        if state.room in plan.rooms:
            entity = _entity(update, f"room/{state.room}", stamp_ns)
            _add_room(entity, state, plan, middles[state.room])
    for person in scene.people:
        _add_person(_entity(update, f"person/{person.track_id}", stamp_ns), person)
    status = {use.sensor_id: use.status for use in scene.certificate.sensors}
    for slug, (place, orientation) in sensor_places(plan, middles).items():
        entity = _entity(update, f"sensor/{slug}", stamp_ns)
        entity.metadata.add(key="kind", value=plan.sensors[slug].kind)
        entity.metadata.add(key="status", value=status.get(slug, ""))
        cube = entity.cubes.add()
        _set(cube.pose, place, orientation)
        cube.size.x = cube.size.y = cube.size.z = SENSOR_M
        _colour(cube.color, STATUS_COLOURS.get(status.get(slug, ""), UNKNOWN), 0.9)
        _add_text(entity, slug, (place[0], place[1], place[2] + 0.15), size=0.1)
    return update


def sensor_places(
    plan: Plan, middles: dict[str, tuple[float, float]]
) -> dict[str, tuple[tuple[float, float, float], tuple[float, float, float, float]]]:
    """sensor -> position and orientation (x, y, z, w) in the home; those that the plan does not place stand
    in a row in the middle of their room. What a person wears, or is outside, has none."""
    places = {}
    row: dict[str, int] = {}
    for slug, sensor in plan.sensors.items():
        if sensor.room not in plan.rooms:
            continue
        if sensor.pose != Pose():
            T = sensor.T_home_sensor
            x, y, z = map(float, T[:3, 3])
            places[slug] = (x, y, z), _quaternion(T)
        else:
            number = row[sensor.room] = row.get(sensor.room, -1) + 1
            x, y = middles[sensor.room]
            places[slug] = (x, y - STEP_M * (number + 1), 1.0), (0.0, 0.0, 0.0, 1.0)
    return places


def _entity(update: SceneUpdate, name: str, stamp_ns: int) -> Any:
    entity = update.entities.add(id=name, frame_id="home")
    entity.timestamp.FromNanoseconds(stamp_ns)
    entity.lifetime.FromNanoseconds(LIFETIME_NS)
    return entity


def _add_room(entity: Any, state: RoomState, plan: Plan, at: tuple[float, float]) -> None:
    room = plan.rooms[state.room]
    p = min(max(state.p_occupied, 0.0), 1.0)
    colour = tuple(float(e + p * (f - e)) for e, f in zip(EMPTY, FULL))
    entity.metadata.add(key="p_occupied", value=f"{p:.3f}")
    entity.metadata.add(key="occupied", value=str(state.occupied).lower())
    floor = entity.triangles.add()
    floor.pose.orientation.w = 1.0
    for x, y in np.concatenate(triangles(room.corners)):
        floor.points.add(x=x, y=y, z=0.0)
    _colour(floor.color, colour, 0.15 + 0.6 * p)
    walls = entity.lines.add(type=LinePrimitive.LINE_LOOP, thickness=0.05)
    walls.pose.orientation.w = 1.0
    for x, y in room.corners:
        walls.points.add(x=x, y=y, z=0.01)
    _colour(walls.color, FULL if state.occupied else EMPTY, 1.0)
    said = f"{room.name} {100 * p:.0f} %"
    if state.occupied:
        said += f"\n{state.people}, {state.activity}"
    _add_text(entity, said, (*at, 0.1), size=0.25)


def _add_person(entity: Any, person: Person) -> None:
    size = BODY_M.get(person.posture, BODY_M["standing"])
    x, y = person.position
    colour = UNKNOWN if person.coasting_s > 1.0 else (0.3, 0.6, 1.0)
    entity.metadata.add(key="posture", value=person.posture)
    entity.metadata.add(key="room", value=person.room)
    body: Any
    if person.posture == "lying":
        body = entity.cubes.add()
    else:
        body = entity.cylinders.add(bottom_scale=1.0, top_scale=0.6)
    _set(body.pose, (x, y, size[2] / 2), (0.0, 0.0, 0.0, 1.0))
    body.size.x, body.size.y, body.size.z = size
    _colour(body.color, colour, 0.3 + 0.6 * min(max(person.existence, 0.0), 1.0))
    _add_text(entity, f"{person.track_id} {person.posture}", (x, y, size[2] + 0.25), size=0.2)
    speed = math.hypot(*person.velocity)
    if speed > 0.2:
        half = math.atan2(person.velocity[1], person.velocity[0]) / 2
        arrow = entity.arrows.add(
            shaft_length=speed, shaft_diameter=0.06, head_length=0.15, head_diameter=0.15
        )
        _set(arrow.pose, (x, y, 0.9), (0.0, 0.0, math.sin(half), math.cos(half)))
        _colour(arrow.color, colour, 0.9)
    line = entity.lines.add(type=LinePrimitive.LINE_LOOP, thickness=0.02)
    line.pose.orientation.w = 1.0
    _colour(line.color, colour, 0.8)
    for px, py in _ellipse(person):
        line.points.add(x=px, y=py, z=0.02)


def _ellipse(person: Person) -> Array:
    """(ROUND, 2) float64, m: where the person is with SIGMAS standard deviations."""
    covariance = np.array(person.covariance, dtype=np.float64).reshape(2, 2)
    variances, axes = np.linalg.eigh(np.nan_to_num((covariance + covariance.T) / 2))
    angles = np.linspace(0.0, 2 * np.pi, ROUND, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points: Array = np.array(person.position) + SIGMAS * circle * np.sqrt(np.maximum(variances, 0.0)) @ axes.T
    return points


def _quaternion(T: Array) -> tuple[float, float, float, float]:
    x, y, z, w = map(float, quaternion_from_matrix(T[:3, :3]))
    return x, y, z, w


def _add_text(entity: Any, said: str, at: tuple[float, float, float], *, size: float) -> None:
    text = entity.texts.add(text=said, font_size=size, billboard=True)
    _set(text.pose, at, (0.0, 0.0, 0.0, 1.0))
    _colour(text.color, (1.0, 1.0, 1.0), 1.0)


def _set(pose: Any, position: Any, orientation: Any) -> None:
    pose.position.x, pose.position.y, pose.position.z = position
    pose.orientation.x, pose.orientation.y, pose.orientation.z, pose.orientation.w = orientation


def _colour(color: Any, rgb: Any, alpha: float) -> None:
    color.r, color.g, color.b = rgb
    color.a = alpha
