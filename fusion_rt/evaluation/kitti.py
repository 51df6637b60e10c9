"""Detections on a folder in the layout of KITTI's object benchmark: result files, and their accuracy where
there are labels. Each frame is looked at alone: no motion, no memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from fusion_rt.detectors.image_detector import ImageDetector
from fusion_rt.detectors.point_detector import PointDetector
from fusion_rt.errors import LogError, MessageError
from fusion_rt.evaluation import gains, pictures, report
from fusion_rt.evaluation.late_fusion import LateFusion
from fusion_rt.evaluation.pictures import Thing
from fusion_rt.evaluation.report import Case, Report
from fusion_rt.evaluation.subsets import GAINS, SUBSETS, detect, own_scores, still
from fusion_rt.images import decode_image
from fusion_rt.logs.kitti_calibration import object_rig
from fusion_rt.logs.kitti_object import (
    KittiFrame,
    Label,
    counted_box,
    ego_box,
    frame_names,
    has_its_middle_in,
    read_frame,
    result_label,
    training_folder,
    write_labels,
)
from fusion_rt.messages import Image, PointCloud
from fusion_rt.metrics.kitti import DIFFICULTIES, frame_boxes, too_hard
from fusion_rt.metrics.matching import FrameBoxes
from fusion_rt.perception import Perception
from fusion_rt.percepts import Motion, Sweep, View
from fusion_rt.rig import Camera
from fusion_rt.tracking.detections import Detections
from fusion_rt.transforms import Array, transform_points

SIZE = (1242, 375)  # of most of KITTI's images, px: what bounds the 2D boxes of a frame without one
MODERATE = DIFFICULTIES[1]
NOTES = (
    report.COUNTED,
    report.WORKING_POINT,
    gains.NOTE,
    "Which objects count, and what is ignored (vans, too small, occluded or truncated): as in KITTI's"
    " development kit, boxes in the camera's axes. Its own AP, in the JSON as ap_devkit, is too low below a"
    " hundred objects.",
    "Detections whose middle lies beside the image are left out: no difficulty counts what it cuts off by"
    " more than half, and KITTI labels only some of it.",
    "At the working point, detections over half in a DontCare region are neither right nor wrong.",
)


def evaluate(
    folder: str | Path,
    perception: Perception,
    *,
    detector: ImageDetector | PointDetector | None = None,
    out: Path | None = None,
    draw: Path | None = None,
    against: Perception | None = None,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Looks at every frame with each subset of its sensors.

    detector: looks, too; one more set of rows is lidar+camera with what it says. against: another model of
    the same classes, or another precision, that looks with all sensors.
    draw: pictures NAME.png there, of what all its sensors find. out: result files NAME.txt of lidar+camera
    there, those of the others in lidar/, camera/, ...; one for each frame that has the sensors, empty where
    nothing was found. A damaged frame is reported and left out.
    Raises LogError where no frame can be used or a file cannot be written, EngineError where the detector
    gives numbers that are none."""
    names, skipped = frame_names(folder), _without_calibration(folder)
    classes = perception.spec.classes
    late = None if detector is None else LateFusion(detector, perception.spec)
    subsets = [s.name for s in SUBSETS] + ([] if late is None else [late.name])
    pairs = [*GAINS, *([] if late is None else [(late.name, late.base)])]
    cases: dict[Case, list[FrameBoxes]] = {
        Case(name, label, d.name): [] for name in subsets for label in classes for d in DIFFICULTIES
    }
    theirs: dict[Case, list[FrameBoxes]] = {Case(gains.OTHER, label, MODERATE.name): [] for label in classes}
    detections: dict[str, int] = {}
    places = {} if out is None else _result_folders(out, subsets)
    used = 0
    for index, name in enumerate(names):
        try:
            frame = read_frame(folder, name, index=index)
            camera = _camera(folder, frame)
            sweeps, views = see(frame, perception)
        except (LogError, MessageError) as error:
            skipped.append(str(error))
            advance(index + 1, len(names))
            continue
        used += 1
        looks = {
            s.name: detect(perception, s, sweeps=sweeps, views=views, motion=Motion())
            for s in SUBSETS
            if (sweeps or not s.lidar) and (views or not s.camera)
        }
        if draw is not None:
            seen = next(iter(looks.values()))  # with all the frame's sensors
            pictures.save(_picture(frame, camera, seen, perception), draw / f"{name}.png")
        pixels = None if late is None else _pixels(frame)
        if late is not None and pixels is not None and late.base in looks:
            looks[late.name] = late.judged(looks[late.base], sweeps, pixels, camera)
        for subset, seen in looks.items():
            found = result_labels(seen, classes, camera, frame.T_reference_ego)
            detections[subset] = detections.get(subset, 0) + len(found)
            if subset in places:
                write_labels(places[subset] / f"{name}.txt", found)
            if frame.labels is not None:
                for label in classes:
                    for d in DIFFICULTIES:
                        boxes = frame_boxes(frame.labels, found, label=label, difficulty=d)
                        cases[Case(subset, label, d.name)].append(boxes)
        if against is not None and frame.labels is not None and SUBSETS[0].name in looks:
            sweeps, views = see(frame, against)
            seen = detect(against, SUBSETS[0], sweeps=sweeps, views=views, motion=Motion())
            found = result_labels(seen, classes, camera, frame.T_reference_ego)
            for case, boxes_of in theirs.items():
                boxes_of.append(frame_boxes(frame.labels, found, label=case.label, difficulty=MODERATE))
        advance(index + 1, len(names))
    if not used:
        raise LogError(f"{folder}: no frame can be used; the first problem: {(skipped or ['no frames'])[0]}")
    judged = report.judged(cases | theirs, perception)
    return Report(
        source=str(folder),
        model=perception.package.identity,
        engine=perception.engine_identity,
        frames=used,
        detections=detections,
        rows=report.rows(judged, perception),
        notes=NOTES if judged else ("No labels: nothing to compare with.",),
        skipped=tuple(skipped),
        results=None if out is None else str(out),
        gains=report.gains(judged, pairs, classes, MODERATE.name),
        against=None if against is None else report.looker(against),
    )


def result_labels(
    detections: Detections, classes: tuple[str, ...], camera: Camera, T_reference_ego: Array
) -> list[Label]:
    """Detections whose middle the image shows as lines of a result file: KITTI counts nothing else."""
    lines = (
        result_label(classes[kind].capitalize(), box, float(score), camera, T_reference_ego)
        for kind, box, score in zip(detections.labels, detections.boxes, own_scores(detections))
        if has_its_middle_in(box, camera)
    )
    return [line for line in lines if line is not None]


def _picture(frame: KittiFrame, camera: Camera, seen: Detections, perception: Perception) -> Array:
    """What reaches the threshold and is in the image, against the labels: those that are too hard even for
    KITTI's hardest class may be found or not."""
    classes, shown = perception.spec.classes, pictures.worth_showing(seen, perception.spec)
    found = [thing for thing in shown if counted_box(thing.box, camera) is not None]
    truth = [
        Thing(
            ego_box(t, frame.T_reference_ego),
            t.type.lower(),
            counts=t.type.lower() in classes and not too_hard(t, DIFFICULTIES[-1]),
        )
        for t in frame.labels or ()
        if t.type != "DontCare"
    ]
    points = np.zeros((0, 3))
    for packet in frame.packets:
        if isinstance(packet, PointCloud):
            points = transform_points(frame.rig.lidars["lidar"].T_ego_lidar, packet.xyz)
    return pictures.compare(_pixels(frame), camera, points, truth, found)


def _pixels(frame: KittiFrame) -> Array | None:
    """(h, w, 3) uint8 BGR; None where the frame has no image."""
    return next((decode_image(packet) for packet in frame.packets if isinstance(packet, Image)), None)


def _without_calibration(folder: str | Path) -> list[str]:
    """Frames that `frame_names` does not name: one message each."""
    place = training_folder(folder)
    data = {p.stem for p in (place / "velodyne").glob("*.bin")}
    data |= {p.stem for pattern in ("*.png", "*.jpg") for p in (place / "image_2").glob(pattern)}
    there = {p.stem for p in (place / "calib").glob("*.txt")}
    lost = [place / "calib" / f"{name}.txt" for name in sorted(data - there)]
    return [f"{path}: missing; the frame is left out" for path in lost]


def _camera(folder: str | Path, frame: KittiFrame) -> Camera:
    """Camera 2: result files speak of its image even if the frame has none."""
    if "camera" in frame.rig.cameras:
        return frame.rig.cameras["camera"]
    return object_rig(training_folder(folder) / "calib" / f"{frame.name}.txt", *SIZE).cameras["camera"]


def see(frame: KittiFrame, perception: Perception) -> tuple[list[Sweep], list[View]]:
    """What the frame's sensors saw; an image is encoded now. Raises MessageError for a broken one."""
    sweeps, views = [], []
    for packet in frame.packets:
        if isinstance(packet, Image):
            camera = frame.rig.cameras["camera"]
            views.append(View(perception.see(packet, camera), camera.T_camera_ego))
        elif isinstance(packet, PointCloud):
            sweeps.append(still(packet, frame.rig.lidars["lidar"].T_ego_lidar))
    return sweeps, views


def _result_folders(out: Path, subsets: list[str]) -> dict[str, Path]:
    places = {name: out if name == "lidar+camera" else out / name for name in subsets}
    try:
        for folder in places.values():
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LogError(f"{out}: cannot be made: {error.strerror}") from error
    return places
