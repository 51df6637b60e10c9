"""A picture of a simulated home: rooms, furniture, sensors, and the ways that people walked."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from fusion_rt.plan import OUTSIDE
from fusion_rt.sim.home.home import SimulatedHome
from fusion_rt.sim.home.motion import HZ
from fusion_rt.sim.home.walls import walls
from fusion_rt.transforms import Array

SCALE = 90  # px/m
COLOURS = ((180, 90, 30), (40, 120, 230), (60, 160, 60), (170, 60, 170), (40, 40, 200), (130, 130, 0))
SIGNS = {"radar": "R", "camera": "C", "motion": "M", "microphone": "A", "distance": "B", "contact": ""}


def draw(home: SimulatedHome, path: str | Path, *, from_s: float = 0.0, to_s: float | None = None) -> None:
    """Writes the plan with the ways walked between two times as an image; raises OSError."""
    plan, people = home.plan, home.world.people
    x0, y0, x1, y1 = plan.bounds()
    margin = 1.3
    width, height = round((x1 - x0 + 2 * margin) * SCALE), round((y1 - y0 + 2 * margin) * SCALE)
    image = np.full((height, width, 3), 255, np.uint8)

    def px(points: Array) -> Array:
        points = np.asarray(points, np.float64).reshape(-1, 2)
        left = (points[:, 0] - x0 + margin) * SCALE
        return (
            np.stack([left, height - (points[:, 1] - y0 + margin) * SCALE], axis=1).round().astype(np.int32)
        )

    def write(text: str, at: Array, colour: tuple[int, int, int], size: float = 0.45) -> None:
        x, y = px(at)[0]
        cv2.putText(image, text, (int(x), int(y)), cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)

    for room in plan.rooms.values():
        cv2.fillPoly(image, [px(room.corners)], (246, 246, 240))
    for piece in home.world.house.pieces:
        cv2.fillPoly(image, [px(piece.corners)], (214, 222, 226))
        cv2.polylines(image, [px(piece.corners)], True, (150, 160, 165), 1, cv2.LINE_AA)
        write(piece.kind, np.array(piece.centre) - [0.25, 0.04], (120, 120, 120), 0.35)
    for line in walls(plan):
        cv2.polylines(image, [px(line)], False, (60, 60, 60), 4, cv2.LINE_AA)
    for door in plan.doors.values():
        colour = (90, 90, 220) if OUTSIDE in door.rooms else (190, 190, 190)
        cv2.polylines(image, [px(np.array(door.at))], False, colour, 2, cv2.LINE_AA)
    span = slice(int(from_s * HZ), None if to_s is None else int(to_s * HZ))
    for p in range(len(people.names)):
        xy = people.xy[p, span].astype(np.float64)
        colour = COLOURS[p % len(COLOURS)]
        known = np.isfinite(xy[:, 0])
        breaks = np.flatnonzero(~(known[:-1] & known[1:])) + 1
        for part in np.split(np.arange(len(xy)), breaks):
            if len(part) > 1:
                cv2.polylines(image, [px(xy[part])], False, colour, 1, cv2.LINE_AA)
        write(people.names[p], np.array([x0 + 0.9 * p, y0 - 0.6]), colour, 0.55)
    for sensor in plan.sensors.values():
        sign = SIGNS.get(sensor.kind, "")
        if not sign:
            continue
        at = sensor.T_home_sensor[:2, 3]
        if not at.any():
            continue
        x, y = (int(v) for v in px(at)[0])
        cv2.circle(image, (x, y), 9, (40, 40, 160), -1, cv2.LINE_AA)
        write(sign, at - [0.05, 0.05], (255, 255, 255))
    for slug, room in plan.rooms.items():
        write(slug, room.corners.mean(axis=0) - [0.4, 0.0], (0, 0, 0), 0.6)
    for event in home.events:
        if event.kind == "fall":
            x, y = (int(v) for v in px(np.array(event.position))[0])
            cv2.drawMarker(image, (x, y), (0, 0, 220), cv2.MARKER_TILTED_CROSS, 18, 3)
    if not cv2.imwrite(str(path), image):
        raise OSError(f"{path}: cannot be written")
