"""Radar sweeps of nuScenes: PCD files of a Continental ARS 408, a point a reflection."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fusion_rt.errors import LogError
from fusion_rt.logs.pcd import read_columns
from fusion_rt.messages import Header, PointCloud

FIELDS = ("x", "y", "z", "rcs", "invalid_state", "ambig_state")
RCS_DBSM = (-20.0, 40.0)  # radar cross section that becomes intensity 0 and 1: what is beyond is clipped
VALID, UNAMBIGUOUS = 0, 3  # of invalid_state and ambig_state: what the devkit keeps unless told otherwise


def read_radar(path: Path, header: Header) -> PointCloud:
    """The valid reflections in the radar's frame (z is 0), intensity from their cross section. What else the
    file says of them, their radial speed too, has no place in a PointCloud. Raises LogError."""
    columns = read_columns(path)
    missing = [name for name in FIELDS if name not in columns]
    if missing:
        raise LogError(f"{path}: no field {', '.join(missing)}: not a radar sweep of nuScenes")
    keep = (columns["invalid_state"] == VALID) & (columns["ambig_state"] == UNAMBIGUOUS)
    xyz = np.stack([columns[axis][keep] for axis in "xyz"], axis=1).astype(np.float32)
    low, high = RCS_DBSM
    rcs = columns["rcs"][keep].astype(np.float32)
    return PointCloud(
        header=header,
        xyz=xyz,
        intensity=np.clip((rcs - np.float32(low)) / np.float32(high - low), 0.0, 1.0),
        t=np.zeros(len(xyz), np.float32),
        ring=np.zeros(len(xyz), np.uint16),
    )
