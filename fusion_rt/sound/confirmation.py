"""Letting somebody know that he was heard: a short tone. The command itself is the message on the bus."""

from __future__ import annotations

import sys
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from fusion_rt.errors import ConfigError
from fusion_rt.messages import Command
from fusion_rt.sound.framing import RATE_HZ
from fusion_rt.sound.needs import voice_extra

# Rising for "I listen", one tone higher for "understood", falling for "never mind".
_TONES_HZ = {"wake": (660.0, 880.0), "cancel": (660.0, 440.0)}
_UNDERSTOOD_HZ = (880.0, 880.0)
_TONE_S, _EDGE_S = 0.09, 0.01


class ConfirmationConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """tone    play a short tone on the default output, or on `device` (a number or a part of its name)
    level   of full scale
    """

    tone: bool = False
    device: str = ""
    level: Annotated[float, Meta(gt=0, le=1)] = 0.2


class Confirmation:
    """Raises ConfigError where tones are wanted and the extra `voice` or PortAudio is not installed."""

    def __init__(self, config: ConfirmationConfig) -> None:
        self._config = config
        if config.tone:
            with voice_extra():
                import sounddevice  # noqa: F401

    def confirm(self, command: Command) -> None:
        """Begins the tone and does not wait for its end; an output that is away is said, once a command."""
        if not self._config.tone:
            return
        import sounddevice

        name = self._config.device
        device: int | str | None = int(name) if name.isdecimal() else name or None
        try:
            sounddevice.play(tone(command.intent, level=self._config.level), RATE_HZ, device=device)
        except (sounddevice.PortAudioError, ValueError) as error:
            print(f"no tone for {command.intent}: {error}", file=sys.stderr, flush=True)


def tone(intent: str, *, level: float = 0.2) -> NDArray[np.int16]:
    """Two short tones for an intent: (N,) int16 at 16 kHz."""
    if not 0 < level <= 1:
        raise ConfigError(f"level {level:g} is not in 0..1")
    t = np.arange(round(_TONE_S * RATE_HZ)) / RATE_HZ
    edges = np.clip(np.minimum(t, _TONE_S - t) / _EDGE_S, 0, 1)
    pitches = _TONES_HZ.get(intent, _UNDERSTOOD_HZ)
    sound = np.concatenate([edges * np.sin(2 * np.pi * pitch * t) for pitch in pitches])
    return np.round(sound * level * 32767).astype(np.int16)
