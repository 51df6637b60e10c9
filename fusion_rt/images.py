"""From a packet to pixels, and how they are scaled for the network."""

from __future__ import annotations

import cv2
import numpy as np

from fusion_rt.errors import MessageError
from fusion_rt.messages import Image
from fusion_rt.rig import Camera
from fusion_rt.transforms import Array

PIXELS = "bgr8", "rgb8"  # what the pipeline takes as it is


def decode_image(image: Image) -> Array:
    """Pixels (h, w, 3) uint8, BGR (RGB for rgb8). Raises MessageError when they do not decode."""
    if image.encoding in PIXELS:
        return np.ascontiguousarray(image.data)
    if image.encoding == "mono8":
        return cv2.cvtColor(image.data, cv2.COLOR_GRAY2BGR)
    # The rig describes the sensor's own rows and columns: a note on how to hold the picture is ignored.
    how = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(image.data, how) if image.data.size else None
    if pixels is None:
        raise MessageError(
            f"{image.header.sensor_id}: image {image.header.seq} does not decode as {image.encoding}"
            f" ({image.data.size} bytes); it was damaged or cut short"
        )
    if pixels.shape[:2] != (image.height, image.width):
        raise MessageError(
            f"{image.header.sensor_id}: image {image.header.seq} decodes to {pixels.shape[1]}x"
            f"{pixels.shape[0]}, its packet says {image.width}x{image.height}"
        )
    return pixels


def camera_pixels(image: Image, camera: Camera) -> Array:
    """`decode_image`, of the rig's size. Raises MessageError where it is of another."""
    if (image.height, image.width) != (camera.height, camera.width):
        raise MessageError(
            f"{image.header.sensor_id}: image {image.width}x{image.height}, the rig says"
            f" {camera.width}x{camera.height}; correct the rig or the camera's mode"
        )
    return decode_image(image)


def feature_intrinsics(K: Array, stride: int, focal_px: float | None = None) -> Array:
    """K (3, 3), up to scale, of features that are `stride` times smaller than the image they were made of.

    What it projects has the depth (the third number, m) at which a camera of `focal_px` would see it as
    large, so that a network knows cameras of any focal length; None: of its own."""
    alike = 1.0 if focal_px is None else focal_px / K[1, 1]
    small: Array = alike * np.diag([1 / stride, 1 / stride, 1.0]) @ K
    return small


def network_intrinsics(K: Array, size: tuple[int, int], into: tuple[int, int]) -> Array:
    """K (3, 3) of the network's image of size `into` (width, height; px), cut from one of K and `size`:
    scaled to its width, the rows chosen so that the horizon of a level camera is not below the middle; high
    images lose sky and bonnet, none is stretched."""
    (width, height), (narrow, low) = size, into
    scale = narrow / width
    small: Array = np.diag([scale, scale, 1.0]) @ K
    spare = max(height * scale - low, 0.0)
    small[1, 2] -= min(max(small[1, 2] - low / 2, 0.0), spare)
    return small
