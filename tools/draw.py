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
from fusion_rt.messages import Image, PointCloud, Prediction, TrackedObject
from fusion_rt.perception import decode_image
from fusion_rt.pipeline import FusionPipeline, PipelineConfig
from fusion_rt.rig import Camera
from fusion_rt.transforms import Array, from_translation_rpy, transform_points

COLOURS = {"car": (80, 220, 60), "pedestrian": (60, 140, 255), "cyclist": (255, 160, 60)}  # BGR
PX_PER_M = 6.0
AHEAD_M, ASIDE_M = 62.0, 24.0
_EDGES = [(0, 1), (1, 3), (3, 2), (2, 0), (4, 5), (5, 7), (7, 6), (6, 4), (0, 4), (1, 5), (2, 6), (3, 7)]


def corners(thing: TrackedObject) -> Array:
    """(8, 3) corners of the box in the ego frame."""
    unit = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
    return transform_points(from_translation_rpy(thing.center, (0, 0, thing.yaw)), unit * thing.size)


def draw_image(pixels: Array, camera: Camera, prediction: Prediction) -> Array:
    """The image with every box that is wholly in front of the camera."""
    canvas = pixels.copy()
    for thing in sorted(prediction.objects, key=lambda o: -o.center[0]):
        seen = transform_points(camera.T_camera_ego, corners(thing))
        if seen[:, 2].min() < 0.3:
            continue
        uv = seen @ camera.intrinsics.T
        uv = np.round(uv[:, :2] / uv[:, 2:]).astype(int)
        colour = COLOURS.get(thing.label, (200, 200, 200))
        for a, b in _EDGES:
            cv2.line(canvas, tuple(map(int, uv[a])), tuple(map(int, uv[b])), colour, 1, cv2.LINE_AA)
        top = uv[np.argmin(uv[:, 1])]
        text = f"{thing.track_id} {np.hypot(*thing.center[:2]):.0f}m"
        cv2.putText(canvas, text, (int(top[0]) - 20, int(top[1]) - 4), 0, 0.4, colour, 1, cv2.LINE_AA)
    return canvas


def draw_above(points: Array, prediction: Prediction) -> Array:
    """Points (N, 3) in the ego frame, boxes with velocity and forecast, seen from above; ahead is up."""
    height, width = int(AHEAD_M * PX_PER_M), int(2 * ASIDE_M * PX_PER_M)
    canvas = np.full((height, width, 3), 24, np.uint8)

    def pixel(xy: Array) -> Array:
        return np.stack([(ASIDE_M - xy[..., 1]) * PX_PER_M, (AHEAD_M - xy[..., 0]) * PX_PER_M - 8], axis=-1)

    uv = pixel(points).astype(int)
    inside = (uv[:, 0] >= 0) & (uv[:, 0] < width) & (uv[:, 1] >= 0) & (uv[:, 1] < height)
    shade = np.clip(70 + 60 * points[inside, 2], 60, 230).astype(np.uint8)
    canvas[uv[inside, 1], uv[inside, 0]] = shade[:, None]
    for thing in prediction.objects:
        colour = COLOURS.get(thing.label, (200, 200, 200))
        outline = pixel(corners(thing)[[1, 3, 7, 5], :2]).astype(int)
        cv2.polylines(canvas, [outline], True, colour, 1, cv2.LINE_AA)
        path = np.array([thing.center[:2], *((f.x, f.y) for f in thing.forecast)])
        cv2.polylines(canvas, [pixel(path).astype(int)], False, colour, 1, cv2.LINE_AA)
        at = pixel(np.array(thing.center[:2])).astype(int)
        cv2.putText(
            canvas, str(thing.track_id), (int(at[0]) + 8, int(at[1])), 0, 0.35, colour, 1, cv2.LINE_AA
        )
    return canvas


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
        scale = above.shape[0] / ahead.shape[0]
        ahead = cv2.resize(ahead, None, fx=min(scale, 1.0), fy=min(scale, 1.0))
        pad = above.shape[0] - ahead.shape[0]
        ahead = cv2.copyMakeBorder(ahead, 0, pad, 0, 8, cv2.BORDER_CONSTANT, value=(24, 24, 24))
        yield (prediction.header.stamp_ns - log.start_ns) / 1e9, np.hstack([ahead, above])


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
