"""The network sound-effects: what it takes, and that it learns from a teacher."""

import zipfile
from itertools import pairwise

import numpy as np
import pytest
import torch

from fusion_rt.errors import ConfigError
from fusion_rt.models.head import Head
from fusion_rt.sound import effects
from fusion_rt.train.sounds import effects as training
from fusion_rt.train.sounds.textures import texture

RATE_HZ = 16_000


def tone(hz, seconds=2.5):
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A package of aisfx's layout with weights by chance: its own are not here."""
    torch.manual_seed(1)
    weights = {}
    for i, (inputs, outputs) in enumerate(pairwise(training.CHANNELS)):
        block, n = f"embedding_net.conv_block{i // 2 + 1}", i % 2 + 1
        weights[f"{block}.conv{n}.weight"] = torch.randn(outputs, inputs, 3, 3) / (3 * inputs**0.5)
        weights[f"{block}.bn{n}.weight"] = torch.rand(outputs) + 0.5
        weights[f"{block}.bn{n}.bias"] = 0.3 * torch.randn(outputs)
        weights[f"{block}.bn{n}.running_mean"] = 0.1 * torch.randn(outputs)
        weights[f"{block}.bn{n}.running_var"] = torch.rand(outputs) + 0.5
    folder = tmp_path_factory.mktemp("aisfx")
    torch.save((weights, {"a set": (np.int64(0), 78)}), folder / "checkpoint.pth")
    path = folder / "aisfx-0.1.2-py2.py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.write(folder / "checkpoint.pth", training.WEIGHTS)
    return path, weights


def test_a_tone_is_in_its_band_in_every_frame():
    """Bands are evenly spaced in mel up to 22,050 Hz, as aisfx's 96 are."""
    block = effects.blocks(tone(1000.0))[0]
    mel = 2595 * np.log10(1 + 1000 / 700)
    band = mel / (2595 * np.log10(1 + 22_050 / 700)) * 97 - 1
    assert set(block.argmax(axis=1)) <= {int(band), int(band) + 1}
    # Power of a sine of half the full scale in a Hann window of 2048 samples, in a triangle of sum one.
    assert 0.3 < block.max() < 1.0


@pytest.mark.parametrize(("seconds", "count"), [(0.01, 1), (0.5, 1), (2.3, 1), (3.6, 2), (5.0, 3)])
def test_blocks_follow_each_other_and_a_short_sound_ends_in_silence(seconds, count):
    found = effects.blocks(tone(500.0, seconds))
    assert found.shape == (count, effects.FRAMES, effects.BANDS)
    heard = round(seconds * RATE_HZ / effects.HOP)
    assert (found[0][heard + 1 :] == 0).all()
    assert np.isfinite(found).all()


def test_the_teacher_is_the_package_with_its_normalisations_folded(package):
    path, weights = package
    x = torch.rand(2, effects.FRAMES, effects.BANDS)
    y = x.unsqueeze(1)
    for i in range(8):
        block, n = f"embedding_net.conv_block{i // 2 + 1}", i % 2 + 1
        y = torch.conv2d(y, weights[f"{block}.conv{n}.weight"], padding=1)
        norm = [weights[f"{block}.bn{n}.{k}"] for k in ("running_mean", "running_var", "weight", "bias")]
        y = torch.relu(torch.nn.functional.batch_norm(y, *norm))
        y = torch.max_pool2d(y, 2) if i in (1, 3, 5) else y
    wanted = y.mean(dim=3).amax(dim=2)
    torch.testing.assert_close(training.Teacher(path)(x), wanted, rtol=1e-3, atol=1e-4)


def test_a_student_begins_near_its_teacher_and_comes_nearer(package, tmp_path):
    teacher = training.Teacher(package[0])
    rng = np.random.default_rng(3)
    sounds = [texture(rng, 3 * RATE_HZ) for _ in range(4)]
    errors = []
    settings = training.Settings(updates=40, batch=2, seed=5)
    student = training.learn(teacher, sounds, settings, show=lambda done, error: errors.append(error))
    assert sum(errors[-10:]) < 0.8 * sum(errors[:10])
    training.write(student, tmp_path / "package", version="1", trained_with="a test")
    head = Head.load(tmp_path / "package")
    block = effects.blocks(sounds[0])[0]
    head.inputs["spectrogram"][0] = block
    said = student(torch.from_numpy(block[None])).detach().numpy()[0]
    np.testing.assert_allclose(head.run()["embedding"][0], said, rtol=0.02, atol=0.02 * np.abs(said).max())


def test_what_is_not_the_package_is_told(tmp_path):
    with pytest.raises(
        ConfigError, match=r"nothing\.whl: not the package aisfx .*pip download --no-deps aisfx"
    ):
        training.Teacher(tmp_path / "nothing.whl")
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as wheel:
        wheel.writestr("other/__init__.py", "")
    with pytest.raises(ConfigError, match="not the package aisfx"):
        training.Teacher(tmp_path / "other.whl")
    (tmp_path / "aisfx/models").mkdir(parents=True)
    (tmp_path / "aisfx/models/checkpoint.pth").write_bytes(b"no weights")
    with pytest.raises(ConfigError, match="not the package aisfx"):
        training.Teacher(tmp_path)
