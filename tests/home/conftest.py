"""A home of two rooms, and a network that was never trained: enough to test the engine around it."""

import numpy as np
import pytest

from fusion_rt.header import Header
from fusion_rt.home_packets import READINGS, HomeReading, RadarPoints, Sight, Sound
from fusion_rt.messages import Command, ImuSample
from fusion_rt.plan import Plan

START_NS = 1_772_000_000_000_000_000
PLAN = """
rooms:
  kitchen: {name: Kitchen, polygon: [[0, 0], [4, 0], [4, 3], [0, 3]]}
  bath: {name: Bathroom, polygon: [[4, 0], [7, 0], [7, 3], [4, 3]], hold_s: 5, absent_s: 60}
doors:
  front: {rooms: [kitchen, outside], at: [[0, 1], [0, 2]], contact: front_door}
  bath_door: {rooms: [bath, kitchen], at: [[4, 1], [4, 2]], contact: bath_contact}
sensors:
  front_door: {kind: contact, room: kitchen}
  bath_contact: {kind: contact, room: bath}
  bell: {kind: button, room: kitchen}
  smoke: {kind: smoke, room: kitchen}
  pir: {kind: motion, room: kitchen, pose: {translation: [0.2, 0.2, 2.2]}}
  bath_pir: {kind: motion, room: bath, pose: {translation: [6.8, 0.2, 2.2]}}
  radar: {kind: radar, room: kitchen, pose: {translation: [0.2, 1.5, 1.5]}, period_s: 0.1}
  camera:
    kind: camera
    room: kitchen
    pose: {translation: [0.1, 0.1, 2.3], rpy_deg: [-115, 0, -55]}
    width: 640
    height: 480
    K: [[420, 0, 320], [0, 420, 240], [0, 0, 1]]
    period_s: 0.2
  mic: {kind: microphone, room: kitchen, period_s: 0.5}
  bath_mic: {kind: microphone, room: bath, period_s: 0.5}
  co2: {kind: co2, room: kitchen, period_s: 60}
  beacon: {kind: distance, room: kitchen, period_s: 5}
  belt: {kind: imu, room: p1}
"""


@pytest.fixture(scope="session")
def plan():
    return Plan.from_yaml(PLAN)


def stamp(t_s):
    return START_NS + round(t_s * 1e9)


def header(sensor, t_s, seq=0):
    return Header(sensor_id=sensor, frame_id=sensor, seq=seq, stamp_ns=stamp(t_s))


def reading(sensor, t_s, kind, value, unit=None, entity=None):
    unit = READINGS.get(kind, "") if unit is None else unit
    return HomeReading(header=header(sensor, t_s), entity=entity or sensor, kind=kind, value=value, unit=unit)


def radar(t_s, points=(), sensor="radar"):
    """points: x, y, z, velocity in the sensor's frame."""
    told = np.array(points, dtype=np.float32).reshape(-1, 4)
    snr = np.full(len(told), 15.0, dtype=np.float32)
    return RadarPoints(
        header=header(sensor, t_s), xyz=told[:, :3].copy(), velocity=told[:, 3].copy(), snr_db=snr
    )


def sight(t_s, boxes=(), sensor="camera", size=(640, 480)):
    boxes = np.array(boxes, dtype=np.float32).reshape(-1, 4)
    n = len(boxes)
    return Sight(
        header=header(sensor, t_s),
        width=size[0],
        height=size[1],
        boxes=boxes,
        scores=np.full(n, 0.9, dtype=np.float32),
        keypoints=np.zeros((n, 17, 3), dtype=np.float32),
    )


def sound(t_s, events=None, speech=0.0, level=35.0, sensor="mic"):
    return Sound(
        header=header(sensor, t_s),
        duration_s=0.5,
        level_dba=level,
        speech=speech,
        events=events or {},
        embedding=np.zeros(0, dtype=np.float32),
    )


def imu(t_s, force=9.81, sensor="belt"):
    return ImuSample(
        header=header(sensor, t_s), specific_force=(0.0, 0.0, force), angular_rate=(0.0, 0.0, 0.0)
    )


def command(t_s, intent="turn_on", slots=None, sensor="mic"):
    return Command(header=header(sensor, t_s), intent=intent, slots=slots or {"device": "light"})
