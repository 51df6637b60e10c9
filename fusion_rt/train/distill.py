"""What another network already knows, as soft targets beside the hard ones: its heatmap and its boxes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fusion_rt.errors import ConfigError
from fusion_rt.models.presets import Preset
from fusion_rt.train.checkpoint import load_average
from fusion_rt.train.geometry import head_cell_centres, positions
from fusion_rt.train.samples import Batch, Inputs, pillar_inputs

BOX = 8  # of the box channels those of the box itself: not its velocity, nor how sure the teacher is
SHARED = ("classes", "image_width", "image_height", "image_mean", "image_std", "focal_px", "camera_stride")


class Teacher:
    """The averaged weights of a checkpoint, of whatever preset; it looks at the same samples with the same
    sensors. Raises ConfigError where it is no checkpoint, or has other classes or images than the student."""

    def __init__(self, checkpoint: Path, student: Preset) -> None:
        self.model = load_average(checkpoint).requires_grad_(False)
        self.student, self.preset = student, self.model.preset
        for name in SHARED:
            theirs, ours = getattr(self.preset, name), getattr(student, name)
            if theirs != ours:
                raise ConfigError(f"{checkpoint}: its {name} is {theirs}, that of {student.name!r} {ours}")

    def losses(self, heatmap: Tensor, boxes: Tensor, batch: Batch) -> dict[str, Tensor]:
        """How far the student's heatmap (B, classes, ny, nx) and boxes (B, 15, ny, nx) are from what the
        teacher says: the divergence of the probabilities, and L1 on the box where the teacher sees one."""
        told, near, wanted, known = self._answer(batch)
        p = told.sigmoid()
        apart = F.binary_cross_entropy_with_logits(heatmap, p, reduction="none")
        apart = apart - F.binary_cross_entropy_with_logits(told, p, reduction="none")
        weight = near.sigmoid().amax(1) * known
        error = (boxes[:, :BOX] - wanted).abs().sum(1)
        return {
            "teacher_heatmap": (apart * known).sum() / (p * known).sum().clamp(min=1),
            "teacher_box": (error * weight).sum() / weight.sum().clamp(min=1),
        }

    @torch.no_grad()
    def _answer(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """At the student's cells: the strongest heatmap logit of the teacher's cells that lie there, that of
        the nearest one, that one's box, and whether (ny, nx) there is one."""
        t, s = self.preset, self.student
        past = tuple(replace(moment, inputs=self._inputs(moment.inputs)) for moment in batch.past)
        (logits, boxes, *_), _, _ = self.model(replace(batch, now=self._inputs(batch.now), past=past))
        centres, ours = (head_cell_centres(preset, logits.device) for preset in (t, s))
        cell, known = _cells(ours, t)
        near, box = logits.flatten(2)[..., cell], boxes.flatten(2)[:, :BOX, cell]
        offset = (centres[cell] - ours).T / s.head_cell_m + box[:, :2] * (t.head_cell_m / s.head_cell_m)
        home, inside = _cells(centres, s)
        theirs = logits.flatten(2)[..., inside]
        strongest = near.scatter_reduce(2, home[inside].expand_as(theirs), theirs, "amax")
        shape = s.head_ny, s.head_nx
        return (
            strongest.unflatten(2, shape),
            near.unflatten(2, shape),
            torch.cat([offset, box[:, 2:]], dim=1).unflatten(2, shape),
            known.reshape(shape),
        )

    def _inputs(self, inputs: Inputs) -> Inputs:
        """The same points in the teacher's cells."""
        t, s = self.preset, self.student
        same = all(getattr(t, n) == getattr(s, n) for n in ("x_min", "y_min", "cell_m", "nx", "ny"))
        if same and (t.z_min, t.z_max) == (s.z_min, s.z_max):
            return inputs
        sample, cell = np.divmod(inputs.cell[inputs.pillar].cpu().numpy(), s.nx * s.ny)
        features = inputs.features.cpu().numpy()
        xyz = positions(features, cell, s)[:, :3]
        samples = range(inputs.counts.shape[0])
        made = [pillar_inputs(xyz[sample == i], features[sample == i, 3], t) for i in samples]
        first = np.cumsum([0, *(len(m[2]) for m in made)])
        arrays = {
            "features": np.concatenate([m[0] for m in made]),
            "pillar": np.concatenate([m[1] + f for m, f in zip(made, first)]),
            "cell": np.concatenate([m[2] + i * t.nx * t.ny for i, m in enumerate(made)]),
            "counts": np.stack([m[3] for m in made]),
        }
        device = inputs.features.device
        return replace(inputs, **{name: torch.from_numpy(a).to(device) for name, a in arrays.items()})


def _cells(xy: Tensor, preset: Preset) -> tuple[Tensor, Tensor]:
    """Of places (n, 2) in metres, the flat cell of the head they lie in, and whether they lie in one."""
    ix = ((xy[:, 0] - preset.x_min) / preset.head_cell_m).floor().long()
    iy = ((xy[:, 1] - preset.y_min) / preset.head_cell_m).floor().long()
    inside = (ix >= 0) & (ix < preset.head_nx) & (iy >= 0) & (iy < preset.head_ny)
    return iy.clamp(0, preset.head_ny - 1) * preset.head_nx + ix.clamp(0, preset.head_nx - 1), inside
