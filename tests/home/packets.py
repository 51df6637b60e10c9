"""Packets of a small home: seconds after a fixed start, and what matters."""

import numpy as np

from fusion_rt.header import Header
from fusion_rt.home_packets import READINGS, HomeReading, RadarPoints, Sight, Sound
from fusion_rt.messages import Command, ImuSample

START_NS = 1_772_000_000_000_000_000


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
