"""The network in torch and in the package, its memory, its tapes, a step of training."""

import numpy as np
import pytest
import torch

from fusion_rt.errors import ConfigError
from fusion_rt.home.canvas import ROOMS
from fusion_rt.home.observation import Observation
from fusion_rt.home.raster import CHANNELS
from fusion_rt.home.room_features import COLUMNS, SLICES
from fusion_rt.models.head import Head
from fusion_rt.plan import Plan
from fusion_rt.sim.home.config import HomeSimConfig, Routine
from fusion_rt.sim.home.home import simulate
from fusion_rt.sim.home.recording import in_order
from fusion_rt.train.home.export import export
from fusion_rt.train.home.lanes import HABITS, Batch, Lane
from fusion_rt.train.home.loop import HomeTraining, Trainer, checkpoint, train
from fusion_rt.train.home.losses import losses
from fusion_rt.train.home.network import Deployed, HomeNet, Memory
from fusion_rt.train.home.plans import plan_of
from fusion_rt.train.home.tape import Tape, record

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tapes")
    config = HomeSimConfig(start="2026-03-02T07:00:00Z", hours=0.03, routine=Routine(people=2, pace=10))
    plan = plan_of(4, equipped=True)
    stream = (message for _, message in in_order(simulate(plan, config, 1)))
    record(plan, stream, folder / "4.npz")
    return folder


def random_inputs(net, seed=0):
    rng = np.random.default_rng(seed)
    shapes, _ = net.sizes.shapes()
    values = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    values["dt"][...] = 0.2
    values["room_map"] = (values["room_map"] > 1).astype(np.float32)
    values["ways"] = (values["ways"] > 1).astype(np.float32)
    return values


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_the_package_computes_what_torch_computes(tmp_path, runtime):
    torch.manual_seed(1)
    net = HomeNet()
    for module in net.modules():  # normalisations that do something
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    export(net, tmp_path, version="0", trained_with="nothing")
    head = Head.load(tmp_path, runtime=runtime)
    values = random_inputs(net)
    for name, value in values.items():
        head.inputs[name][...] = value
    found = head.run()
    with torch.no_grad():
        wanted = Deployed(net.eval())(*map(torch.from_numpy, values.values()))
    for (name, value), want in zip(found.items(), wanted):
        np.testing.assert_allclose(value, want.numpy(), atol=2e-4, err_msg=name)


def test_memory_of_two_half_steps_is_that_of_one():
    memory = Memory(4)
    state, candidate, rate = torch.zeros(1, 4), torch.ones(1, 4), torch.zeros(1, 4)
    once = memory(state, candidate, rate, torch.tensor([[2.0]]), 1)
    half = torch.tensor([[1.0]])
    twice = memory(memory(state, candidate, rate, half, 1), candidate, rate, half, 1)
    torch.testing.assert_close(once, twice)


def test_a_tape_holds_what_was_seen_and_what_was_true(tapes):
    tape = Tape(tapes / "4.npz")
    assert len(tape) == 541
    people = tape.people(400)
    assert len(people) == tape.counts[400].sum() > 0
    near = 0
    for tick in range(100, 541, 20):
        seen = tape.observation(tick)
        for point in seen.radar:
            near += np.hypot(*(tape.people(tick)[:, :2] - point[1:3]).T).min() < 1.0
    assert near > 20


def test_what_is_lost_is_gone_from_every_input(tapes):
    lane = Lane([tapes / "4.npz"], np.random.default_rng(0))
    lane._lost, lane._dead = {"radar", "motion", "air"}, set()
    for _ in range(20):
        lane._lost = {"radar", "motion", "air"}
        seen, _, _ = lane.next()
        lost = [slice_ for name, slice_ in SLICES.items() if name in lane._lost]
        assert len(seen.radar) == 0 or "radar" not in lane._lost
        assert all((seen.rooms[:, part] == 0).all() for part in lost)
        kinds = {lane.tape.observer.kinds[i] for i in seen.spatial}
        assert "radar" not in kinds or "radar" not in lane._lost


def test_a_batch_is_what_the_network_takes_and_some_steps_lower_the_loss(tapes):
    trainer = Trainer(HomeTraining(lanes=4, ticks=2))
    lanes = [Lane([tapes / "4.npz"], rng) for rng in np.random.default_rng(1).spawn(4)]
    batch = Batch(lanes)
    assert batch.inputs["rooms"].shape == (4, ROOMS, len(COLUMNS))
    assert (batch.heat.flatten(1).max(dim=1).values == (batch.people[:, :, 6] > 0).any(dim=1).float()).all()
    told = [sum(trainer.update(lanes).values()) for _ in range(12)]
    assert np.mean(told[-3:]) < 0.8 * np.mean(told[:2])


@pytest.mark.parametrize("axis", [0, 1])
def test_a_home_and_its_mirror_image(tapes, axis):
    batches = []
    for mirrored in (False, True):
        lane = Lane([tapes / "4.npz"], np.random.default_rng(3))
        lane.mirrored = (mirrored and axis == 0, mirrored and axis == 1)
        batches += [b for b in [Batch([lane]) for _ in range(30)] if (b.people[..., 6] > 0).any()][-1:]
    plain, other = batches
    new, along, away = (CHANNELS.index(name) for name in ("new", "dx" if axis == 0 else "dy", "z"))
    canvas, mirror = plain.inputs["canvas"][0], other.inputs["canvas"][0].flip(2 - axis)
    assert canvas[new].any()
    torch.testing.assert_close(canvas[[new, away]], mirror[[new, away]])
    torch.testing.assert_close(canvas[along], -mirror[along])
    torch.testing.assert_close(plain.heat, other.heat.flip(3 - axis))
    assert plain.inputs["rooms"].equal(other.inputs["rooms"])
    seen = other.people[0, other.people[0, :, 6] > 0]
    rows, columns = (torch.floor(seen[:, i] / 2).long() for i in (1, 0))
    assert (other.heat[0, 0, rows, columns] == 1).all()
    assert (seen[:, 2 + axis] == -plain.people[0, plain.people[0, :, 6] > 0][:, 2 + axis]).all()


def test_habits_move_only_what_is_known(tapes):
    lane = Lane([tapes / "4.npz"], np.random.default_rng(0))
    lane._lost, lane._dead = set(), set()
    true = lane.tape.observation(50).rooms
    moved = lane._thinned(lane.tape.observation(50)).rooms
    changed = np.flatnonzero((true != moved).any(axis=0))
    assert {COLUMNS[i] for i in changed} <= set(HABITS)
    assert len(changed) > 3
    silent = lane._thinned(Observation(*(np.zeros((0, 15), "f4"),) * 2, np.zeros_like(true), ()))
    assert not silent.rooms.any()


def test_a_person_where_nobody_looks_is_neither_right_nor_wrong(tapes):
    net = HomeNet().eval()
    lanes = [Lane([tapes / "4.npz"], np.random.default_rng(2))]
    batch = Batch(lanes)
    batch.people[...] = -1.0
    batch.people[0, 0] = torch.tensor([20.0, 20.0, 0, 0, 0, 0, 0])
    batch.heat[...], batch.ignore[...] = 0.0, 1.0
    s = net.sizes
    shape = batch.heat.shape[2:]
    with torch.no_grad():
        answer = net(
            **batch.inputs, cells=torch.zeros(1, s.cells, *shape), memory=torch.zeros(1, ROOMS, s.memory)
        )
        told = losses(answer, batch)
    assert told["heat"] == 0
    assert told["place"] == 0


def test_training_goes_on_where_it_was(tapes, tmp_path):
    settings = HomeTraining(minutes=0.02, lanes=2, ticks=1)
    train(tapes, tmp_path, settings)
    before = checkpoint(tmp_path / "last.pt")
    longer = HomeTraining(minutes=before["spent_s"] / 60 + 0.02, lanes=2, ticks=1)
    train(tapes, tmp_path, longer)
    after = checkpoint(tmp_path / "last.pt")
    assert after["step"] > before["step"] > 0
    assert after["spent_s"] >= 60 * longer.minutes


def test_training_begins_with_a_network_that_hears_less(tmp_path):
    old, path = Trainer(HomeTraining()), tmp_path / "last.pt"
    weight = old.average.update[0].weight
    old.average.update[0].weight = torch.nn.Parameter(weight[:, :-10].detach())
    del old.average.everywhere
    old.save(path)
    new = Trainer(HomeTraining(seed=2))
    new.begin(path)
    begun = new.net.update[0].weight
    torch.testing.assert_close(begun[:, :-10], weight[:, :-10])
    assert not begun[:, -10:].any()
    for ours, theirs in ((new.net, new.average), (new.net.again, old.average.again)):
        for value, wanted in zip(ours.state_dict().values(), theirs.state_dict().values()):
            torch.testing.assert_close(value, wanted)
    old.average.update[0].weight = torch.nn.Parameter(weight[:5].detach())
    old.save(path)
    with pytest.raises(ConfigError, match=r"update.0.weight has shape \(5, .*cannot begin with it"):
        new.begin(path)


def test_a_room_hears_of_the_others_in_its_home():
    """Whoever is found in the living room is not in the bathroom, which no door joins with it."""
    torch.manual_seed(3)
    net = HomeNet().eval()
    values = {name: torch.from_numpy(v) for name, v in random_inputs(net).items()}
    for joined in ("ways", "room_map"):
        values[joined].zero_()
    values["rooms"][:, :, SLICES["facts"].start] = 1.0
    changed = dict(values, rooms=values["rooms"].clone())
    changed["rooms"][0, 5, 0] += 3.0
    with torch.no_grad():
        before, after = net(**values), net(**changed)
    other = [r for r in range(ROOMS) if r != 5]
    assert (before.memory[0, other] != after.memory[0, other]).any(dim=1).all()


def test_plans_are_the_same_for_a_seed_and_equipped_ones_have_all():
    assert plan_of(9) == plan_of(9)
    assert plan_of(9) != plan_of(10)
    plan = plan_of(9, equipped=True)
    kinds = {room: {s.kind for s in plan.sensors.values() if s.room == room} for room in plan.rooms}
    assert all("motion" in found for found in kinds.values())
    assert {room for room, found in kinds.items() if "radar" not in found} == {
        room for room in plan.rooms if room.startswith("bath")
    }
    assert isinstance(plan, Plan)
