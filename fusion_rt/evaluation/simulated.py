"""Accuracy in simulated streets that nobody trained on, each looked at as the stream does: the frame before,
then the present one with the memory of it and the true ego motion."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from fusion_rt.errors import LogError
from fusion_rt.evaluation import gains, pictures, report
from fusion_rt.evaluation.in_view import InViewRow, by_share
from fusion_rt.evaluation.pictures import Thing
from fusion_rt.evaluation.report import Case, CentreRow, Report
from fusion_rt.evaluation.subsets import GAINS, SUBSETS, Subset, detect, own_scores, still
from fusion_rt.messages import Header, Image, PointCloud
from fusion_rt.metrics.centre_distance import Moment, judge
from fusion_rt.metrics.matching import FrameBoxes
from fusion_rt.perception import Perception
from fusion_rt.percepts import Motion, Sweep, View
from fusion_rt.rig import Camera, Lidar, Pose, Rig
from fusion_rt.sim.frame_files import FRAME_S, Frame, Scene, read_scene
from fusion_rt.tracking.detections import Detections
from fusion_rt.transforms import Array, inverse

CLASSES = ("car", "pedestrian", "cyclist")  # numbers of the frames' `cls`
MIN_POINTS, MIN_VISIBLE = 3, 0.3
REACH_M, ASIDE_M = 70.0, 35.0
DIFFICULTY = "all"
NOTES = (
    report.COUNTED,
    report.WORKING_POINT,
    gains.NOTE,
    report.CENTRES,
    report.IN_VIEW,
    f"all: objects with {MIN_POINTS} lidar points or more, or {MIN_VISIBLE:.0%} or more of their outline in"
    f" the image, up to {REACH_M:g} m ahead and {ASIDE_M:g} m aside: the same ones for each set of sensors."
    " Simulated objects have no truncation or occlusion classes, so there are no easy, moderate and hard;"
    " other kinds of vehicles are ignored.",
)


def make_scenes(folder: Path, *, scenes: int, seed: int, workers: int = 1) -> Iterator[int]:
    """Fills the folder with the scenes it lacks, and yields how many are there after each.

    Raises ConfigError where some are to be made and the extra `sim` is not installed, LogError where the
    folder cannot be written."""
    missing = sum(not path.is_file() for path in scene_paths(folder, scenes=scenes, seed=seed))
    if not missing:
        yield scenes
        return
    from fusion_rt.sim.frames import write_frames

    workers = min(workers, missing // 4)  # starting one takes as long as a few scenes
    try:
        for done, _ in enumerate(write_frames(folder, scenes=scenes, seed=seed, workers=workers), 1):
            yield done
    except OSError as error:
        raise LogError(f"{folder}: scenes cannot be written: {error.strerror}") from error


def scene_paths(folder: Path, *, scenes: int, seed: int) -> list[Path]:
    """The files of the scenes, by the names that `fusion-rt sim frames` gives them."""
    return [folder / f"{seed}_{index:06d}.npz" for index in range(scenes)]


def evaluate(
    paths: Sequence[Path],
    perception: Perception,
    *,
    source: str,
    draw: Path | None = None,
    against: Perception | None = None,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Looks at every scene with each subset of its sensors. A damaged file is reported and left out.

    draw: pictures NAME.jpg there, of what lidar and camera find. against: another model of the same classes,
    or another precision, that looks with all sensors.

    Raises LogError where no scene can be used."""
    classes = perception.spec.classes
    cases: dict[Case, list[FrameBoxes]] = {
        Case(s.name, label, DIFFICULTY): [] for s in SUBSETS for label in classes
    }
    theirs: dict[Case, list[FrameBoxes]] = {Case(gains.OTHER, label, DIFFICULTY): [] for label in classes}
    moments: dict[tuple[str, str], list[Moment]] = {(s.name, k): [] for s in SUBSETS for k in classes}
    visible: dict[str, list[Array]] = {label: [] for label in classes}
    detections = {subset.name: 0 for subset in SUBSETS}
    skipped: list[str] = []
    for index, path in enumerate(paths):
        try:
            scene = read_scene(path)
        except LogError as error:
            skipped.append(str(error))
            advance(index + 1, len(paths))
            continue
        for label in classes:
            visible[label].append(scene.now.visible[_objects(scene.now, label)[0]])
        for subset, found in look(scene, perception):
            detections[subset.name] += len(found.boxes)
            if draw is not None and subset is SUBSETS[0]:
                pictures.save(_picture(scene.now, found, perception), draw / f"{path.stem}.jpg")
            for k, label in enumerate(classes):
                boxes = frame_boxes(scene.now, found, k, label)
                cases[Case(subset.name, label, DIFFICULTY)].append(boxes)
                moments[subset.name, label].append(moment(scene.now, found, k, label))
        if against is not None:
            _, found = next(look(scene, against))
            for k, label in enumerate(classes):
                theirs[Case(gains.OTHER, label, DIFFICULTY)].append(frame_boxes(scene.now, found, k, label))
        advance(index + 1, len(paths))
    if len(skipped) == len(paths):
        raise LogError(f"{source}: no scene can be used; the first problem: {(skipped or ['no scenes'])[0]}")
    judged = report.judged(cases | theirs, perception)
    return Report(
        source=source,
        model=perception.package.identity,
        engine=perception.engine_identity,
        frames=len(paths) - len(skipped),
        detections=detections,
        rows=report.rows(judged, perception),
        notes=NOTES,
        skipped=tuple(skipped),
        centres=tuple(
            CentreRow(sensors=sensors, label=label, scores=judge(seen))
            for (sensors, label), seen in moments.items()
        ),
        in_view=tuple(
            InViewRow(
                sensors=case.sensors,
                label=case.label,
                bands=by_share(
                    frames,
                    visible[case.label],
                    label=case.label,
                    threshold=perception.spec.score_thresholds[case.label],
                ),
            )
            for case, frames in cases.items()
        ),
        gains=report.gains(judged, GAINS, classes, DIFFICULTY),
        against=None if against is None else report.looker(against),
    )


def look(
    scene: Scene, perception: Perception, subsets: Sequence[Subset] = SUBSETS
) -> Iterator[tuple[Subset, Detections]]:
    """What each subset of the sensors finds in the present frame, in its ego frame."""
    speed, yaw_rate, acceleration = scene.motion
    T_prev_now = inverse(scene.T_now_previous)
    moving = Motion(known=True, speed=speed, yaw_rate=yaw_rate, acceleration=acceleration)
    remembering = Motion(
        known=True,
        speed=speed,
        yaw_rate=yaw_rate,
        acceleration=acceleration,
        T_prev_now=np.ascontiguousarray(T_prev_now[:2, [0, 1, 3]], np.float32),
        since_prev_s=FRAME_S,
    )
    previous, now = _see(scene.previous, perception), _see(scene.now, perception)
    for subset in subsets:
        # The memory is what the network itself left behind: the frame before comes first, every time.
        detect(perception, subset, sweeps=previous[0], views=previous[1], motion=moving)
        yield subset, detect(perception, subset, sweeps=now[0], views=now[1], motion=remembering)


def frame_boxes(frame: Frame, found: Detections, kind: int, label: str) -> FrameBoxes:
    """Objects of a class, and of kinds that are ignored, against what was found of that class.

    kind: the class's number in the detections."""
    wanted, counts = _objects(frame, label)
    mine = found.labels == kind
    boxes = found.boxes[mine].astype(np.float64)
    return FrameBoxes(
        truth=frame.boxes[wanted, :7].astype(np.float64),
        truth_ignored=~counts[wanted],
        found=boxes,
        scores=own_scores(found)[mine],
        found_ignored=~_within(boxes),
        sheltered=np.zeros(len(boxes), bool),
    )


def moment(frame: Frame, found: Detections, kind: int, label: str) -> Moment:
    """The same with velocities, without detections outside of the judged ground."""
    wanted, counts = _objects(frame, label)
    mine = (found.labels == kind) & _within(found.boxes)
    return Moment(
        truth=frame.boxes[wanted, :9].astype(np.float64),
        ignored=~counts[wanted],
        found=np.concatenate([found.boxes[mine], found.velocity[mine]], axis=1).astype(np.float64),
        scores=own_scores(found)[mine],
    )


def _picture(frame: Frame, seen: Detections, perception: Perception) -> Array:
    """What reaches the threshold, against the objects."""
    classes, found = perception.spec.classes, pictures.worth_showing(seen, perception.spec)
    counting = {label: _objects(frame, label)[1] for label in classes}
    truth = []
    for i, kind in enumerate(frame.cls.tolist()):
        label = CLASSES[kind] if kind >= 0 else "other"
        counts = label in classes and bool(counting[label][i])
        truth.append(Thing(frame.boxes[i, :7].astype(np.float64), label, counts=counts))
    camera = rig_of(frame).cameras["camera"]
    pixels = np.ascontiguousarray(frame.image[:, :, ::-1])
    return pictures.compare(pixels, camera, frame.points, truth, found)


def _objects(frame: Frame, label: str) -> tuple[Array, Array]:
    """(n,) bool: objects that detections of a class may be, and those of them that count."""
    number = CLASSES.index(label) if label in CLASSES else len(CLASSES)
    seen = (frame.npoints >= MIN_POINTS) | (frame.visible >= MIN_VISIBLE)
    mine: Array = frame.cls == number
    return mine | (frame.cls < 0), mine & seen & _within(frame.boxes)


def rig_of(frame: Frame) -> Rig:
    """The simulated sensors: the image is at the network's size, the points are in the ego frame already."""
    height, width = frame.image.shape[:2]
    rows = tuple(tuple(float(v) for v in row) for row in frame.K)
    pose = Pose.from_matrix(inverse(frame.T_camera_ego))
    return Rig(
        cameras={"camera": Camera(width=width, height=height, K=rows, pose=pose)},
        lidars={"lidar": Lidar(pose=Pose())},
    )


def _within(boxes: Array) -> Array:
    inside: Array = (boxes[:, 0] >= 0) & (boxes[:, 0] <= REACH_M) & (np.abs(boxes[:, 1]) <= ASIDE_M)
    return inside


def _see(frame: Frame, perception: Perception) -> tuple[list[Sweep], list[View]]:
    rig, n = rig_of(frame), len(frame.points)
    camera, lidar = rig.cameras["camera"], rig.lidars["lidar"]
    image = Image(
        header=_header("camera"),
        height=camera.height,
        width=camera.width,
        encoding="rgb8",
        data=frame.image,
    )
    cloud = PointCloud(
        header=_header("lidar"),
        xyz=frame.points,
        intensity=frame.intensity,
        t=np.zeros(n, np.float32),
        ring=np.zeros(n, np.uint16),
    )
    return [still(cloud, lidar.T_ego_lidar)], [View(perception.see(image, camera), camera.T_camera_ego)]


def _header(sensor: str) -> Header:
    return Header(sensor_id=sensor, frame_id=sensor, seq=0, stamp_ns=0)
