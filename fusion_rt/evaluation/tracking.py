"""Our tracker on detections that others published for KITTI's tracking benchmark: result files, scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fusion_rt import config
from fusion_rt.errors import LogError
from fusion_rt.evaluation.public_boxes import Boxes, read_boxes, read_way
from fusion_rt.evaluation.report import interval, percent
from fusion_rt.evaluation.track_scores import TrackScore, score
from fusion_rt.logs.kitti_calibration import object_reference, object_rig
from fusion_rt.logs.kitti_object import label_line, result_label
from fusion_rt.logs.kitti_oxts import FRAME_NS, read_text
from fusion_rt.outlines import outlines
from fusion_rt.rig import Camera
from fusion_rt.scenario import find_file
from fusion_rt.tracking.config import TrackerConfig
from fusion_rt.tracking.detections import Detections
from fusion_rt.tracking.image_boxes import ImageBoxes, image_iou
from fusion_rt.tracking.tracker import Tracker
from fusion_rt.tracking.tracks import boxes_in_ego
from fusion_rt.transforms import Array

CLASSES = ("car", "pedestrian", "cyclist")
SIZE = (1242, 375)  # of most of KITTI's images, px
NOTES = (
    "HOTA, DetA, AssA, LocA, MOTA, IDF1 by TrackEval, KITTI's 2D box protocol, in %; [ ]: the middle 95 %"
    " over sequences drawn again with replacement.",
    "tuned: the sequences whose scores chose the settings; others: those that had no say.",
)


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One set for all classes and sequences.

    even_score    a published 3D score that is as likely right as wrong
    score_spread  so much more, and the odds are e to one
    std           of a 3D box: x, y, z (m), size (share), yaw (rad)
    mean_score    a track whose boxes' probabilities have a lower mean is left out in the end
    shown         existence from which a track is written where nothing shows it
    tuned_on      sequences that chose these settings
    tracker       the tracker's own
    """

    even_score: float = 2.5
    score_spread: float = 1.5
    std: tuple[float, float, float, float, float] = (0.2, 0.2, 0.1, 0.1, 0.1)
    mean_score: float = 0.5
    shown: float = 0.3
    tuned_on: tuple[str, ...] = ()
    tracker: TrackerConfig = TrackerConfig(birth_score=0.4)


class Sources(Struct, frozen=True, kw_only=True):
    """Folders. detections: public boxes in three dimensions; image_boxes: in the image, None: not used;
    labels: label_02; calibration, poses, oxts: files SSSS.txt; the last two may be None."""

    detections: Path
    labels: Path
    calibration: Path
    image_boxes: Path | None = None
    poses: Path | None = None
    oxts: Path | None = None

    @classmethod
    def beside(cls, detections: Path, labels: Path, image_boxes: Path | None, poses: Path | None) -> Sources:
        """The folders that the benchmark puts beside the labels."""
        place = labels.resolve().parent
        found = sorted(
            path for path in place.glob("*") if path.is_dir() and path.name.startswith(("ego", "pose"))
        )
        return cls(
            detections=detections,
            labels=labels,
            calibration=place / "calib",
            image_boxes=image_boxes,
            poses=poses or (found[0] if found else None),
            oxts=place / "oxts",
        )


class Drive(Struct, frozen=True, kw_only=True):
    """One sequence.

    public, seen     frame -> boxes in three dimensions; in the image, None: not used
    knows            classes that the image's detector names
    way              (frames, 4, 4) T_map_ego, from `ego`
    T_reference_ego  (4, 4) to the labels' frame
    """

    public: Mapping[int, Boxes]
    seen: Mapping[int, Boxes] | None
    knows: tuple[int, ...]
    way: Array
    ego: str
    camera: Camera
    T_reference_ego: Array


class TrackReport(Struct, frozen=True, kw_only=True):
    """An evaluation. ego: sequence -> where the vehicle's way is from: poses, oxts, none."""

    source: str
    image_boxes: str | None
    sequences: int
    frames: int
    tracks: int
    ego: dict[str, str]
    scores: tuple[TrackScore, ...]
    notes: tuple[str, ...]
    skipped: tuple[str, ...]
    results: str


def settings(path: Path | None) -> Settings:
    """Of a file, or those that we ship. Raises ConfigError."""
    return config.load(find_file("tracking" if path is None else str(path), "eval"), Settings)


def evaluate(
    sources: Sources,
    out: Path,
    chosen: Settings,
    *,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> TrackReport:
    """Tracks every sequence that has labels and detections, writes SSSS.txt in KITTI's tracking format to
    `out`, and judges them. Raises LogError where no sequence can be used or a file cannot be written,
    ConfigError where TrackEval is not installed."""
    names = sorted(path.stem for path in sources.labels.glob("*.txt"))
    if not names:
        raise LogError(f"{sources.labels}: no label files SSSS.txt")
    skipped: list[str] = []
    lengths: dict[str, int] = {}
    ego: dict[str, str] = {}
    tracks = 0
    for done, name in enumerate(names):
        try:
            drive = read_drive(sources, name)
            lines = track(drive, chosen)
        except LogError as error:
            skipped.append(f"sequence {name}: {error}")
            continue
        finally:
            advance(done + 1, len(names))
        _write(out / f"{name}.txt", lines)
        lengths[name], ego[name] = len(drive.way), drive.ego
        tracks += len({line.split()[1] for line in lines})
    if not lengths:
        raise LogError(f"{sources.labels}: no sequence could be used: " + "; ".join(skipped))
    groups = {"all": list(lengths)}
    if chosen.tuned_on:
        groups["tuned"] = [name for name in lengths if name in chosen.tuned_on]
        groups["others"] = [name for name in lengths if name not in chosen.tuned_on]
    return TrackReport(
        source=str(sources.detections),
        image_boxes=None if sources.image_boxes is None else str(sources.image_boxes),
        sequences=len(lengths),
        frames=sum(lengths.values()),
        tracks=tracks,
        ego=ego,
        scores=score(out, sources.labels, lengths, groups),
        notes=NOTES,
        skipped=tuple(skipped),
        results=str(out),
    )


def render(report: TrackReport) -> RenderableType:
    """For a terminal."""
    more = "" if report.image_boxes is None else f" with {report.image_boxes}"
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("class", "sequences"):
        table.add_column(name, no_wrap=True)
    for name in ("HOTA", "DetA", "AssA", "LocA", "MOTA", "IDF1", "switches", "FP", "FN"):
        table.add_column(name, justify="right", no_wrap=True)
    for s in report.scores:
        shares = (s.deta, s.assa, s.loca, s.mota, s.idf1)
        mistakes = (s.switches, s.false_positives, s.false_negatives)
        table.add_row(
            s.label,
            f"{s.which} ({s.sequences})",
            Text.assemble(percent(s.hota), " ", interval(s.hota)),
            *map(percent, shares),
            *map(str, mistakes),
        )
    counts = f"{report.sequences} sequences, {report.frames} frames, {report.tracks} tracks"
    return Group(
        Text(f"{report.source}{more}: {counts}"),
        Text(f"result files in KITTI's format: {report.results}"),
        "",
        table,
        "",
        *(Text(note, style="dim") for note in report.notes),
    )


def read_drive(sources: Sources, name: str) -> Drive:
    """Raises LogError."""
    calibration = sources.calibration / f"{name}.txt"
    rig, T_reference_ego = object_rig(calibration, *SIZE), object_reference(calibration)
    public = read_boxes(sources.detections, name, CLASSES, T_reference_ego)
    seen = None if sources.image_boxes is None else read_boxes(sources.image_boxes, name, CLASSES, None)
    frames = max((_last_labelled(sources.labels / f"{name}.txt"), *public)) + 1
    way, ego = read_way(_file(sources.poses, name), _file(sources.oxts, name), rig, frames)
    return Drive(
        public=public,
        seen=seen,
        knows=_knows(sources.image_boxes),
        way=way,
        ego=ego,
        camera=rig.cameras["camera"],
        T_reference_ego=T_reference_ego,
    )


def _last_labelled(path: Path) -> int:
    """The last frame that a label file speaks of, -1 where it is empty. Raises LogError."""
    words = [line.split(maxsplit=1)[0] for line in read_text(path).splitlines() if line.strip()]
    for number, word in enumerate(words):
        if not word.isdecimal():
            raise LogError(f"{path}: label {number + 1} begins with {word!r}, expected the number of a frame")
    return max(map(int, words), default=-1)


def track(drive: Drive, chosen: Settings) -> list[str]:
    """Result lines of one sequence."""
    camera = drive.camera
    tracker = Tracker(chosen.tracker, CLASSES, ("public",), {})
    lines: list[tuple[int, str]] = []
    evidence: dict[int, list[float]] = {}
    for frame, T_map_ego in enumerate(drive.way):
        boxes = drive.public.get(frame, _NOTHING)
        detections = _detections(boxes, chosen)
        image = None if drive.seen is None else _image(drive.seen.get(frame, _NOTHING), camera, drive.knows)
        images = () if image is None else (image,)
        tracks = tracker.update(detections, stamp_ns=frame * FRAME_NS, T_map_ego=T_map_ego, images=images)
        in_ego, now = boxes_in_ego(tracks, T_map_ego), frame * FRAME_NS
        kinds = tracks["log_classes"].argmax(axis=1)
        projected = outlines(in_ego, tracker.rounded[kinds], camera, camera.T_camera_ego)
        shapes = projected if image is None else _as_drawn(projected, kinds, image, chosen)
        for k, one in enumerate(tracks):
            number = int(one["track_id"])
            if one["seen_ns"] == now:
                evidence.setdefault(number, []).append(float(one["score"]))
            elif one["witnessed_ns"] != now and one["existence"] < chosen.shown:
                continue
            name, existence = CLASSES[kinds[k]].capitalize(), float(one["existence"])
            label = result_label(name, in_ego[k], existence, camera, drive.T_reference_ego)
            if label is not None and np.isfinite(shapes[k]).all():
                drawn = replace(label, bbox=tuple(shapes[k].tolist()))
                lines.append((number, f"{frame} {number} {label_line(drawn)}\n"))
    sure = {number for number, found in evidence.items() if np.mean(found) >= chosen.mean_score}
    return [line for number, line in lines if number in sure]


def _as_drawn(projected: Array, kinds: Array, image: ImageBoxes, chosen: Settings) -> Array:
    """(n, 4) of each track what the image's detector drew, if something of its class overlaps its outline
    enough, else the outline."""
    if not len(image.boxes) or not len(projected):
        return projected
    iou = image_iou(projected, image.boxes) * (kinds[:, None] == image.labels[None])
    drawn = iou.max(axis=1) >= chosen.tracker.image_follow
    return np.where(drawn[:, None], image.boxes[iou.argmax(axis=1)], projected)


def _detections(boxes: Boxes, chosen: Settings) -> Detections:
    n, each = len(boxes.labels), np.arange(len(boxes.labels))
    scores = np.full((n, len(CLASSES)), 0.02)
    scores[each, boxes.labels] = 1 / (1 + np.exp((chosen.even_score - boxes.scores) / chosen.score_spread))
    return Detections(
        boxes=boxes.boxes.reshape(n, 7),
        velocity=np.zeros((n, 2)),
        scores=scores,
        labels=boxes.labels,
        std=np.tile(chosen.std, (n, 1)),
        contributions=np.ones((n, 1)),
        velocity_known=np.zeros(n, bool),
    )


def _image(boxes: Boxes, camera: Camera, knows: tuple[int, ...]) -> ImageBoxes:
    return ImageBoxes(
        camera=camera,
        T_camera_ego=camera.T_camera_ego,
        boxes=boxes.outlines,
        scores=boxes.scores,
        labels=boxes.labels,
        knows=knows,
    )


def _knows(folder: Path | None) -> tuple[int, ...]:
    """Classes that the image's detector has files of."""
    if folder is None:
        return ()
    return tuple(k for k, label in enumerate(CLASSES) if (folder / label.capitalize()).is_dir())


def _write(path: Path, lines: list[str]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise LogError(f"{path}: cannot be written: {error}") from error


def _file(folder: Path | None, name: str) -> Path | None:
    return None if folder is None else folder / f"{name}.txt"


_NOTHING = Boxes(np.empty(0, np.int64), np.empty(0), np.empty((0, 4)), np.empty((0, 7)))
