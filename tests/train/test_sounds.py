"""The head of sound events: from clips to a package."""

import csv

import numpy as np
import pytest
import soundfile
from scipy.stats import multivariate_normal

from fusion_rt.errors import LogError
from fusion_rt.evaluation import sounds
from fusion_rt.models.head import Head
from fusion_rt.train.sounds import training
from fusion_rt.train.sounds.clips import read_clips
from fusion_rt.train.sounds.discriminant import fit, softmax
from fusion_rt.train.sounds.synthetic import SOUNDS, synthesise


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two kinds of sounds in two folds, in the layout of ESC-10."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    with (folder / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("file", "label", "fold"))
        for fold in (4, 5):
            for kind in ("knock", "smoke_alarm"):
                for i in range(1):
                    name = f"{kind}_{fold}_{i}.wav"
                    soundfile.write(folder / name, synthesise(kind, rng)[:48_000], 16_000)
                    rows.writerow((name, kind, fold))
    return folder


def test_the_discriminant_is_that_of_gaussians():
    """The probabilities are Bayes' rule for normal classes of one covariance."""
    rng = np.random.default_rng(1)
    labels = ["a", "b", "c"] * 200
    x = rng.normal(size=(600, 3)) + 1.5 * np.array([["abc".index(v)] * 3 for v in labels])
    linear = fit(x, labels, importance=np.ones(3), shrinkage=0.0)
    p = softmax(linear.logits(x))
    means = [x[i::3].mean(axis=0) for i in range(3)]
    inner = np.concatenate([x[i::3] - means[i] for i in range(3)])
    density = np.stack([multivariate_normal.pdf(x, m, inner.T @ inner / 600) for m in means], axis=1)
    np.testing.assert_allclose(p, density / density.sum(axis=1, keepdims=True), atol=1e-6)


def test_a_package_says_what_the_discriminant_says(folder, tmp_path):
    data = training.featured(read_clips(folder), lambda *_: None, speeds=(1.0,))
    linear = training.calibrated(training.learn(data), data)
    made_by = training.command(folder, data, 1)
    training.write(linear, tmp_path / "head", version="1", trained_with=made_by)
    head = Head.load(tmp_path / "head")
    assert sounds.trained_folds(head.spec.trained_with) == (4, 5)
    x = data.x[0, 0]
    head.inputs["summary"][0], head.inputs["effects"][0] = x[: training.SUMMARY], x[training.SUMMARY :]
    np.testing.assert_allclose(head.run()["events"], softmax(linear.logits(x[None])), atol=1e-3)


def test_any_folds_are_judged(folder):
    """Also by the bundled head, which knows none of them."""
    report = sounds.judge(folder, advance=lambda *_: None)
    bundled = report.rows[-1]
    assert (bundled.clips, bundled.knew, set(bundled.by_fold)) == (4, (), {4, 5})
    assert bundled.accuracy == 1.0
    assert [row.what for row in report.rows[:2]] == [sounds.BASELINE, sounds.HELD_OUT]
    assert sounds.render(report).row_count == 3


def test_what_is_no_such_folder_is_told(tmp_path):
    with pytest.raises(LogError, match=r"labels\.csv: missing; expected a folder in ESC-10's layout"):
        read_clips(tmp_path)
    (tmp_path / "labels.csv").write_text("file,label,fold\nx.wav,a,one\n")
    with pytest.raises(LogError, match="line 2: fold 'one' is no number"):
        read_clips(tmp_path)
    (tmp_path / "labels.csv").write_text("file,label,fold\nx.wav,a,1\n")
    with pytest.raises(LogError, match="cannot be read as sound"):
        read_clips(tmp_path)


@pytest.mark.parametrize("kind", SOUNDS)
def test_sounds_are_made_anew_and_the_same_by_seed(kind):
    first, again, other = (synthesise(kind, np.random.default_rng(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert 1_000 < np.abs(first.astype(int)).max() <= 32_767


def test_a_smoke_alarm_is_temporal_three():
    """Half a second on and off three times, then 1.5 s of silence, at about 3,100 Hz."""
    from fusion_rt.train.sounds.synthetic import smoke_alarm

    on = np.abs(smoke_alarm(np.random.default_rng(4))).reshape(-1, 160).max(axis=1) > 0.1
    edges = np.flatnonzero(np.diff(on.astype(int)))
    lengths = np.diff(edges) / 100
    assert set(np.round(lengths, 1)) <= {0.5, 1.5}
    assert 0.5 in np.round(lengths, 1)
