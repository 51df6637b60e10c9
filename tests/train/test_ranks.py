"""Two processes that torchrun starts train one network."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fusion_rt.train.checkpoint import read_checkpoint
from fusion_rt.train.config import TrainConfig
from fusion_rt.train.loop import Trainer, train
from fusion_rt.train.losses import total_loss
from fusion_rt.train.ranks import Ranks, joined
from fusion_rt.train.samples import SceneBatches, Use

SCRIPT = """
import sys
from pathlib import Path
import torch
from fusion_rt.errors import FusionError
from fusion_rt.train.loop import TrainConfig, Trainer, train
from fusion_rt.train.ranks import joined
from fusion_rt.train.samples import SceneBatches, Use

frames, out = map(Path, sys.argv[1:])
def config(name, **budget):
    return TrainConfig(frames=frames, out=out / name, batch=1, workers=0, threads=1, log_steps=1, **budget)

with joined() as ranks:
    lines = []
    whole = train(config("whole", steps=3), say=lines.append)
    once = train(config("once", steps=1), say=lambda line: None)
    timed = train(config("timed", minutes=0.03), say=lambda line: None)

    passed = Trainer(config("none", steps=1)).model.eval()
    share = (ranks.rank, ranks.world)
    batch = next(iter(SceneBatches(frames, passed.preset, batch=1, seed=1, use=Use(), share=share)))
    heatmap, boxes, *_ = passed(batch)[0]
    (heatmap.square().mean() + boxes.square().mean()).backward()
    ranks.average_gradients(passed.parameters())

    trainer = Trainer(config("bad", steps=3), ranks)
    before = {n: v.clone() for n, v in trainer.model.named_parameters()}
    if ranks.rank == 1:
        batch.box[0, 0] = float("nan")
    try:
        trainer.step(batch)
        error = None
    except FusionError as caught:
        error = str(caught)
    untouched = all(torch.equal(v, before[n]) for n, v in trainer.model.named_parameters())

threads = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
torch.save(
    {
        "threads": threads,
        "model": whole.model.state_dict(),
        "average": whole.average.state_dict(),
        "lines": lines,
        "timed": timed.step_count,
        "grads": {n: p.grad for n, p in passed.named_parameters() if p.grad is not None},
        "error": error,
        "untouched": untouched,
    },
    out / f"rank{ranks.rank}.pt",
)
"""


def torchrun(*arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, env=quiet)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def config(scenes, out, **changes):
    given = {"frames": scenes, "out": out, "batch": 1, "steps": 3, "workers": 0, "threads": 1}
    return TrainConfig(**given | changes)


@pytest.fixture(scope="module")
def out(scenes, tmp_path_factory):
    """What two processes leave behind."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "script.py").write_text(SCRIPT)
    torchrun(folder / "script.py", scenes, folder)
    return folder


@pytest.fixture(scope="module")
def ranks(out):
    return [torch.load(out / f"rank{rank}.pt") for rank in (0, 1)]


def test_all_end_with_the_same_weights(ranks):
    first, second = ranks
    for part in ("model", "average"):
        for name, value in first[part].items():
            assert torch.equal(value, second[part][name]), name


def test_one_of_them_speaks(ranks):
    assert "done: 3 steps" in ranks[0]["lines"][-1]
    assert ranks[1]["lines"] == []


def test_all_stop_when_the_minutes_of_one_are_over(ranks):
    assert ranks[0]["timed"] == ranks[1]["timed"] > 0


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the names of threads are read from /proc")
def test_no_thread_of_the_group_outlives_it(ranks):
    """One that frees a tensor while the interpreter shuts down aborts the process, now and then."""
    for rank in ranks:
        assert rank["threads"]
        assert not [name for name in rank["threads"] if "gloo" in name]


def test_the_command_gives_the_same_bits_again(scenes, out, tmp_path):
    options = ("--steps", 3, "--batch", 1, "--threads", 1, "--workers", 0)
    command = ("--no-python", Path(sys.executable).parent / "fusion-rt", "train")
    done = torchrun(*command, "--frames", scenes, "--out", tmp_path, *options)
    assert done.stdout.count("done: 3 steps") == 1
    again, first = read_checkpoint(tmp_path / "last.pt"), read_checkpoint(out / "whole" / "last.pt")
    for part in ("model", "average"):
        for name, value in first[part].items():
            assert torch.equal(again[part][name], value), name


def test_an_update_follows_the_mean_of_the_gradients(scenes, out, tmp_path):
    together = read_checkpoint(out / "once" / "last.pt")
    sums = {}
    for rank in (0, 1):
        model = Trainer(config(scenes, tmp_path)).model.train()
        batch = next(iter(SceneBatches(scenes, model.preset, batch=1, seed=1, share=(rank, 2))))
        rng = np.random.default_rng([1, 1 << 20, rank])
        torch.manual_seed(int(rng.integers(1 << 31)))
        loss, _ = total_loss(*model(batch), model.net, batch, rng)
        loss.backward()
        for name, p in model.named_parameters():
            if p.grad is not None:
                sums[name] = sums.get(name, 0) + p.grad / 2
    norm = torch.stack([g.norm() for g in sums.values()]).norm()
    scale = min(1.0, 10.0 / float(norm))
    names = [name for name, _ in model.named_parameters()]
    first = together["optimiser"]["state"]
    assert {names[i] for i in first} == set(sums)
    for i, state in first.items():  # after one step a tenth of the gradient
        expected = 0.1 * scale * sums[names[i]]
        torch.testing.assert_close(state["exp_avg"], expected, atol=1e-6, rtol=1e-3)


def test_two_with_one_scene_have_the_gradient_of_one_with_two(scenes, ranks, tmp_path):
    """Where each sample is normalised alike: running statistics, and a loss that is a mean of samples."""
    model = Trainer(config(scenes, tmp_path)).model.eval()
    batch = next(iter(SceneBatches(scenes, model.preset, batch=2, seed=1, use=Use())))
    heatmap, boxes, *_ = model(batch)[0]
    (heatmap.square().mean() + boxes.square().mean()).backward()
    expected = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert set(ranks[0]["grads"]) == set(expected)
    for name, grad in expected.items():
        torch.testing.assert_close(ranks[0]["grads"][name], grad, atol=1e-5, rtol=1e-3)


def test_a_loss_that_is_not_finite_stops_all(ranks):
    assert "the loss became nan at step 0 (on rank 1)" in ranks[0]["error"]
    assert "the loss became nan at step 0 ({" in ranks[1]["error"]
    assert ranks[0]["untouched"]
    assert ranks[1]["untouched"]


def test_another_number_of_ranks_goes_on(scenes, out, tmp_path):
    """Two ranks drew six scenes in three steps; alone, the seventh comes next."""
    (tmp_path / "last.pt").write_bytes((out / "whole" / "last.pt").read_bytes())
    alone = train(config(scenes, tmp_path, steps=4), say=lambda line: None)
    assert (alone.step_count, alone.samples) == (4, 7)


def test_shares_and_workers_cut_the_same_order(scenes):
    preset = Trainer(config(scenes, scenes)).preset

    def drawn(count, **share):
        batches = iter(SceneBatches(scenes, preset, batch=1, seed=1, **share))
        return [next(batches).heatmap for _ in range(count)]

    whole, even, odd = drawn(4), drawn(2, share=(0, 2)), drawn(2, share=(1, 2))
    for expected, got in zip(whole, (even[0], odd[0], even[1], odd[1])):
        assert torch.equal(got, expected)
    loader = torch.utils.data.DataLoader(
        SceneBatches(scenes, preset, batch=1, seed=1), batch_size=None, num_workers=2
    )
    for expected, batch in zip(whole, loader):
        assert torch.equal(batch.heatmap, expected)


def test_without_torchrun_there_is_one(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined() as ranks:
        assert (ranks.world, ranks.leads, ranks.most(3)) == (1, True, 3)
    assert Ranks(1, 2).leads is False
