"""fusion-rt import rosbag | mcap | pcd | nuscenes | ouster, and convert: our logs and other formats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fusion_rt.commands.common import Json, console, errors, left_out, print_json, progress
from fusion_rt.commands.recordings import importers
from fusion_rt.errors import ConfigError, LogError

if TYPE_CHECKING:
    from fusion_rt.logs.importing import ImportedLog
    from fusion_rt.rig import Rig

Out = Annotated[Path, typer.Option("--out", "-o", help="The log that is written, such as drive.mcap.")]
Rig_ = Annotated[
    Path | None,
    typer.Option("--rig", help="The sensors, where the recording does not say them: YAML, or a log of ours."),
]
Topic = Annotated[
    list[str] | None,
    typer.Option(help="NAME=TOPIC, such as lidar=/velodyne_points; again for more. Else found by type."),
]
Base = Annotated[
    str | None,
    typer.Option(help="The frame with the vehicle's axes; else base_footprint, base_link, ..."),
]
LidarHeight = Annotated[
    float | None,
    typer.Option(help="Of the first lidar above the ground, m; else from what the recording says or shows."),
]
FullScale = Annotated[
    float | None,
    typer.Option(min=0, help="The intensity that stands for 1; else 1 or 255, as the first sweep has."),
]


@importers.command()
def rosbag(
    path: Annotated[
        Path, typer.Argument(help="A .bag file; or a ROS 2 bag: its folder, .mcap or .db3 file.")
    ],
    out: Out,
    topic: Topic = None,
    rig: Rig_ = None,
    base: Base = None,
    lidar_height: LidarHeight = None,
    full_scale: FullScale = None,
    json: Json = False,
) -> None:
    """ROS 1 and ROS 2 bags: PointCloud2, Image, CompressedImage, CompressedVideo, NavSatFix, Imu.

    fusion-rt import rosbag drive.bag -o drive.mcap

    fusion-rt import rosbag my_bag/ -o drive.mcap --topic lidar=/velodyne_points --topic front=/cam/image_raw

    Cameras are calibrated by their CameraInfo, sensors placed by the static transforms; where the bag does
    not say these, give a rig. What cannot be used is left out and named.
    """
    from fusion_rt.logs.ros_reader import BagReader

    _import_bag(path, out, topic, rig, base, lidar_height, full_scale, json, BagReader)


@importers.command()
def mcap(
    path: Annotated[Path, typer.Argument(help="An MCAP file with Foxglove's protobuf messages.")],
    out: Out,
    topic: Topic = None,
    rig: Rig_ = None,
    base: Base = None,
    lidar_height: LidarHeight = None,
    full_scale: FullScale = None,
    json: Json = False,
) -> None:
    """MCAP files of other makers: PointCloud, RawImage, CompressedImage, CompressedVideo, LocationFix.

    fusion-rt import mcap other.mcap -o drive.mcap --topic lidar=/LIDAR_TOP

    Calibrations, transforms and the options are as with `import rosbag`, which reads the MCAP files of ROS 2.
    """
    from fusion_rt.logs.foxglove_reader import FoxgloveReader

    _import_bag(path, out, topic, rig, base, lidar_height, full_scale, json, FoxgloveReader)


@importers.command()
def pcd(
    path: Annotated[Path, typer.Argument(help="A folder of .pcd files, or one.")],
    out: Out,
    period: Annotated[
        float, typer.Option(min=1e-3, help="Between sweeps, s, where the files' names hold no UNIX time.")
    ] = 0.1,
    lidar_height: LidarHeight = None,
    full_scale: FullScale = None,
    json: Json = False,
) -> None:
    """Point Cloud Library's files (ascii, binary, binary_compressed) as the sweeps of one lidar.

    fusion-rt import pcd sweeps/ -o drive.mcap --period 0.1

    Stamps are in names such as 1317046453.072943544.pcd or 1317046453072943544.pcd, else by the period.
    """
    from fusion_rt.logs.importing import import_recording
    from fusion_rt.logs.pcd import PcdFolder

    folder = PcdFolder(path, period_s=period, lidar_height_m=lidar_height, scale=full_scale)
    with progress(f"importing {path.name}") as advance:
        result = import_recording(folder, out, advance)
    _report(result.logs, folder.notes, result.errors, json)


@importers.command()
def nuscenes(
    folder: Annotated[Path, typer.Argument(help="The folder with v1.0-mini/, samples/ and sweeps/.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A folder, which gets a log a scene.")],
    scene: Annotated[
        list[str] | None, typer.Option(help="Only this, such as scene-0061; again for more.")
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="The tables, such as v1.0-mini; else the only ones.")
    ] = None,
    camera: Annotated[
        list[str] | None, typer.Option(help="Only this, such as CAM_FRONT; again for more. Else all.")
    ] = None,
    radar: Annotated[
        list[str] | None, typer.Option(help="Also this, such as RADAR_FRONT; again for more. Else none.")
    ] = None,
    json: Json = False,
) -> None:
    """nuScenes: LIDAR_TOP, the cameras with what lies between key frames, the ego pose as position fixes;
    the annotations as SCENE.truth.jsonl beside the log.

    fusion-rt import nuscenes nuscenes/ -o logs --scene scene-0061 --camera CAM_FRONT

    fusion-rt eval drive logs
    """
    from fusion_rt.logs import truth
    from fusion_rt.logs.importing import Imported, import_recording
    from fusion_rt.logs.nuscenes import NuScenes

    tables = NuScenes(folder, version)
    results: list[Imported] = []
    notes: list[str] = []
    left_out: list[str] = []
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LogError(f"{out}: the folder cannot be made: {error.strerror}") from error
    for name in tables.choose(scene or []):
        with progress(f"importing {name}") as advance:
            recording = tables.scene(name, cameras=camera or None, radars=radar or ())
            results.append(import_recording(recording, out / f"{name}.mcap", advance))
            frames, faults = recording.truth()
            if frames:
                truth.write(out / f"{name}.truth.jsonl", frames)
                boxes = sum(len(frame.objects) for frame in frames)
                notes.append(f"{name}.truth.jsonl: {len(frames)} key frames, {boxes} boxes")
            left_out += faults
    _report(
        [log for result in results for log in result.logs],
        notes,
        [*(error for result in results for error in result.errors), *left_out],
        json,
    )


@importers.command()
def ouster(
    capture: Annotated[Path, typer.Argument(help="A .pcap or .pcapng file with the sensor's UDP packets.")],
    out: Out,
    metadata: Annotated[
        Path | None, typer.Option(help="The sensor's JSON; else the file beside the capture with its name.")
    ] = None,
    lidar_height: LidarHeight = None,
    json: Json = False,
) -> None:
    """A packet capture of an Ouster lidar: its sweeps, each point with its own time, and its IMU.

    fusion-rt import ouster capture.pcap -o drive.mcap --metadata os1.json
    """
    from fusion_rt.logs.importing import import_recording
    from fusion_rt.logs.ouster import OusterCapture

    recording = OusterCapture(capture, metadata, lidar_height_m=lidar_height)
    with progress(f"importing {capture.name}") as advance:
        result = import_recording(recording, out, advance)
    _report(result.logs, recording.notes, result.errors, json)


@importers.command()
def velodyne(
    capture: Annotated[Path, typer.Argument(help="A .pcap or .pcapng file with the sensor's UDP packets.")],
    out: Out,
    calibration: Annotated[Path | None, typer.Option(help="Of an HDL-64E: its db.xml.")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="To which its packets went.")] = 2368,
    lidar_height: LidarHeight = None,
    json: Json = False,
) -> None:
    """A packet capture of a Velodyne lidar: its sweeps, each point with its own time.

    VLP-16, Puck LITE, Puck Hi-Res HDL-32E and VLP-32C as they are, HDL-64E with its calibration.

    fusion-rt import velodyne capture.pcap -o drive.mcap

    fusion-rt import velodyne capture.pcap -o drive.mcap --calibration db.xml
    """
    from fusion_rt.logs.importing import import_recording
    from fusion_rt.logs.velodyne import VelodyneCapture

    recording = VelodyneCapture(capture, port=port, calibration=calibration, lidar_height_m=lidar_height)
    with progress(f"importing {capture.name}") as advance:
        result = import_recording(recording, out, advance)
    _report(result.logs, recording.notes, result.errors, json)


def convert(
    log: Annotated[str, typer.Argument(help="A recording, or bundled:drive.mcap.")],
    to: Annotated[
        Literal["rosbag2", "rosbag1", "pcd", "kitti", "kitti-object", "mcap"],
        typer.Option(help="The format."),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="What is written: a file for rosbag1 and mcap, else a folder.")
    ],
    storage: Annotated[
        Literal["sqlite3", "mcap"],
        typer.Option(help="Of a ROS 2 bag; from ROS 2 Iron on, mcap is the usual one."),
    ] = "sqlite3",
    pcd_encoding: Annotated[
        Literal["ascii", "binary", "binary_compressed"], typer.Option(help="Of PCD files.")
    ] = "binary_compressed",
    video: Annotated[
        bool, typer.Option("--video", help="With mcap: images as H.264: smaller, not exact.")
    ] = False,
    camera: Annotated[str | None, typer.Option(help="For KITTI's layouts, of a rig with several.")] = None,
    lidar: Annotated[str | None, typer.Option(help="For KITTI's layouts, of a rig with several.")] = None,
    json: Json = False,
) -> None:
    """A log into another format: a ROS 1 or ROS 2 bag, PCD files, KITTI's raw or object layout.

    fusion-rt convert drive.mcap --to rosbag2 -o drive_bag

    fusion-rt convert drive.mcap --to mcap --video -o small.mcap

    What each format keeps: docs/formats.md. Nothing is overwritten.
    """
    from fusion_rt.logs.exporting import Options, export
    from fusion_rt.scenario import locate

    options = Options(storage=storage, pcd_encoding=pcd_encoding, video=video, camera=camera, lidar=lidar)
    with progress(f"writing {out.name}") as advance:
        result = export(locate(log), to, out, options, advance)
    if json:
        print_json({"path": str(out), "packets": result.counts, "left_out": result.left_out})
        return
    counts = ", ".join(f"{n} of {sensor}" for sensor, n in result.counts.items())
    console.print(f"{out}: {counts}", markup=False, highlight=False, soft_wrap=True)
    left_out(result.left_out)


def _import_bag(
    path: Path,
    out: Path,
    topic: list[str] | None,
    rig: Path | None,
    base: str | None,
    lidar_height: float | None,
    full_scale: float | None,
    json: bool,
    reader: Any,
) -> None:
    from fusion_rt.logs.importing import import_recording
    from fusion_rt.logs.rosbag import RosBag

    with (
        RosBag(
            path,
            topics=_topics(topic or []),
            rig=_rig(rig),
            base=base,
            lidar_height_m=lidar_height,
            scale=full_scale,
            reader=reader,
        ) as bag,
        progress(f"importing {path.name}") as advance,
    ):
        result = import_recording(bag, out, advance)
    _report(result.logs, bag.notes, result.errors, json)


def _topics(words: list[str]) -> dict[str, str]:
    topics: dict[str, str] = {}
    for word in words:
        name, equals, topic = word.partition("=")
        if not (name and equals and topic):
            raise ConfigError(f"--topic {word}: expected NAME=TOPIC, such as lidar=/velodyne_points")
        if name in topics:
            raise ConfigError(f"--topic {word}: {name} is {topics[name]} already; give each sensor one topic")
        topics[name] = topic
    return topics


def _rig(path: Path | None) -> Rig | None:
    from fusion_rt.scenario import load_rig

    return None if path is None else load_rig(str(path))


def _report(logs: Sequence[ImportedLog], notes: Sequence[str], faults: Sequence[str], json: bool) -> None:
    if json:
        written = [{"path": str(g.path), "packets": g.packets, "seconds": g.seconds} for g in logs]
        print_json({"logs": written, "notes": list(notes), "errors": list(faults)})
        return
    for log in logs:
        text = f"{log.path}: {log.packets} packets, {log.seconds:.1f} s"
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    for note in notes:
        console.print(note, style="dim", markup=False, highlight=False, soft_wrap=True)
    for fault in faults:
        errors.print(f"left out: {fault}", style="yellow", markup=False, highlight=False, soft_wrap=True)
