"""What a viewer draws besides the packets: predictions as cubes, poses, and where the sensors sit."""

from __future__ import annotations

import math
from typing import Any

from foxglove_schemas_protobuf.CameraCalibration_pb2 import CameraCalibration
from foxglove_schemas_protobuf.FrameTransform_pb2 import FrameTransform
from foxglove_schemas_protobuf.FrameTransforms_pb2 import FrameTransforms
from foxglove_schemas_protobuf.LinePrimitive_pb2 import LinePrimitive
from foxglove_schemas_protobuf.PoseInFrame_pb2 import PoseInFrame
from foxglove_schemas_protobuf.SceneUpdate_pb2 import SceneUpdate

from fusion_rt.messages import EgoState, Prediction, TrackedObject
from fusion_rt.plan import SPATIAL, Plan
from fusion_rt.rig import Camera, Rig
from fusion_rt.transforms import Array, inverse, quaternion_from_matrix

COLOURS = {"car": (0.3, 0.85, 0.3), "pedestrian": (1.0, 0.55, 0.2), "cyclist": (0.3, 0.6, 1.0)}
LIFETIME_NS = 300_000_000
# Schemas of what is drawn from other messages: nothing to read back.
DRAWN = frozenset(
    kind.DESCRIPTOR.full_name for kind in (CameraCalibration, FrameTransforms, PoseInFrame, SceneUpdate)
)


def scene_update(prediction: Prediction) -> SceneUpdate:
    """A cube, a label, the forecast and an arrow of one second's way for each object, in the ego frame."""
    update = SceneUpdate()
    for thing in prediction.objects:
        entity = update.entities.add(id=str(thing.track_id), frame_id="ego")
        entity.timestamp.FromNanoseconds(prediction.header.stamp_ns)
        entity.lifetime.FromNanoseconds(LIFETIME_NS)
        _add_shapes(entity, thing)
    return update


def _add_shapes(entity: Any, thing: TrackedObject) -> None:
    r, g, b = COLOURS.get(thing.label, (0.7, 0.7, 0.7))
    cube = entity.cubes.add()
    _set(cube.pose, thing.center, _about_z(thing.yaw))
    cube.size.x, cube.size.y, cube.size.z = thing.size
    cube.color.r, cube.color.g, cube.color.b, cube.color.a = r, g, b, 0.35
    x, y, z = thing.center
    text = entity.texts.add(
        text=f"{thing.label} {thing.track_id} {math.hypot(*thing.velocity):.1f} m/s",
        font_size=0.5,
        billboard=True,
    )
    _set(text.pose, (x, y, z + thing.size[2] / 2 + 0.5), (0.0, 0.0, 0.0, 1.0))
    text.color.r = text.color.g = text.color.b = text.color.a = 1.0
    speed = math.hypot(*thing.velocity)
    if speed > 0.5:
        arrow = entity.arrows.add(shaft_length=speed, shaft_diameter=0.15, head_length=0.4, head_diameter=0.4)
        _set(arrow.pose, thing.center, _about_z(math.atan2(thing.velocity[1], thing.velocity[0])))
        arrow.color.r, arrow.color.g, arrow.color.b, arrow.color.a = r, g, b, 0.9
    if thing.forecast:
        line = entity.lines.add(type=LinePrimitive.LINE_STRIP, thickness=0.1)
        line.pose.orientation.w = 1.0
        line.color.r, line.color.g, line.color.b, line.color.a = r, g, b, 0.8
        for px, py in [(x, y), *((f.x, f.y) for f in thing.forecast)]:
            line.points.add(x=px, y=py, z=0.1)


def ego_pose(ego: EgoState) -> PoseInFrame:
    """The ego pose in the map."""
    message = PoseInFrame(frame_id="map")
    message.timestamp.FromNanoseconds(ego.stamp_ns)
    _set(message.pose, ego.position, ego.orientation)
    return message


def ego_transform(ego: EgoState) -> FrameTransforms:
    """map <- ego, for viewers that follow the vehicle."""
    message = FrameTransforms()
    _add(message, "map", "ego", ego.position, ego.orientation, ego.stamp_ns)
    return message


def rig_transforms(rig: Rig, stamp_ns: int) -> FrameTransforms:
    """ego <- every sensor's frame; the frame_id of a sensor is its sensor_id."""
    message = FrameTransforms()
    poses: dict[str, Array] = {s: inverse(c.T_camera_ego) for s, c in rig.cameras.items()}
    poses |= {s: lidar.T_ego_lidar for s, lidar in rig.lidars.items()}
    poses |= {s: imu.T_ego_imu for s, imu in rig.imus.items()}
    for sensor, T in poses.items():
        _add(message, "ego", sensor, T[:3, 3], quaternion_from_matrix(T[:3, :3]), stamp_ns)
    return message


def plan_transforms(plan: Plan, stamp_ns: int) -> FrameTransforms:
    """home <- the frames of a home's sensors that have a place."""
    message = FrameTransforms()
    for sensor_id, sensor in plan.sensors.items():
        if sensor.kind in SPATIAL and sensor.kind != "imu":  # that moves with who wears it
            T = sensor.T_home_sensor
            _add(message, "home", sensor_id, T[:3, 3], quaternion_from_matrix(T[:3, :3]), stamp_ns)
    return message


def plan_cameras(plan: Plan) -> dict[str, Camera]:
    """The cameras of a home, as a rig has them."""
    return {
        slug: Camera(width=sensor.width, height=sensor.height, K=sensor.K, pose=sensor.pose)
        for slug, sensor in plan.sensors.items()
        if sensor.kind == "camera"
    }


def of_rig(schema: str, data: bytes | bytearray | memoryview) -> bool:
    """Whether a drawn message says where sensors sit: of a rig, of a plan, a calibration."""
    if schema == CameraCalibration.DESCRIPTOR.full_name:
        return True
    if schema != FrameTransforms.DESCRIPTOR.full_name:
        return False
    return all(t.child_frame_id != "ego" for t in FrameTransforms.FromString(bytes(data)).transforms)


def calibration(sensor_id: str, camera: Camera, stamp_ns: int) -> CameraCalibration:
    """The camera's intrinsics; Foxglove's distortion order k1 k2 p1 p2 k3 is ours."""
    K = camera.intrinsics
    message = CameraCalibration(
        frame_id=sensor_id,
        width=camera.width,
        height=camera.height,
        distortion_model="plumb_bob",
        D=camera.distortion,
        K=K.reshape(-1).tolist(),
        R=[1, 0, 0, 0, 1, 0, 0, 0, 1],
        P=[*K[0], 0, *K[1], 0, *K[2], 0],
    )
    message.timestamp.FromNanoseconds(stamp_ns)
    return message


def _add(
    message: FrameTransforms, parent: str, child: str, position: Any, orientation: Any, stamp_ns: int
) -> None:
    transform: FrameTransform = message.transforms.add(parent_frame_id=parent, child_frame_id=child)
    transform.timestamp.FromNanoseconds(stamp_ns)
    transform.translation.x, transform.translation.y, transform.translation.z = map(float, position)
    x, y, z, w = map(float, orientation)
    transform.rotation.x, transform.rotation.y, transform.rotation.z, transform.rotation.w = x, y, z, w


def _set(pose: Any, position: Any, orientation: Any) -> None:
    pose.position.x, pose.position.y, pose.position.z = position
    pose.orientation.x, pose.orientation.y, pose.orientation.z, pose.orientation.w = orientation


def _about_z(yaw: float) -> tuple[float, float, float, float]:
    return 0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2)
