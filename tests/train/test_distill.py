"""A student learns what its teacher says, cell by cell."""

import numpy as np
import pytest
import torch

from fusion_rt.errors import ConfigError
from fusion_rt.models.presets import DRIVING_M, DRIVING_S
from fusion_rt.train.config import TrainConfig
from fusion_rt.train.distill import Teacher
from fusion_rt.train.loop import Trainer
from fusion_rt.train.losses import WEIGHTS, weighted
from fusion_rt.train.samples import SceneBatches, Use, collate, make_sample


def config(scenes, out, **changes):
    given = {"frames": scenes, "out": out, "steps": 40, "batch": 2, "workers": 0, "threads": 1}
    return TrainConfig(**given | changes)


@pytest.fixture(scope="module")
def checkpoints(scenes, tmp_path_factory, random_net_of):
    """Of networks that were not trained but find something."""
    folder = tmp_path_factory.mktemp("teachers")
    for preset in (DRIVING_S, DRIVING_M):
        trainer = Trainer(config(scenes, folder, preset=preset.name))
        trainer.average = random_net_of(preset)
        trainer.save(folder / f"{preset.name}.pt")
    return folder


@pytest.mark.parametrize("preset", [DRIVING_S, DRIVING_M], ids=lambda p: p.name)
def test_nothing_is_to_be_learned_from_oneself(checkpoints, scene, preset):
    teacher = Teacher(checkpoints / f"{preset.name}.pt", preset)
    batch = collate([make_sample(scene, Use(), preset, None)], preset)
    heatmap, boxes, *_ = teacher.model(batch)[0]
    losses = teacher.losses(heatmap, boxes, batch)
    assert {name: float(value) for name, value in losses.items()} == {"teacher_heatmap": 0, "teacher_box": 0}
    apart = teacher.losses(heatmap + 1, boxes + 1, batch)
    assert min(float(value) for value in apart.values()) > 0.01


@torch.no_grad()
def test_a_teacher_with_other_cells_sees_the_same_points(checkpoints, scene):
    teacher = Teacher(checkpoints / "driving-m.pt", DRIVING_S)
    given = collate([make_sample(scene, Use(), DRIVING_S, None)] * 2, DRIVING_S).now
    expected = collate([make_sample(scene, Use(), DRIVING_M, None)] * 2, DRIVING_M).now
    got = teacher._inputs(given)
    # All but those of the strip that the student's canvas lacks, and of cells at whose edge a point lies.
    counts, wanted = (x.counts[1, 2:-2].numpy() for x in (got, expected))
    assert np.mean(counts == wanted) > 0.999
    assert len(got.features) > 0.98 * len(expected.features)
    assert int(got.pillar.max()) == len(got.cell) - 1


def test_what_it_says_is_moved_to_the_cells_of_the_student(checkpoints, scene, monkeypatch):
    """One box of the teacher, at a place that both canvases know."""
    teacher, place = Teacher(checkpoints / "driving-m.pt", DRIVING_S), (20.3, 4.9)
    t = DRIVING_M
    u, v = (place[0] - t.x_min) / t.head_cell_m, (place[1] - t.y_min) / t.head_cell_m
    heatmap, boxes = torch.full((1, 3, t.head_ny, t.head_nx), -9.0), torch.zeros(1, 15, t.head_ny, t.head_nx)
    heatmap[0, 1, int(v), int(u)] = 4.0
    boxes[0, :3, int(v), int(u)] = torch.tensor([u - int(u) - 0.5, v - int(v) - 0.5, 0.8])
    monkeypatch.setattr(teacher.model, "forward", lambda batch: ((heatmap, boxes), None, None))
    batch = collate([make_sample(scene, Use(), DRIVING_S, None)], DRIVING_S)
    strongest, near, box, known = teacher._answer(batch)
    assert known.all()
    s = DRIVING_S
    ix, iy = int((place[0] - s.x_min) / s.head_cell_m), int((place[1] - s.y_min) / s.head_cell_m)
    assert (strongest[0] > 0).nonzero().tolist() == [[1, iy, ix]]
    for _, y, x in (near[0] > 0).nonzero().tolist():
        there = s.x_min + (x + 0.5 + box[0, 0, y, x]) * s.head_cell_m
        aside = s.y_min + (y + 0.5 + box[0, 1, y, x]) * s.head_cell_m
        assert (float(there), float(aside)) == pytest.approx(place, abs=1e-4)
        assert float(box[0, 2, y, x]) == pytest.approx(0.8)


def test_a_smaller_ground_is_all_that_a_teacher_knows(checkpoints, scene):
    teacher = Teacher(checkpoints / "driving-s.pt", DRIVING_M)
    batch = collate([make_sample(scene, Use(), DRIVING_M, None)], DRIVING_M)
    _, _, _, known = teacher._answer(batch)
    x = DRIVING_M.x_min + (np.arange(DRIVING_M.head_nx) + 0.5) * DRIVING_M.head_cell_m
    ahead = (x > 0) & (x < DRIVING_S.x_min + DRIVING_S.nx * DRIVING_S.cell_m)
    assert known[1:-1, ahead].all()
    assert not known[:, ~ahead].any()


@pytest.mark.parametrize("preset", ["driving-s", "driving-m"])
def test_the_student_comes_nearer(checkpoints, scenes, tmp_path, preset):
    trainer = Trainer(config(scenes, tmp_path, teacher=checkpoints / f"{preset}.pt"))
    batch = next(iter(SceneBatches(scenes, trainer.preset, batch=2, seed=1, use=Use())))
    told = trainer.step(batch)
    assert told["loss"] == pytest.approx(
        sum(WEIGHTS[k] * v for k, v in told.items() if k in WEIGHTS), rel=1e-4
    )
    student, teacher = trainer.model, trainer.teacher
    optimiser = torch.optim.Adam(student.parameters(), 5e-3)
    losses = []
    for _ in range(6):
        total, parts = weighted(teacher.losses(*student(batch)[0][:2], batch))
        losses.append(parts)
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
    for name in ("teacher_heatmap", "teacher_box"):
        assert losses[-1][name] < 0.95 * losses[0][name]
    assert all(p.grad is None for p in teacher.model.parameters())


def test_other_teachers_are_refused(checkpoints, scenes, tmp_path):
    with pytest.raises(ConfigError, match="part 'camera' learns nothing from a teacher"):
        config(scenes, tmp_path, part="camera", teacher=checkpoints / "driving-s.pt")
    with pytest.raises(ConfigError, match="not a checkpoint"):
        Trainer(config(scenes, tmp_path, teacher=tmp_path / "none.pt"))
