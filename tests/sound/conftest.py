"""A small office, and sounds as chunks of a microphone."""

import numpy as np
import pytest

from fusion_rt.messages import AudioChunk, Header
from fusion_rt.plan import Plan
from fusion_rt.scenario import find_file


@pytest.fixture(scope="session")
def office():
    return Plan.load(find_file("office", "home"))


@pytest.fixture(scope="session")
def flat():
    return Plan.load(find_file("flat", "home"))


@pytest.fixture(scope="session")
def as_chunks():
    """pcm, rate, first seq, first stamp -> chunks of 20 ms."""

    def make(pcm, *, rate=16_000, seq=0, start_ns=0):
        size = rate // 50
        for i in range(len(pcm) // size):
            header = Header(sensor_id="mic", frame_id="mic", seq=seq + i, stamp_ns=start_ns + i * 20_000_000)
            part = np.ascontiguousarray(pcm[i * size : (i + 1) * size])
            yield AudioChunk(header=header, rate=rate, pcm=part)

    return make


@pytest.fixture(scope="session")
def quiet():
    """Seconds of the noise of a microphone in a still room."""

    def make(seconds, seed=0):
        return np.random.default_rng(seed).normal(0, 8, round(seconds * 16_000)).astype(np.int16)

    return make
