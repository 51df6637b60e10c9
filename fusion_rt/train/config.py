"""What a training is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fusion_rt.errors import ConfigError
from fusion_rt.models.presets import PRESETS

# What can be trained, and which tensors another training takes from it.
SECOND_LOOK = "net.points.", "net.refine."
PARTS = {"all": "", "camera": ("net.camera.", "image_head."), "points": SECOND_LOOK, "look": SECOND_LOOK}
DEVICES = "auto", "cpu", "cuda"


@dataclass(frozen=True)
class TrainConfig:
    """frames, out: folders. minutes or steps: the budget over which the learning rate goes up and
    down; exactly one is given. The time spent survives a resume.

    part   "all"; "camera": the image encoder by itself, on images alone; "points": the second look, on
           the points of jittered boxes alone; "look": the same on all that it is given, the rest held
    start  checkpoints whose averaged weights are begun with, or model packages by folder or name, one after
           the other, where names and shapes fit; of another width the channels that both have
    paste  share of the samples that objects of another scene are pasted into
    teacher  a checkpoint whose heatmap and boxes are learned from too, with part "all"
    int8   whether convolutions round as those of the INT8 files do: to end a training with
    unroll through so many frames before the present one gradients go; none teaches only what is remembered
    batch  scenes an update, on each rank where several train together
    device "cpu", "cuda" or "auto", a GPU where there is one; there it computes in bfloat16 where that does"""

    frames: Path
    out: Path
    preset: str = "driving-s"
    part: str = "all"
    start: tuple[Path, ...] = ()
    minutes: float | None = None
    steps: int | None = None
    paste: float = 0.0
    teacher: Path | None = None
    int8: bool = False
    unroll: int = 0
    batch: int = 4
    seed: int = 1
    learning_rate: float = 2.5e-3
    weight_decay: float = 0.01
    ema: float = 0.998
    clip: float = 10.0
    workers: int = 1
    threads: int = 2
    device: str = "auto"
    checkpoint_s: float = 180.0
    log_steps: int = 25

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.steps is None):
            raise ConfigError("training needs either `minutes` or `steps`, and not both")
        if self.preset not in PRESETS:
            raise ConfigError(f"preset {self.preset!r} is not one of {', '.join(PRESETS)}")
        if self.part not in PARTS:
            raise ConfigError(f"part {self.part!r} is not one of {', '.join(PARTS)}")
        if self.device not in DEVICES:
            raise ConfigError(f"device {self.device!r} is not one of {', '.join(DEVICES)}")
        if not 0 <= self.paste <= 1:
            raise ConfigError(f"paste {self.paste} is not a share of the samples, 0 to 1")
        if self.teacher is not None and self.part != "all":
            raise ConfigError(f"part {self.part!r} learns nothing from a teacher; leave `teacher` out")
