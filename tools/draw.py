"""Draw what the pipeline sees: boxes and ids over the camera image, and the scene from above.

python tools/draw.py LOG --out out/drawn                 # every answer as a PNG
python tools/draw.py LOG --out docs/images --at 4.0      # one moment, seconds after the first packet
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from fusion_rt import logs
from fusion_rt.evaluation.pictures import COLOURS, IGNORED, Above, beside, draw_box
from fusion_rt.images import decode_image
from fusion_rt.messages import Image, PointCloud, Prediction, TrackedObject
from fusion_rt.pipeline import FusionPipeline, PipelineConfig
from fusion_rt.rig import Camera
from fusion_rt.transforms import Array, transform_points


def draw_image(pixels: Array, camera: Camera, prediction: Prediction) -> Array:
    """The image with every box that is wholly in front of the camera."""
    canvas = pixels.copy()
    for thing in sorted(prediction.objects, key=lambda o: -o.center[0]):
        text = f"{thing.track_id} {np.hypot(*thing.center[:2]):.0f}m"
        draw_box(canvas, box_of(thing), camera, COLOURS.get(thing.label, IGNORED), text)
    return canvas


def draw_above(points: Array, prediction: Prediction) -> Array:
    """Points (N, 3) in the ego frame, boxes with their forecast, seen from above."""
    above = Above()
    above.points(points)
    for thing in prediction.objects:
        colour = COLOURS.get(thing.label, IGNORED)
        above.box(box_of(thing), colour, str(thing.track_id))
        above.way(np.array([thing.center[:2], *((f.x, f.y) for f in thing.forecast)]), colour)
    return above.canvas


def box_of(thing: TrackedObject) -> Array:
    """(7,) x y z l w h yaw."""
    return np.array([*thing.center, *thing.size, thing.yaw])


def pictures(path: Path, config: PipelineConfig) -> Iterator[tuple[float, Array]]:
    """(seconds after the first packet, picture) of each answer."""
    log = logs.open(path)
    rig = log.rig
    pipeline = FusionPipeline.from_config(config, rig)
    image: Image | None = None
    points = np.zeros((0, 3), np.float32)
    for packet in log:
        if isinstance(packet, Image):
            image = packet
        elif isinstance(packet, PointCloud):
            lidar = rig.lidars[packet.header.sensor_id]
            points = transform_points(lidar.T_ego_lidar, packet.xyz)
        prediction = pipeline.push(packet)
        if prediction is None:
            continue
        above = draw_above(points, prediction)
        if image is None:
            yield (prediction.header.stamp_ns - log.start_ns) / 1e9, above
            continue
        ahead = draw_image(decode_image(image), rig.cameras[image.header.sensor_id], prediction)
        yield (prediction.header.stamp_ns - log.start_ns) / 1e9, beside(ahead, above)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("log", type=Path)
    parser.add_argument("--out", type=Path, default=Path("out/drawn"))
    parser.add_argument("--at", type=float, help="only the first answer at or after this many seconds")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    drawn = 0
    for seconds, picture in pictures(args.log, PipelineConfig()):
        if args.at is not None and seconds < args.at:
            continue
        drawn += 1
        name = args.out / f"{args.log.stem}_{seconds:07.3f}.png"
        cv2.imwrite(str(name), picture)
        if args.at is not None:
            break
    print(f"{drawn} pictures in {args.out}")


if __name__ == "__main__":
    main()
