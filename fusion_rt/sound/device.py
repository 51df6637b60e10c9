"""A sound card's input by PortAudio (package sounddevice)."""

from __future__ import annotations

import queue
import time
from types import TracebackType
from typing import Any

import numpy as np

from fusion_rt.errors import NodeError
from fusion_rt.messages import AudioChunk, Header
from fusion_rt.sound.framing import RATE_HZ
from fusion_rt.sound.needs import voice_extra

WAITING = 100  # chunks of 20 ms; older ones are dropped and counted


class Device:
    """Open while in its `with`. Raises NodeError where there is none of that name, or it is taken;
    ConfigError where the extra `voice` or PortAudio is not installed.

    overflows  chunks that were lost, in the card or here"""

    def __init__(self, name: str, sensor_id: str) -> None:
        """name: "" the default input, a number, or a part of a device's name."""
        with voice_extra():
            import sounddevice
        self._sensor_id = sensor_id
        self._chunks: queue.Queue[AudioChunk] = queue.Queue(WAITING)
        self._seq = self.overflows = 0
        device: int | str | None = int(name) if name.isdecimal() else name or None
        try:
            self._rate = self._suitable_rate(sounddevice, device)
            self._stream = sounddevice.InputStream(
                device=device,
                samplerate=self._rate,
                blocksize=self._rate // 50,
                channels=1,
                dtype="int16",
                callback=self._take,
            )
        except (sounddevice.PortAudioError, ValueError) as error:
            raise NodeError(f"input {name or 'device'}: {error}") from error

    def read(self, timeout_s: float) -> AudioChunk | None:
        """The next 20 ms; None: none came. Raises NodeError where the device has gone."""
        try:
            return self._chunks.get(timeout=timeout_s)
        except queue.Empty:
            if not self._stream.active:
                raise NodeError("the input has stopped; was it unplugged?") from None
            return None

    def _take(self, block: Any, frames: int, times: Any, status: Any) -> None:
        """Called by PortAudio's thread: a copy and no more."""
        self.overflows += bool(status.input_overflow)
        latency_s = max(0.0, times.currentTime - times.inputBufferAdcTime)
        stamp_ns = time.time_ns() - round(latency_s * 1e9)
        header = Header(sensor_id=self._sensor_id, frame_id=self._sensor_id, seq=self._seq, stamp_ns=stamp_ns)
        self._seq += 1
        try:
            self._chunks.put_nowait(
                AudioChunk(header=header, rate=self._rate, pcm=np.array(block[:, 0], np.int16))
            )
        except queue.Full:
            self.overflows += 1

    @staticmethod
    def _suitable_rate(sounddevice: Any, device: int | str | None) -> int:
        """16 kHz where the device can, else its own."""
        try:
            sounddevice.check_input_settings(device=device, samplerate=RATE_HZ, channels=1, dtype="int16")
        except sounddevice.PortAudioError:
            return int(sounddevice.query_devices(device, "input")["default_samplerate"])
        return RATE_HZ

    def __enter__(self) -> Device:
        self._stream.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
