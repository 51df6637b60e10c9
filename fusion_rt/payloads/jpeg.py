"""Images as JPEG."""

from __future__ import annotations

import cv2
import numpy as np
from msgspec.structs import replace

from fusion_rt.errors import MessageError
from fusion_rt.images import decode_image
from fusion_rt.messages import Image


def encode(image: Image, quality: int) -> Image:
    """The image as JPEG of this quality; one that is JPEG or PNG already as it is. Raises MessageError."""
    if image.encoding in ("jpeg", "png"):
        return image
    pixels = image.data if image.encoding == "mono8" else decode_image(image)
    if image.encoding == "rgb8":
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise MessageError(f"{image.header.sensor_id}: image {image.header.seq} cannot be coded as JPEG")
    return replace(image, encoding="jpeg", data=np.asarray(data, np.uint8).reshape(-1))
