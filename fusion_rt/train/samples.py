"""From scenes on disk to batches of tensors. The sample at an index depends on the seed, the index and
the files alone, so training resumes where it stopped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from fusion_rt.errors import LogError
from fusion_rt.images import feature_intrinsics, network_intrinsics
from fusion_rt.models.presets import Preset
from fusion_rt.sim.frame_files import Frame, Scene, read_scene
from fusion_rt.train.augment import (
    LidarChange,
    WorldChange,
    change_image,
    change_lidar,
    change_world,
    warped,
)
from fusion_rt.train.image_targets import ImageTargets, image_targets
from fusion_rt.train.paste import paste
from fusion_rt.train.targets import Targets, make_targets
from fusion_rt.transforms import Array

RELIST_EVERY = 64  # samples between looks for new files


@dataclass(frozen=True)
class Inputs:
    """The network's inputs for the same moment of several samples.

    features (N, 8) of the points, pillar (N,) the number of each point's pillar, cell (pillars,) where
    that lies in the flattened (B, ny, nx), counts (B, ny, nx) log1p(count) / 5; image (B', 3, h, w)
    and P (B', 3, 4) of the samples that have a camera, image_index (B',); context (B, 16).
    """

    features: Tensor
    pillar: Tensor
    cell: Tensor
    counts: Tensor
    image: Tensor
    P: Tensor
    image_index: Tensor
    context: Tensor


@dataclass(frozen=True)
class Past:
    """A moment before the present one, of the samples `index` (B',) that remember it: T_this_next (B', 2, 3)
    warps the state that it leaves into the next moment."""

    inputs: Inputs
    index: Tensor
    T_this_next: Tensor


Placed = TypeVar("Placed")


def placed(value: Placed, device: torch.device) -> Placed:
    """With all its tensors on a device; arrays stay where they are."""
    if isinstance(value, Tensor):
        return value.to(device)  # type: ignore[return-value]
    if isinstance(value, tuple):
        return tuple(placed(v, device) for v in value)  # type: ignore[return-value]
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: placed(getattr(value, f.name), device) for f in fields(value)})
    return value


@dataclass(frozen=True)
class Batch:
    """now: everything; past: what samples remember, oldest first. Targets are of the present moment, stacked;
    cell and gt carry the sample's number."""

    now: Inputs
    past: tuple[Past, ...]
    heatmap: Tensor
    weight: Tensor
    cell: Tensor
    box: Tensor
    box_weight: Tensor
    has_memory: Tensor
    gt: list[tuple[Array, Array]]
    image_heatmap: Tensor
    image_log_depth: Tensor
    image_kind: Tensor

    def nobody(self) -> Past:
        """A moment that no sample remembers."""
        nothing = Inputs(*(getattr(self.now, f.name)[:0] for f in fields(Inputs)))
        return Past(nothing, self.now.image_index[:0], self.now.P[:0, :2, :3])


@dataclass(frozen=True)
class Use:
    """Which modalities a sample may use."""

    lidar: bool = True
    camera: bool = True
    memory: bool = True
    ego: bool = True

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Use:
        """Camera dropped in 25 %, lidar in 15 % (then with camera), memory in 50 % of the samples."""
        u = rng.random(3)
        lidar = bool(u[0] >= 0.15)
        camera = bool(u[0] < 0.15 or u[0] >= 0.4)
        return cls(lidar=lidar, camera=camera, memory=bool(u[1] < 0.5), ego=bool(u[2] < 0.6))

    def along(self, moments: int, rng: np.random.Generator) -> tuple[Use, ...]:
        """The use at each moment of a sequence, oldest first: in 30 % of those of three and more that have
        both sensors, one of them is lost for a while, perhaps up to now."""
        if moments < 3 or not (self.lidar and self.camera) or rng.random() >= 0.3:
            return (self,) * moments
        lost = replace(self, lidar=False) if rng.random() < 0.5 else replace(self, camera=False)
        begin = int(rng.integers(1, moments))
        end = int(rng.integers(begin, moments)) + 1
        return tuple(lost if begin <= i < end else self for i in range(moments))


def pillar_inputs(points: Array, intensity: Array, preset: Preset) -> tuple[Array, Array, Array, Array]:
    """Per-point features (n, 8) float32, pillar (n,) int64, the cell of each pillar int64 and
    log1p(count) / 5 (ny, nx) float32."""
    p = preset
    u, v = (points[:, 0] - p.x_min) / p.cell_m, (points[:, 1] - p.y_min) / p.cell_m
    inside = (
        (u >= 0) & (u < p.nx) & (v >= 0) & (v < p.ny) & (points[:, 2] >= p.z_min) & (points[:, 2] < p.z_max)
    )
    points, u, v = points[inside], u[inside], v[inside]
    ix, iy = u.astype(np.int64), v.astype(np.int64)
    cell = iy * p.nx + ix
    size = p.nx * p.ny
    count = np.bincount(cell, minlength=size)
    n = np.maximum(count, 1)
    mean = np.stack([(np.bincount(cell, points[:, i], size) / n)[cell] for i in range(3)], axis=1)
    density = (np.log1p(count) / 5).astype(np.float32)
    features = np.empty((len(points), 8), np.float32)
    features[:, 0] = u - ix - 0.5
    features[:, 1] = v - iy - 0.5
    features[:, 2] = points[:, 2]
    features[:, 3] = intensity[inside]
    features[:, 4:7] = points - mean
    features[:, 7] = density[cell]
    occupied = np.flatnonzero(count)
    number = np.zeros(size, np.int64)
    number[occupied] = np.arange(len(occupied))
    return features, number[cell], occupied, density.reshape(p.ny, p.nx)


def context_vector(scene: Scene, use: Use, *, flip: bool, state: bool) -> Array:
    """(16,) float32; see the model package for its slots."""
    speed, yaw_rate, accel = scene.motion if use.ego else (0.0, 0.0, 0.0)
    out = np.zeros(16, np.float32)
    out[:8] = [
        speed / 20,
        -yaw_rate if flip else yaw_rate,
        accel / 5,
        use.ego,
        use.lidar,
        use.camera,
        state,
        0.5 if state else 0.0,  # 0.1 s over 0.2 s
    ]
    return out


@dataclass(frozen=True)
class _Moment:
    pillars: tuple[Array, Array, Array, Array]
    image: Array | None
    P: Array
    context: Array


@dataclass(frozen=True)
class Sample:
    """past: what is remembered, oldest first, each with T_this_next (2, 3) as `Past` has it."""

    now: _Moment
    past: tuple[tuple[_Moment, Array], ...]
    targets: Targets
    image_targets: ImageTargets | None  # none without a camera


def _moment(frame: Frame, context: Array, use: Use, preset: Preset) -> _Moment:
    p = preset
    n = len(frame.points) if use.lidar else 0
    pillars = pillar_inputs(frame.points[:n], frame.intensity[:n], p)
    image = None
    if use.camera:
        normalised = (frame.image - np.array(p.image_mean, np.float32)) / np.array(p.image_std, np.float32)
        image = np.ascontiguousarray(normalised.transpose(2, 0, 1))
    return _Moment(pillars, image, feature_projection(frame.K, frame.T_camera_ego, p), context)


def fitted(frame: Frame, preset: Preset) -> Frame:
    """The frame with its image at the network's size, rows cut off as the runtime does it or black."""
    (height, width), into = frame.image.shape[:2], (preset.image_width, preset.image_height)
    if (width, height) == into:
        return frame
    K = network_intrinsics(frame.K, (width, height), into)
    return replace(frame, image=warped(frame.image, K @ np.linalg.inv(frame.K), *into), K=K)


def feature_projection(K: Array, T_camera_ego: Array, preset: Preset) -> Array:
    """(3, 4) float64: ego metres to feature pixels of an image at the network's size."""
    P: Array = feature_intrinsics(K, preset.camera_stride, preset.focal_px) @ T_camera_ego[:3]
    return P


def make_sample(
    scene: Scene,
    use: Use,
    preset: Preset,
    rng: np.random.Generator | None,
    *,
    along: Sequence[Use] | None = None,
) -> Sample:
    """One sample, changed at random when `rng` is given.

    along: the use at each moment of the scene, oldest first; None: `use` at all of them."""
    past = tuple((fitted(frame, preset), T) for frame, T in scene.past) if use.memory else ()
    *before, use = (use,) * (len(past) + 1) if along is None else along[-len(past) - 1 :]
    now = fitted(scene.now, preset)
    flip = False
    if rng is not None:
        world, lidar = WorldChange.draw(rng), LidarChange.draw(rng)
        flip = world.flip
        A = world.matrix
        now = change_lidar(change_world(now, world), lidar, rng)
        if use.camera:
            now = change_image(now, rng)
        newest_first = [
            (change_lidar(change_world(frame, world), lidar, rng), A @ T_next_this @ np.linalg.inv(A))
            for frame, T_next_this in reversed(past)
        ]
        past = tuple(reversed(newest_first))
    moments = []
    for i, ((frame, T_next_this), then) in enumerate(zip(past, before)):
        context = context_vector(scene, then, flip=flip, state=i > 0)
        T_this_next = np.linalg.inv(T_next_this)[:2][:, [0, 1, 3]].astype(np.float32)
        moments.append((_moment(frame, context, then, preset), T_this_next))
    moment_now = _moment(now, context_vector(scene, use, flip=flip, state=bool(past)), use, preset)
    seen = make_targets(
        now.boxes, now.cls, now.npoints, now.visible, lidar=use.lidar, camera=use.camera, preset=preset
    )
    return Sample(
        moment_now, tuple(moments), seen, image_targets(now, moment_now.P, preset) if use.camera else None
    )


def collate(samples: list[Sample], preset: Preset) -> Batch:
    """Stack samples; points are concatenated with their cells moved into the batch's canvas."""
    cells = preset.head_nx * preset.head_ny
    taught = [s.image_targets for s in samples if s.image_targets is not None]
    h, w = preset.image_height // preset.camera_stride, preset.image_width // preset.camera_stride
    has_memory = np.concatenate([np.full(len(s.targets.cell), bool(s.past), np.float32) for s in samples])
    oldest = max(len(s.past) for s in samples)
    return Batch(
        now=_stack([s.now for s in samples], preset),
        past=tuple(_past(samples, age, preset) for age in range(oldest, 0, -1)),
        heatmap=torch.from_numpy(np.stack([s.targets.heatmap for s in samples])),
        weight=torch.from_numpy(np.stack([s.targets.weight for s in samples])),
        cell=torch.from_numpy(np.concatenate([s.targets.cell + i * cells for i, s in enumerate(samples)])),
        box=torch.from_numpy(np.concatenate([s.targets.box for s in samples])),
        box_weight=torch.from_numpy(np.concatenate([s.targets.box_weight for s in samples])),
        has_memory=torch.from_numpy(has_memory),
        gt=[(s.targets.boxes, s.targets.cls) for s in samples],
        image_heatmap=_stacked([t.heatmap for t in taught], (len(preset.classes), h, w), np.float32),
        image_log_depth=_stacked([t.log_depth for t in taught], (h, w), np.float32),
        image_kind=_stacked([t.kind for t in taught], (h, w), np.int64),
    )


def _past(samples: list[Sample], age: int, preset: Preset) -> Past:
    """The moment that lies so many before the present one, of the samples that remember it."""
    index = [i for i, s in enumerate(samples) if len(s.past) >= age]
    moments, T = zip(*(samples[i].past[-age] for i in index))
    return Past(
        inputs=_stack(list(moments), preset),
        index=torch.tensor(index, dtype=torch.int64),
        T_this_next=torch.from_numpy(np.stack(T)),
    )


def _stacked(arrays: list[Array], shape: tuple[int, ...], dtype: type) -> Tensor:
    """(n, *shape), also where there is none."""
    return torch.from_numpy(np.stack(arrays) if arrays else np.zeros((0, *shape), dtype))


def _stack(moments: list[_Moment], preset: Preset) -> Inputs:
    cells = preset.nx * preset.ny
    index = [i for i, m in enumerate(moments) if m.image is not None]
    shape = (0, 3, preset.image_height, preset.image_width)
    images = [m.image for m in moments if m.image is not None]
    image = torch.from_numpy(np.stack(images) if images else np.zeros(shape, np.float32))
    P = np.stack([moments[i].P for i in index]) if index else np.zeros((0, 3, 4))
    first = np.cumsum([0, *(len(m.pillars[2]) for m in moments)])
    return Inputs(
        features=torch.from_numpy(np.concatenate([m.pillars[0] for m in moments])),
        pillar=torch.from_numpy(np.concatenate([m.pillars[1] + f for m, f in zip(moments, first)])),
        cell=torch.from_numpy(np.concatenate([m.pillars[2] + i * cells for i, m in enumerate(moments)])),
        counts=torch.from_numpy(np.stack([m.pillars[3] for m in moments])),
        image=image.contiguous(memory_format=torch.channels_last),
        P=torch.from_numpy(P.astype(np.float32)),
        image_index=torch.tensor(index, dtype=torch.int64),
        context=torch.from_numpy(np.stack([m.context for m in moments])),
    )


class SceneBatches(IterableDataset[Batch]):
    """Endless batches from a folder that may still be growing.

    first  index of the first sample
    use    of every sample; None: drawn for each
    share  this rank of so many: they take the batches by turns, and so do the workers of a DataLoader
    paste  in this share of the samples, objects of another scene are pasted"""

    def __init__(
        self,
        folder: Path,
        preset: Preset,
        *,
        batch: int,
        seed: int,
        first: int = 0,
        use: Use | None = None,
        share: tuple[int, int] = (0, 1),
        paste: float = 0.0,
    ) -> None:
        super().__init__()
        self.folder, self.preset, self.batch, self.seed, self.first = folder, preset, batch, seed, first
        self.use, self.share, self.paste = use, share, paste

    def __iter__(self) -> Iterator[Batch]:
        (rank, ranks), worker = self.share, get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        index = self.first + (number * ranks + rank) * self.batch
        files = list_scenes(self.folder)
        drawn = 0
        while True:
            if drawn // RELIST_EVERY != (drawn + self.batch) // RELIST_EVERY:
                files = list_scenes(self.folder)
            samples = [self._sample(files, index + i) for i in range(self.batch)]
            index += self.batch * ranks * workers
            drawn += self.batch
            yield collate(samples, self.preset)

    def _sample(self, files: list[Path], index: int) -> Sample:
        rng = np.random.default_rng([self.seed, index])
        error: LogError | None = None
        for _ in range(8):  # a file still being written is passed over
            try:
                scene = read_scene(files[int(rng.integers(len(files)))])
                use = self.use or Use.draw(rng)
                if self.paste and rng.random() < self.paste:
                    donor = read_scene(files[int(rng.integers(len(files)))])
                    scene = paste(scene, donor, rng, camera=use.camera)
            except LogError as caught:
                error = caught
                continue
            return make_sample(scene, use, self.preset, rng, along=use.along(1 + len(scene.past), rng))
        assert error is not None
        raise error


def list_scenes(folder: Path) -> list[Path]:
    """The scenes of a folder in name order. Raises LogError when there is none."""
    files = sorted(p for p in folder.glob("*.npz") if not p.name.startswith("."))
    if not files:
        raise LogError(f"{folder}: no .npz scenes; make some with `fusion-rt sim frames --out {folder}`")
    return files
