"""Recordings of sound as the chunks that a microphone would give."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fusion_rt.errors import LogError
from fusion_rt.messages import AudioChunk, Header
from fusion_rt.sound.needs import voice_extra

CHUNK_S = 0.02


def chunks(path: Path, sensor_id: str, *, start_ns: int = 0) -> Iterator[AudioChunk]:
    """A WAV, FLAC or Ogg file, its channels averaged, 20 ms a chunk, stamped from start_ns on.

    Raises LogError where it cannot be read, ConfigError where the extra `voice` is not installed."""
    with voice_extra():
        import soundfile
    try:
        with soundfile.SoundFile(path) as file:
            rate = int(file.samplerate)
            blocks = file.blocks(round(CHUNK_S * rate), dtype="int16", always_2d=True)
            done = 0
            for seq, block in enumerate(blocks):
                pcm = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1).astype(np.int16)
                stamp_ns = start_ns + done * 1_000_000_000 // rate
                done += len(pcm)
                header = Header(sensor_id=sensor_id, frame_id=sensor_id, seq=seq, stamp_ns=stamp_ns)
                yield AudioChunk(header=header, rate=rate, pcm=np.ascontiguousarray(pcm))
    except (OSError, RuntimeError) as error:  # soundfile's errors are RuntimeErrors
        raise LogError(f"{path}: cannot be read as sound ({error}); expected WAV, FLAC or Ogg") from error
