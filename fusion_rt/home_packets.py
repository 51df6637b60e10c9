"""What household sensors measure. Cameras and microphones at home send what they found, not what they saw or
heard: an image or a sound leaves its process only where the configuration allows that room."""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from fusion_rt.errors import MessageError
from fusion_rt.header import F4, Header, Index, expect

# kind -> unit, of a reading
READINGS = {
    "motion": "",  # 1 while a passive infrared sensor sees something move
    "contact": "",  # 1 open, 0 closed
    "presence": "",  # 1 where a sensor by its own account finds somebody
    "button": "",  # 1 pressed
    "smoke": "",  # 1 where a detector is in alarm
    "temperature": "°C",
    "humidity": "%",  # relative
    "humidity_ratio": "kg/kg",  # water by dry air
    "co2": "ppm",
    "illuminance": "lx",
    "power": "W",
    "energy": "kWh",
    "sound_level": "dB(A)",
    "distance": "m",  # of a beacon (`entity`) from the receiver (`sensor_id`)
}


class HomeReading(Struct, frozen=True, kw_only=True, tag="home"):
    """One reading of a household sensor.

    entity  what was measured; the sensor itself, or for a distance the beacon
    kind    a key of READINGS
    value   in READINGS' unit; NaN: the sensor says that it is not available
    told_ns when it was told, where that was long after its stamp: a state that a broker had kept, or that is
            said again to somebody who came late. 0: at once
    """

    header: Header
    entity: str
    kind: str
    value: float
    unit: str
    told_ns: Index = 0


class RadarPoints(Struct, frozen=True, kw_only=True, tag="radar"):
    """One frame of a radar, in the sensor's frame (x forward, y left, z up).

    xyz       (N, 3) float32, m; z is 0 where the radar cannot tell it
    velocity  (N,) float32, m/s along the ray, positive away from the radar
    snr_db    (N,) float32, above the noise; 0 where the radar does not say
    """

    header: Header
    xyz: NDArray[np.float32]
    velocity: NDArray[np.float32]
    snr_db: NDArray[np.float32]

    def __post_init__(self) -> None:
        expect(self, "xyz", F4, (None, 3))
        n = self.xyz.shape[0]
        expect(self, "velocity", F4, (n,))
        expect(self, "snr_db", F4, (n,))


class Sight(Struct, frozen=True, kw_only=True, tag="sight"):
    """The people that were found in one image; `stamp_ns` is its mid-exposure.

    width, height  of the image, px
    boxes          (N, 4) float32: left, top, right, bottom, px
    scores         (N,) float32, 0..1
    keypoints      (N, 17, 3) float32: x, y (px) and score (0..1) of COCO's body points, score 0 where one is
                   not known
    """

    header: Header
    width: int
    height: int
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    keypoints: NDArray[np.float32]

    def __post_init__(self) -> None:
        expect(self, "boxes", F4, (None, 4))
        n = self.boxes.shape[0]
        expect(self, "scores", F4, (n,))
        expect(self, "keypoints", F4, (n, 17, 3))


class Sound(Struct, frozen=True, kw_only=True, tag="sound"):
    """What was heard from `stamp_ns` on, for `duration_s`.

    level_dba  sound pressure level, dB(A); of an uncalibrated microphone by its nominal sensitivity
    speech     probability that somebody speaks
    events     kind of sound -> probability, by the sound head
    embedding  (E,) float32, what the head saw; E is 0 where it is not sent
    onsets     kind of sound that was recognised now -> when it began, UNIX ns
    """

    header: Header
    duration_s: float
    level_dba: float
    speech: float
    events: dict[str, float]
    embedding: NDArray[np.float32]
    onsets: dict[str, int] = {}

    def __post_init__(self) -> None:
        expect(self, "embedding", F4, (None,))
        if not self.duration_s > 0:
            raise MessageError(
                f"{self.header.sensor_id}: duration_s is {self.duration_s:g}, expected more than 0"
            )
