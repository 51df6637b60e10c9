"""Objects of one scene put into another, at the range where they were seen and where the ground is free.

They are only turned about the sensor, so the side that it sees is the side that it saw. The lidar no longer
sees what is behind them, nor of them what is behind something else; the image shows the rectangle around
them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from fusion_rt.metrics.boxes import bev_iou, in_box_frame
from fusion_rt.sim.frame_files import FRAME_S, LIDAR_HEIGHT_M, Frame, Scene
from fusion_rt.sim.outline import Pixels, outline
from fusion_rt.transforms import Array, from_translation_rpy, inverse, transform_points, yaw_of

MOST, TRIES = 4, 12  # objects a scene, places tried for them
WANTED = (1.0, 3.0, 3.0)  # of car, pedestrian, cyclist: how likely one is taken
FEWEST_POINTS, MIN_VISIBLE = 10, 0.6  # of an object that can be cut out
ASIDE_RAD = 0.65  # the camera sees about so far to either side
GAP_M = 0.3  # to other boxes and to whatever stands on the ground
GROUND_M = 0.08  # points so close above a box's bottom may be the ground's
LIFT_M = 0.5  # the ground may lie so much higher or lower than where the object stood
BIN_RAD = (0.004, 0.0075)  # azimuth and elevation between beams, about
BEHIND_M = 0.3  # so much farther in the same direction is hidden


@dataclass(frozen=True)
class Cutout:
    """One object in an ego frame: points (n, 3) float32 m, intensity (n,), box (9,), kind, and the pixels
    (h, w, 3) of the rectangle around it, where an image shows it whole."""

    points: Array
    intensity: Array
    box: Array
    kind: int
    patch: Array | None

    def moved(self, T: Array) -> Cutout:
        """In another frame: T (4, 4) is that from this."""
        box = self.box.copy()
        box[:3] = T[:3, :3] @ self.box[:3] + T[:3, 3]
        box[6] = np.mod(self.box[6] + yaw_of(T) + np.pi, 2 * np.pi) - np.pi
        box[7:9] = T[:2, :2] @ self.box[7:9]
        return replace(self, points=transform_points(T, self.points), box=box)


def cut_out(frame: Frame, index: int) -> Cutout | None:
    """An object of a frame; None where too few points are its own."""
    box = frame.boxes[index]
    local = in_box_frame(frame.points, box)
    own = (np.abs(local) <= box[3:6] / 2).all(1) & (local[:, 2] > GROUND_M - box[5] / 2)
    if np.count_nonzero(own) < FEWEST_POINTS:
        return None
    patch = None
    pixels = outline(box, frame.K, frame.T_camera_ego)
    if frame.visible[index] >= MIN_VISIBLE and pixels is not None and _whole(pixels, frame):
        left, top, right, bottom = pixels
        patch = frame.image[top:bottom, left:right]
    return Cutout(frame.points[own], frame.intensity[own], box, int(frame.cls[index]), patch)


def paste(scene: Scene, donor: Scene, rng: np.random.Generator, *, camera: bool) -> Scene:
    """The scene with up to MOST objects of the donor's present frame, at all of its moments.

    camera: whether the images are used; then an object that they would show needs an image itself."""
    usable = (donor.now.cls >= 0) & (donor.now.npoints >= FEWEST_POINTS)
    others = np.flatnonzero(usable & (donor.now.visible >= MIN_VISIBLE) if camera else usable)
    if not len(others):
        return scene
    wanted = np.array(WANTED)[donor.now.cls[others]]
    pasted = 0
    for index in rng.choice(others, TRIES, p=wanted / wanted.sum()):
        turn = rng.uniform(-ASIDE_RAD, ASIDE_RAD) - np.arctan2(*donor.now.boxes[index, 1::-1])
        cutout = cut_out(donor.now, index)
        standing = None if cutout is None else _on_the_ground(cutout, scene.now, turn)
        changed = None if standing is None else _put_into(scene, standing, camera=camera)
        if changed is not None:
            scene, pasted = changed, pasted + 1
        if pasted == MOST:
            break
    return scene


def _on_the_ground(cutout: Cutout, frame: Frame, turn_rad: float) -> Cutout | None:
    """Turned about the sensor and set on the frame's ground; None where that is not free or not seen."""
    turned = cutout.moved(from_translation_rpy((0, 0, 0), (0, 0, turn_rad)))
    box = turned.box
    bottom = box[2] - box[5] / 2
    distance = np.hypot(*(frame.points[:, :2] - box[:2]).T)
    reach = 1.5 + np.hypot(box[0], box[1]) / 10  # far away, rings on the ground are metres apart
    heights = frame.points[distance < reach, 2] - bottom
    ground = heights[np.abs(heights) < LIFT_M]
    if len(ground) < 3:
        return None
    lift = float(np.median(ground))
    standing = turned.moved(from_translation_rpy((0, 0, lift), (0, 0, 0)))
    near = frame.points[distance < np.hypot(*box[3:5]) / 2 + 2 * GAP_M]
    local = in_box_frame(near, standing.box)
    within = (np.abs(local[:, :2]) < standing.box[3:5] / 2 + GAP_M).all(1)
    above = (local[:, 2] > GAP_M - box[5] / 2) & (local[:, 2] < box[5] / 2 + GAP_M)
    return None if (within & above).any() else standing


def _put_into(scene: Scene, cutout: Cutout, *, camera: bool) -> Scene | None:
    """At every moment where its velocity has brought it; None where it cannot be at one of them."""
    now = _put(scene.now, cutout, camera=camera)
    if now is None:
        return None
    frames = []
    T_now_this = np.eye(4)
    for age, (frame, T_next_this) in enumerate(reversed(scene.past), 1):
        T_now_this = T_now_this @ T_next_this
        back = from_translation_rpy((*(-age * FRAME_S * cutout.box[7:9]), 0), (0, 0, 0))
        changed = _put(frame, cutout.moved(inverse(T_now_this) @ back), camera=camera)
        if changed is None:
            return None
        frames.append((changed, T_next_this))
    (previous, _), *earlier = frames
    return replace(scene, now=now, previous=previous, earlier=tuple(reversed(earlier)))


def _put(frame: Frame, cutout: Cutout, *, camera: bool) -> Frame | None:
    """Into one frame; None where another box is in the way or the images do not allow it."""
    grown = cutout.box.copy()
    grown[3:5] += 2 * GAP_M
    if len(frame.boxes) and bev_iou(grown[None], frame.boxes).any():
        return None
    standing = frame.points[:, 2] > cutout.box[2] - cutout.box[5] / 2 + GAP_M
    seen = ~hidden(cutout.points, frame.points[standing])
    if np.count_nonzero(seen) < max(FEWEST_POINTS, len(seen) / 2):
        return None
    image, visible, share = frame.image, frame.visible, 0.0
    if camera:
        shown = _show(frame, cutout)
        if shown is None:
            return None
        image, visible, share = shown
    lost = hidden(frame.points, cutout.points)
    gone = frame.points[lost]
    of_boxes = [(np.abs(in_box_frame(gone, b)) <= b[3:6] / 2).all(1).sum() for b in frame.boxes]
    left = np.maximum(frame.npoints - np.array(of_boxes, np.int64), 0)
    return replace(
        frame,
        points=np.concatenate([frame.points[~lost], cutout.points[seen]]),
        intensity=np.concatenate([frame.intensity[~lost], cutout.intensity[seen]]),
        image=image,
        boxes=np.concatenate([frame.boxes, cutout.box[None]]).astype(np.float32),
        cls=np.append(frame.cls, cutout.kind),
        npoints=np.append(left, np.count_nonzero(seen)),
        visible=np.append(visible, np.float32(share)),
    )


def hidden(points: Array, by: Array) -> Array:
    """(n,) bool: which of the points (n, 3) lie behind some of `by` (m, 3) as the lidar sees them."""
    behind = np.zeros(len(points), bool)
    if not len(by) or not len(points):
        return behind
    (mine, distance), (theirs, nearer) = _directions(points), _directions(by)
    first = theirs.min(0) - 1
    shape = theirs.max(0) - first + 2
    nearest = np.full(shape, np.inf, np.float32)
    np.minimum.at(nearest, tuple((theirs - first).T), nearer)
    nearest = cv2.erode(nearest, np.ones((3, 3), np.uint8))  # beams leave gaps of about a bin
    cell = mine - first
    there = ((cell >= 0) & (cell < shape)).all(1)
    behind[there] = distance[there] > nearest[tuple(cell[there].T)] + BEHIND_M
    return behind


def _directions(points: Array) -> tuple[Array, Array]:
    """(n, 2) int64 bins of azimuth and elevation, (n,) m."""
    x, y, z = points[:, 0], points[:, 1], points[:, 2] - LIDAR_HEIGHT_M
    flat = np.hypot(x, y)
    angles = np.stack([np.arctan2(y, x), np.arctan2(z, flat)], axis=1)
    return np.floor(angles / BIN_RAD).astype(np.int64), np.hypot(flat, z)


def _show(frame: Frame, cutout: Cutout) -> tuple[Array, Array, float] | None:
    """The image with the object, how much of each box it still shows, and of the object.

    None where the image shows the object in part, behind something nearer, or nobody knows what it looks
    like."""
    pixels = outline(cutout.box, frame.K, frame.T_camera_ego)
    if pixels is None or not _overlap(pixels, (0, 0, frame.image.shape[1], frame.image.shape[0])):
        return frame.image, frame.visible, 0.0
    if cutout.patch is None or not _whole(pixels, frame):
        return None
    visible = frame.visible.copy()
    away = np.hypot(cutout.box[0], cutout.box[1])
    for i, box in enumerate(frame.boxes):
        other = outline(box, frame.K, frame.T_camera_ego)
        shared = 0 if other is None else _overlap(pixels, other)
        if other is None or not shared:
            continue
        if np.hypot(box[0], box[1]) < away:
            return None
        visible[i] *= 1 - shared / ((other[2] - other[0]) * (other[3] - other[1]))
    left, top, right, bottom = pixels
    image = frame.image.copy()
    image[top:bottom, left:right] = cv2.resize(cutout.patch, (right - left, bottom - top))
    return image, visible, 1.0


def _whole(pixels: Pixels, frame: Frame) -> bool:
    height, width = frame.image.shape[:2]
    return pixels[0] >= 0 and pixels[1] >= 0 and pixels[2] <= width and pixels[3] <= height


def _overlap(a: Pixels, b: Pixels) -> int:
    """Pixels that two rectangles share."""
    return max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
