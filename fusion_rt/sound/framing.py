"""Audio packets of any rate into frames of 20 ms at 16 kHz, mono, 16 bit, each with its time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fusion_rt.errors import ConfigError
from fusion_rt.messages import AudioChunk

RATE_HZ = 16_000
FRAME = 320  # samples, 20 ms
FRAME_NS = FRAME * 1_000_000_000 // RATE_HZ
RATES_HZ = (8_000, 192_000)  # what is resampled; others are no microphone's
FULL_SCALE = 32_767
SILENT = 3  # 16-bit steps: no microphone that is on is quieter than that for a frame
_GAP_NS = 50_000_000  # between what the stamps say and what the samples say


class Frame(NamedTuple):
    """stamp_ns of the first sample; pcm (320,) int16."""

    stamp_ns: int
    pcm: NDArray[np.int16]


class Framer:
    """One microphone's chunks, in order.

    counts  frames; silent (digital silence) and clipped ones; dropped chunks (numbers that never came); late
            ones (older than what was heard), refused ones (of an impossible rate), gaps in time"""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(("frames", "silent", "clipped", "dropped", "late", "refused", "gaps"), 0)
        self._rest: NDArray[np.int16] = np.empty(0, np.int16)
        self._seq: int | None = None
        self._rate = RATE_HZ
        self._resampler: Any = None
        self._anchor_ns = 0
        self._sent = 0  # samples at 16 kHz since the anchor
        self._heard = 0  # samples at `_rate` since the anchor

    def push(self, chunk: AudioChunk) -> Iterator[Frame]:
        """The frames that are whole now. Raises ConfigError where another rate than 16 kHz comes and there is
        nothing to resample with."""
        low, high = RATES_HZ
        if not low <= chunk.rate <= high:
            self.counts["refused"] += 1
            return
        header = chunk.header
        if self._seq is not None and header.seq <= self._seq:
            self.counts["late"] += 1
            return
        if self._seq is not None:
            self.counts["dropped"] += header.seq - self._seq - 1
        first = self._seq is None
        self._seq = header.seq
        expected_ns = self._anchor_ns + self._heard * 1_000_000_000 // self._rate
        apart = abs(header.stamp_ns - expected_ns) > _GAP_NS
        if first or apart or chunk.rate != self._rate:
            self.counts["gaps"] += apart and not first
            self._begin(chunk)
        self._heard += len(chunk.pcm)
        self._rest = np.concatenate([self._rest, self._at_16_khz(chunk.pcm)])
        whole = len(self._rest) // FRAME
        frames, self._rest = self._rest[: whole * FRAME].reshape(whole, FRAME), self._rest[whole * FRAME :]
        for pcm in frames:
            stamp_ns = self._anchor_ns + self._sent * 1_000_000_000 // RATE_HZ
            self._sent += FRAME
            self._count(pcm)
            yield Frame(stamp_ns, pcm)

    def _begin(self, chunk: AudioChunk) -> None:
        """A new time line; what was left of the old one is less than a frame."""
        self._rest = np.empty(0, np.int16)
        self._anchor_ns, self._sent, self._heard = chunk.header.stamp_ns, 0, 0
        self._rate = chunk.rate
        self._resampler = None if chunk.rate == RATE_HZ else resampler(chunk.rate)

    def _at_16_khz(self, pcm: NDArray[np.int16]) -> NDArray[np.int16]:
        if self._resampler is None:
            return pcm
        resampled: NDArray[np.int16] = self._resampler.resample_chunk(pcm)
        return resampled

    def _count(self, pcm: NDArray[np.int16]) -> None:
        self.counts["frames"] += 1
        loudest = int(np.abs(pcm.astype(np.int32)).max())
        self.counts["silent"] += loudest < SILENT
        # One sample at full scale is a loud sound; three are one that did not fit.
        self.counts["clipped"] += (
            loudest >= FULL_SCALE and int((np.abs(pcm.astype(np.int32)) >= FULL_SCALE).sum()) > 2
        )


def resampler(rate_hz: int) -> Any:
    """A stream from that rate to 16 kHz. Raises ConfigError where the extra is not installed."""
    try:
        import soxr
    except ImportError as error:
        raise ConfigError(
            f"a microphone at {rate_hz} Hz needs resampling to {RATE_HZ} Hz: pip install 'fusion-rt[voice]',"
            f" or let the microphone give {RATE_HZ} Hz"
        ) from error
    return soxr.ResampleStream(rate_hz, RATE_HZ, 1, dtype="int16")
