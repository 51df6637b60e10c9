"""Modalities that the library does not know: registered, sent, trained, answered for."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec import Struct
from numpy.typing import NDArray

from fusion_rt import messages
from fusion_rt.context import ContextPipeline, Encoder, encoders, modality, register
from fusion_rt.errors import ConfigError, MessageError
from fusion_rt.header import F4, Header, expect
from fusion_rt.models.head import Head


class Smell(Struct, frozen=True, kw_only=True, tag="test.smell"):
    header: Header
    channels: NDArray[np.float32]

    def __post_init__(self):
        expect(self, "channels", F4, (None,))


class Weight(Struct, frozen=True, kw_only=True, tag="test.weight"):
    header: Header
    kg: float


class SmellEncoder(Encoder):
    name, packet, shape, max_age_s = "smell", Smell, (3,), 2.0

    def features(self, packet):
        if packet.channels.shape != (3,):
            raise MessageError("expected 3 channels")
        return packet.channels

    def module(self, width):
        from torch import nn

        return nn.Linear(3, width)


class WeightEncoder(SmellEncoder):
    name, packet, shape, max_age_s = "weight", Weight, (1,), 10.0

    def features(self, packet):
        return np.array([packet.kg / 100], np.float32)

    def module(self, width):
        from torch import nn

        return nn.Linear(1, width)


@pytest.fixture(autouse=True)
def _forgets(monkeypatch):
    """What a test registers is unknown to the next."""
    monkeypatch.setattr(messages, "_added", [])
    monkeypatch.setattr(modality, "_REGISTRY", {})


def smell(stamp_s, channels=(0.0, 0.0, 0.0)):
    header = Header(sensor_id="nose", frame_id="", seq=0, stamp_ns=round(stamp_s * 1e9))
    return Smell(header=header, channels=np.array(channels, np.float32))


def weight(stamp_s, kg=50.0):
    header = Header(sensor_id="scale", frame_id="", seq=0, stamp_ns=round(stamp_s * 1e9))
    return Weight(header=header, kg=kg)


def sent(message):
    header, arrays = messages.pack(message)
    return messages.unpack(header, [memoryview(a).cast("B") for a in arrays])


def test_a_packet_type_of_ones_own_goes_over_the_wire():
    with pytest.raises(MessageError, match=r"test.smell"):
        sent(smell(1))
    register(SmellEncoder())
    got = sent(smell(1, (1, 2, 3)))
    assert isinstance(got, Smell)
    np.testing.assert_array_equal(got.channels, [1, 2, 3])
    header, _ = messages.pack(smell(1))
    with pytest.raises(MessageError):
        messages.unpack(header, [bytes(8)])  # checked as those of the library are
    assert messages.kind(got) == "test.smell"


def test_what_cannot_be_registered():
    class Thawed(Struct, tag="test.thawed"):
        header: int

    class Thief(Struct, frozen=True, kw_only=True, tag="image"):
        header: Header

    for wrong, what in (
        (Thawed, "a frozen msgspec.Struct"),
        (dict, "a frozen"),
        (Thief, "Image has the tag 'image'"),
    ):
        with pytest.raises(MessageError, match=what):
            messages.register_packet(wrong)
    register(SmellEncoder())
    register(SmellEncoder())  # a module that is imported twice

    class Other(WeightEncoder):
        name = "smell"

    with pytest.raises(ConfigError, match="'smell': SmellEncoder has this name already"):
        register(Other())
    with pytest.raises(ConfigError, match="no modality 'taste': known are smell"):
        encoders("smell", "taste")


def test_installed_packages_declare_theirs(tmp_path, monkeypatch, capsys):
    """By entry points, found on the path as of any distribution; a broken one is said and left out."""
    info = tmp_path / "nose-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nose\nVersion: 1.0\n")
    lines = "[fusion_rt.modalities]\nnose = nose_modality:NoseEncoder\nbroken = nothing_there:Encoder\n"
    (info / "entry_points.txt").write_text(lines)
    (tmp_path / "nose_modality.py").write_text(
        "from msgspec import Struct\n"
        "from fusion_rt.context import Encoder\n"
        "from fusion_rt.header import Header\n"
        "class Sniff(Struct, frozen=True, kw_only=True, tag='nose.sniff'):\n"
        "    header: Header\n"
        "class NoseEncoder(Encoder):\n"
        "    name, packet, shape, max_age_s = 'nose', Sniff, (1,), 1.0\n"
        "    def features(self, packet): return None\n"
        "    def module(self, width): return None\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    messages._declared.cache_clear()
    import nose_modality

    header = Header(sensor_id="n", frame_id="", seq=0, stamp_ns=1)
    assert sent(nose_modality.Sniff(header=header)).header == header
    assert "modality 'broken' (nothing_there:Encoder) is left out" in capsys.readouterr().err
    (found,) = encoders("nose")
    assert isinstance(found, nose_modality.NoseEncoder)
    messages._declared.cache_clear()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Answers "heavy" by the weight, and "rotten" by the first channel of the smell."""
    torch = pytest.importorskip("torch")
    from fusion_rt.train.context import ContextNet, export, train

    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    known = (SmellEncoder(), WeightEncoder())
    net = ContextNet(known, {"heavy": ("no", "yes"), "rotten": ("no", "yes")}, width=16)
    smells, weights = rng.uniform(-1, 1, (500, 3)), rng.uniform(0, 1, (500, 1))
    features = {"smell": smells.astype(np.float32), "weight": weights.astype(np.float32)}
    answers = np.column_stack([weights[:, 0] > 0.5, smells[:, 0] > 0]).astype(np.int64)
    train(net, features, np.ones((500, 2), np.float32), answers, seconds=600, steps=200, seed=0)
    folder = tmp_path_factory.mktemp("head")
    export(net, folder, name="fruit", version="1", trained_with="a test", licence="none")
    return folder


@pytest.fixture
def head(trained):
    register(SmellEncoder())
    register(WeightEncoder())
    return Head.load(trained)


def test_answers_with_reasons(head):
    pipeline = ContextPipeline(head, encoders("smell", "weight"), trigger="smell")
    assert pipeline.push(smell(0)).why.missing == ("weight",)
    answer = pipeline.push(weight(1.0, kg=90))
    assert answer is None  # the trigger is fresh, and did not ask
    for kg, channel in ((90, 0.9), (10, 0.9), (90, -0.9), (10, -0.9)):
        pipeline = ContextPipeline(head, encoders("smell", "weight"), trigger="smell")
        pipeline.push(weight(1.0, kg=kg))
        answer = pipeline.push(smell(1.5, (channel, 0, 0)))
        assert answer.best("heavy") == ("yes" if kg == 90 else "no")
        assert answer.best("rotten") == ("yes" if channel > 0 else "no")
        assert sum(answer.probabilities["heavy"].values()) == pytest.approx(1)
        assert sum(answer.why.shares.values()) == pytest.approx(1, abs=1e-3)
        assert answer.why.ages_ms == {"weight": 500.0, "smell": 0.0}
        assert sent(answer) == answer


def test_a_modality_that_is_lost_and_one_that_is_damaged(head):
    pipeline = ContextPipeline(head, encoders("smell", "weight"), trigger="smell")
    pipeline.push(smell(1.0, (0.9, 0, 0)))
    answer = pipeline.push(weight(5.0, kg=90))  # the trigger is 4 s old: the others ask
    assert answer.why.missing == ("smell",)
    assert answer.why.shares["smell"] == 0
    assert answer.best("heavy") == "yes"
    assert 0.2 < answer.probabilities["rotten"]["yes"] < 0.8  # wider, not frozen
    assert pipeline.push(smell(6.0, (1, 2))) is None
    assert pipeline.push(weight(4.0)) is None
    assert pipeline.counts == {"smell.damaged": 1, "weight.late": 1}


def test_a_question_that_is_called_as_a_modality():
    pytest.importorskip("torch")
    from fusion_rt.train.context import ContextNet

    with pytest.raises(ConfigError, match="'smell': one name for two"):
        ContextNet((SmellEncoder(),), {"smell": ("good", "bad")})


def test_a_model_of_other_modalities(head):
    with pytest.raises(ConfigError, match=r"was made for .* train it again"):
        ContextPipeline(head, encoders("weight"), trigger="weight")
    with pytest.raises(ConfigError, match="trigger 'taste' is not one of smell, weight"):
        ContextPipeline(head, encoders("smell", "weight"), trigger="taste")
