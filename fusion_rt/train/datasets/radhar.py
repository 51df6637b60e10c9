"""RadHAR: one person before a TI mmWave radar (nesl/RadHAR, Singh et al., mmNets 2019; BSD-3-Clause).

30 frames a second. The ROS driver delivered most frames in pairs 1.6 ms apart, so a frame's moment is its
number times 1/30 s after the first; the points' own stamps give the order alone.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from msgspec import Struct

from fusion_rt.header import Header
from fusion_rt.home_packets import RadarPoints
from fusion_rt.train.datasets.labels import numbers, read_gzip, read_labels

HEADER = (
    *("frame", "point_id", "stamp_s", "x_m", "y_m", "z_m"),
    *("range_m", "velocity_mps", "doppler_bin", "bearing_deg", "intensity_db"),
)
LABELS = ("file", "activity")
FOLDER, SENSOR, RATE_HZ = "radhar", "radar", 30.0
ACTIVITIES = ("boxing", "jack", "jump", "squats", "walk")
LICENCE = "RadHAR (Singh et al., mmNets 2019), BSD-3-Clause: name the authors"


class RadarRecording(Struct, frozen=True, kw_only=True):
    """One recording of one activity. activity: "" where it is not told, or none of ACTIVITIES."""

    name: str
    activity: str
    frames: tuple[RadarPoints, ...]
    notes: dict[str, int]


def read_folder(folder: Path) -> list[RadarRecording]:
    """All recordings that labels.csv names. Raises LogError."""
    return [read(folder / row["file"], row["activity"]) for row in read_labels(folder, LABELS)]


def read(path: Path, activity: str) -> RadarRecording:
    """Raises LogError."""
    notes: Counter[str] = Counter()
    table, bad = numbers(path, read_gzip(path, HEADER), len(HEADER))
    if bad:
        notes["rows that are no numbers (left out)"] += bad
    number = table[:, 0].astype(np.int64)
    if misplaced := int((np.diff(number) < 0).sum()):
        notes["rows that were not in frame order (sorted)"] += misplaced
        order = np.argsort(number, kind="stable")
        table, number = table[order], number[order]
    starts = np.flatnonzero(np.diff(number, prepend=number[0] - 1))
    stamps = np.minimum.reduceat(table[:, 2], starts)
    if repeated := int((np.diff(stamps) <= 0).sum()):
        notes["frames whose stamp does not follow (numbered on)"] += repeated
    first_ns = round(stamps[0] * 1e9)
    # x forward, y left: the file's y is to the right.
    xyz = (table[:, 3:6] * (1.0, -1.0, 1.0)).astype(np.float32)
    velocity, snr = table[:, 7].astype(np.float32), table[:, 10].astype(np.float32)
    frames = tuple(
        RadarPoints(
            header=Header(
                sensor_id=SENSOR,
                frame_id=SENSOR,
                seq=i,
                stamp_ns=first_ns + round(int(number[a] - number[0]) * 1e9 / RATE_HZ),
            ),
            xyz=xyz[a:b],
            velocity=velocity[a:b],
            snr_db=snr[a:b],
        )
        for i, (a, b) in enumerate(zip(starts, [*starts[1:], len(number)]))
    )
    return RadarRecording(
        name=path.name.removesuffix(".gz").removesuffix(".csv"),
        activity=activity,
        frames=frames,
        notes=dict(notes),
    )
