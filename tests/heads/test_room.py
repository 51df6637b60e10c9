import numpy as np
import pytest
import torch

from fusion_rt.errors import ConfigError
from fusion_rt.header import Header
from fusion_rt.heads.room import RoomHead, feature_names, kinds_of
from fusion_rt.home_packets import HomeReading
from fusion_rt.train.datasets import uci_occupancy, uci_rooms
from fusion_rt.train.datasets.context_net import STATE, ContextNet, Ensemble
from fusion_rt.train.datasets.room_heads import OFFICE, ROOM, as_sequences
from fusion_rt.train.datasets.tables import HomeTable

START_NS = 1_700_000_000_000_000_000


def table(recipe, columns, rows=60, seed=0):
    """Readings that wander, some of them missing."""
    rng = np.random.default_rng(seed)
    levels = {"illuminance": 300.0, "co2": 600.0, "temperature": 21.0, "humidity": 40.0}
    values = np.array([levels.get(c.kind, 0.01) for c in columns]) * (
        1 + rng.normal(0, 0.05, (rows, len(columns)))
    )
    for s, column in enumerate(columns):
        if column.kind == "motion":
            values[:, s] = rng.random(rows) < 0.3
    steps = rng.choice((0.98, 1.0, 1.02), rows) / recipe.rate_hz
    values[rng.random(values.shape) < 0.1] = np.nan
    return HomeTable(
        name="made",
        columns=columns,
        stamp_ns=START_NS + (np.cumsum(steps) * 1e9).astype(np.int64),
        values=values,
        truth=np.zeros(rows, np.int64),
        notes={},
    )


def live(head, recording):
    for row in range(len(recording.truth)):
        for packet in recording.packets(row):
            head.push(packet)
        yield head.tick(int(recording.stamp_ns[row]))


def reading(kind="co2", value=500.0, stamp_ns=START_NS, entity="one", unit="ppm"):
    header = Header(sensor_id=entity, frame_id="", seq=0, stamp_ns=stamp_ns)
    return HomeReading(header=header, entity=entity, kind=kind, value=value, unit=unit)


@pytest.mark.parametrize(
    ("recipe", "columns"),
    [(OFFICE, uci_occupancy.COLUMNS), (ROOM, uci_rooms.COLUMNS)],
    ids=lambda x: getattr(x, "name", ""),
)
def test_live_is_as_trained(room, recipe, columns):
    """Where all sensors speak in every row, the stream is the whole sequence, step by step."""
    net, folder = room(recipe)
    recording = table(recipe, columns)
    recording.values[:] = np.where(
        np.isfinite(recording.values), recording.values, np.nanmean(recording.values, 0)
    )
    found = np.array([answer.probabilities for answer in live(RoomHead(folder), recording)])
    sequence = as_sequences([recording], recipe)[0]
    inputs = [torch.from_numpy(x)[None] for x in (sequence.values, sequence.present, sequence.age)]
    with torch.no_grad():
        expected = torch.stack([member(*inputs)[1].softmax(-1) for member in net.members]).mean(0)[0]
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_the_same_stream_gives_the_same_answers(room):
    _, folder = room(OFFICE)
    recording, head = table(OFFICE, uci_occupancy.COLUMNS), RoomHead(folder)
    first = list(live(head, recording))
    head.reset()
    assert list(live(head, recording)) == first


def test_any_sensor_may_be_missing(room):
    _, folder = room(ROOM)
    head = RoomHead(folder)
    nothing = head.tick(START_NS)
    assert set(nothing.missing) == set(ROOM.kinds)
    assert sum(nothing.probabilities) == pytest.approx(1, abs=1e-5)
    head.push(reading(stamp_ns=START_NS + 30_000_000_000))
    some = head.tick(START_NS + 30_000_000_000)
    assert "co2" not in some.missing
    assert some.age_s == {"co2": 0.0}
    # It said nothing more: after five steps it is missing again.
    later = head.tick(START_NS + 400_000_000_000)
    assert "co2" in later.missing


def test_the_network_steps_at_its_own_rate(room):
    _, folder = room(OFFICE)
    head = RoomHead(folder)
    head.push(reading())
    answers = [head.tick(START_NS + i * 200_000_000) for i in range(600)]  # 5 Hz for two minutes
    assert len({answer.stamp_ns for answer in answers}) == 3


def test_what_cannot_be_used_is_counted(room):
    _, folder = room(OFFICE)
    head = RoomHead(folder, sensors=frozenset({"one"}))
    for packet in (
        reading(),
        reading(entity="another"),
        reading(kind="power", unit="W"),
        reading(unit="%"),
        reading(stamp_ns=START_NS - 1),
        reading(value=float("nan"), stamp_ns=START_NS + 1),
    ):
        head.push(packet)
    assert head.dropped == {
        "sensor of another room": 1,
        "kind that the head does not know": 1,
        "wrong unit": 1,
        "older than another of its sensor": 1,
        "not available": 1,
    }
    assert "co2" in head.tick(START_NS).age_s


def test_a_head_of_other_features_is_refused():
    names = feature_names(ROOM.kinds)
    assert kinds_of(names) == ROOM.kinds
    with pytest.raises(ConfigError, match="trained with other features"):
        kinds_of(names[1:])


@torch.no_grad()
def test_networks_that_lean_on_a_modality_are_not_asked_without_it():
    torch.manual_seed(1)
    members = [ContextNet(OFFICE.sizes, 2) for _ in range(4)]
    net = Ensemble(members, lead=0).eval()
    values, age = torch.randn(1, sum(OFFICE.sizes)), torch.zeros(1, 5)
    state = torch.zeros(1, 4 * STATE)

    def each(present):
        return torch.stack([m.step(values, present, age, torch.zeros(1, STATE))[0] for m in members])

    light, dark = torch.ones(1, 5), torch.tensor([[0.0, 1, 1, 1, 1]])
    torch.testing.assert_close(net(values, light, age, state)[0], each(light).mean(0))
    torch.testing.assert_close(net(values, dark, age, state)[0], each(dark)[::2].mean(0))
