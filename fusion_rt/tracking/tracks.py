"""Tracks side by side: one structured array, a row for each followed object."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from fusion_rt.transforms import Array, inverse, transform_points, yaw_of

X, Y, YAW, SPEED, TURN = range(5)  # of a state

Tracks = Array  # (n,) of `track_dtype`; `tracks["state"]` is a view (n, 5)


@functools.cache
def track_dtype(classes: int, modalities: int) -> np.dtype[Any]:
    """What is known of one object, in the map frame: `struct Track` of tracks.h and what follows it.

    track_id       never given twice
    state          x, y (m), yaw (rad), v (m/s, along yaw), w (rad/s), with its covariance
    z, z_variance  of the centre, m and m^2
    size           length, width, height, m
    existence      probability that it is there
    born_ns        stamp of its first box
    seen_ns        stamp of its newest box
    witnessed_ns   likewise, or of the newest image that showed it
    hits           boxes it has taken
    score          of the newest of them, after what an image said
    noise          variances of its newest box: x, y (m^2), yaw (rad^2), z (m^2)
    facing         how many of its boxes faced its way, less those that faced the other, old ones fading
    log_classes    up to a constant
    contributions  shares of the evidence, up to a factor
    """
    return np.dtype(
        [
            ("track_id", np.int64),
            ("state", np.float64, (5,)),
            ("covariance", np.float64, (5, 5)),
            ("z", np.float64),
            ("z_variance", np.float64),
            ("size", np.float64, (3,)),
            ("existence", np.float64),
            ("born_ns", np.int64),
            ("seen_ns", np.int64),
            ("witnessed_ns", np.int64),
            ("hits", np.int64),
            ("score", np.float64),
            ("noise", np.float64, (4,)),
            ("facing", np.float64),
            ("log_classes", np.float64, (classes,)),
            ("contributions", np.float64, (modalities,)),
        ]
    )


def boxes_in_ego(tracks: Tracks, T_map_ego: Array) -> Array:
    """(n, 7) x y z l w h yaw of each, in the ego frame."""
    T_ego_map = inverse(T_map_ego)
    boxes = np.empty((len(tracks), 7))
    boxes[:, :2], boxes[:, 2] = tracks["state"][:, :2], tracks["z"]
    boxes[:, :3] = transform_points(T_ego_map, boxes[:, :3])
    boxes[:, 3:6], boxes[:, 6] = tracks["size"], tracks["state"][:, YAW] + yaw_of(T_ego_map)
    return boxes
