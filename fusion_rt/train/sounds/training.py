"""The head of sound events: features of clips at three speeds, a linear discriminant, one small ONNX file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from fusion_rt.errors import ConfigError
from fusion_rt.models.head import MODEL, HeadSpec, describe
from fusion_rt.sound.effects import POOLED, Effects
from fusion_rt.sound.events import LEAST_P, features
from fusion_rt.sound.framing import RATE_HZ, resampler
from fusion_rt.sound.summary import SAMPLES
from fusion_rt.sound.summary import SIZE as SUMMARY
from fusion_rt.train.sounds.clips import Clip
from fusion_rt.train.sounds.discriminant import Array, Linear, fit, softmax
from fusion_rt.train.sounds.synthetic import SOUNDS, synthesise

SPEEDS = (1.0, 0.88, 1.14)  # other voices, other machines
SHRINKAGE, EFFECTS_COUNT = 0.5, 0.3  # on the plateau of folds 1 to 3
SYNTHETIC, HEARD_S = 15, (5.0, 1.0, 2.0)  # of a kind, and how much of it is heard, in turn
LICENCE = (
    "ESC-10 (Piczak 2015), CC BY 3.0, its clips CC0 or CC BY by the authors that its labels.csv names;"
    " speech of Picovoice's speech-to-intent-benchmark, Apache-2.0; the rest is synthesised."
    " The package sound-effects, at whose answers it looks, names whom it learned from."
)
Advance = Callable[[float, float], None]


class Featured(Struct, frozen=True, kw_only=True):
    """Clips as the head sees them.

    x       (N, S, F) float64: each clip at S speeds, the first as it is
    labels, folds  (N); fold 0: belongs to every training
    """

    x: Array
    labels: tuple[str, ...]
    folds: NDArray[np.int64]

    def part(self, chosen: NDArray[np.bool_]) -> Featured:
        """Those clips alone."""
        kept = tuple(label for label, take in zip(self.labels, chosen) if take)
        return Featured(x=self.x[chosen], labels=kept, folds=self.folds[chosen])


def joined(*parts: Featured) -> Featured:
    """All clips of all parts."""
    return Featured(
        x=np.concatenate([part.x for part in parts]),
        labels=tuple(label for part in parts for label in part.labels),
        folds=np.concatenate([part.folds for part in parts]),
    )


def featured(clips: Sequence[Clip], advance: Advance, *, speeds: Sequence[float] = SPEEDS) -> Featured:
    """Looks at every clip, at every speed."""
    looking = Effects()
    rows = []
    for done, clip in enumerate(clips):
        rows.append([np.concatenate(features(at_speed(clip.pcm, s), looking)) for s in speeds])
        advance(done + 1, len(clips))
    return Featured(
        x=np.array(rows, np.float64),
        labels=tuple(clip.label for clip in clips),
        folds=np.array([clip.fold for clip in clips]),
    )


def at_speed(pcm: NDArray[np.int16], speed: float) -> NDArray[np.int16]:
    """As if played so much faster and higher; of what becomes longer than five seconds, the first five."""
    if speed == 1.0:
        return pcm
    stream = resampler(round(RATE_HZ * speed))
    return np.asarray(stream.resample_chunk(pcm, last=True), np.int16)[:SAMPLES]


def synthetic_clips(seed: int) -> list[Clip]:
    """What there are no recordings of; in turn whole, and as much as is heard of it after one and two
    seconds."""
    rng = np.random.default_rng(seed)
    clips = []
    for kind in SOUNDS:
        for i in range(SYNTHETIC):
            pcm = synthesise(kind, rng)
            loud = np.abs(pcm.astype(np.int32))
            begin = int(np.argmax(loud > 0.1 * loud.max()))
            end = begin + round(HEARD_S[i % len(HEARD_S)] * RATE_HZ)
            clips.append(Clip(name=f"{kind}/{i}", label=kind, fold=0, pcm=pcm[begin:end]))
    return clips


def other_sounds(clips: Sequence[Clip], advance: Advance) -> Featured:
    """Looks at clips that belong to every training: as they are, in place of each speed."""
    data = featured(clips, advance, speeds=(1.0,))
    return Featured(x=np.repeat(data.x, len(SPEEDS), axis=1), labels=data.labels, folds=data.folds)


def learn(data: Featured) -> Linear:
    """The discriminant of these clips, each speed an example."""
    n, speeds, size = data.x.shape
    importance = np.r_[np.ones(SUMMARY), np.full(POOLED, EFFECTS_COUNT)]
    labels = [label for label in data.labels for _ in range(speeds)]
    x, real = data.x.reshape(n * speeds, size), np.repeat(data.folds > 0, speeds)
    return fit(x, labels, importance=importance, shrinkage=SHRINKAGE, real=real)


def held_out(data: Featured) -> tuple[Array, tuple[str, ...]]:
    """Logits (N, K) of each clip by a discriminant that did not see its fold, and the names of the columns;
    clips of fold 0 are in every training and their rows are zero. Raises ConfigError where there is one fold
    alone."""
    folds = sorted(set(data.folds.tolist()) - {0})
    if len(folds) < 2:
        raise ConfigError(f"{len(folds)} fold: two or more are needed to hold one out")
    names = tuple(sorted(set(data.labels)))
    logits = np.zeros((len(data.labels), len(names)))
    for fold in folds:
        linear = learn(data.part(data.folds != fold))
        if linear.labels != names:
            lost = sorted(set(names) - set(linear.labels))
            raise ConfigError(f"fold {fold} alone has {', '.join(lost)}: it cannot be held out")
        logits[data.folds == fold] = linear.logits(data.x[data.folds == fold][:, 0])
    return logits, names


def calibrated(linear: Linear, data: Featured) -> Linear:
    """With the temperature at which what it says of clips that it did not see is likeliest to be true (Guo et
    al., "On Calibration of Modern Neural Networks", ICML 2017)."""
    logits, names = held_out(data)
    real = data.folds > 0
    truth = np.array([names.index(label) for label in data.labels])[real]

    def loss(temperature: float) -> float:
        p = softmax(temperature * logits[real])[np.arange(len(truth)), truth]
        return float(-np.log(p + 1e-12).mean())

    return replace(linear, temperature=float(min(np.geomspace(0.01, 2.0, 60), key=loss)))


def command(folder: Path, data: Featured, seed: int, speech: Path | None = None) -> str:
    """What stands in head.yaml: how it was made, and of which folds."""
    folds = ", ".join(map(str, sorted(set(data.folds.tolist()) - {0})))
    others = f" --speech {speech.name}" if speech else ""
    return f"fusion-rt train sounds --data {folder.name}{others} --seed {seed}; folds {folds}"


def write(linear: Linear, folder: Path, *, version: str, trained_with: str) -> HeadSpec:
    """The package: two inputs, scaled, weighed, and a softmax."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    folder.mkdir(parents=True, exist_ok=True)
    weights = linear.temperature * linear.weights / linear.scale[:, None]
    bias = linear.temperature * linear.bias - linear.mean @ weights
    k = len(linear.labels)
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["summary", "a", "bias"], ["by_summary"]),
            helper.make_node("Gemm", ["effects", "b", "by_summary"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["events"], axis=1),
        ],
        "sound_events",
        [
            tensor("summary", TensorProto.FLOAT, [1, SUMMARY]),
            tensor("effects", TensorProto.FLOAT, [1, POOLED]),
        ],
        [tensor("events", TensorProto.FLOAT, [1, k])],
        [
            numpy_helper.from_array(weights[:SUMMARY].astype(np.float32), "a"),
            numpy_helper.from_array(weights[SUMMARY:].astype(np.float32), "b"),
            numpy_helper.from_array(bias.astype(np.float32), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, folder / MODEL)
    return describe(
        folder,
        name="sound-events",
        version=version,
        inputs={"summary": (1, SUMMARY), "effects": (1, POOLED)},
        outputs={"events": (1, k)},
        labels={"events": linear.labels},
        thresholds=dict.fromkeys(linear.labels, LEAST_P),
        trained_with=trained_with,
        licence=LICENCE,
    )
