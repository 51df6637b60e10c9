import numpy as np
import pytest

from fusion_rt.evaluation.home_recordings.baselines import METHODS, learn
from fusion_rt.evaluation.home_recordings.bayesian import BayesianSensor


def test_the_bayesian_sensor_multiplies_what_it_learned():
    rng = np.random.default_rng(0)
    truth = rng.random(4000) < 0.3
    x = np.stack([np.where(truth, 10.0, 0.0) + rng.normal(0, 4, 4000), rng.normal(0, 1, 4000)], 1)
    sensor = BayesianSensor().fit(x, truth)
    assert sensor.prior == pytest.approx(truth.mean(), abs=0.001)
    assert 2 < sensor.limits[0] < 8
    (p_true, p_false), (other_true, other_false) = sensor.given
    above, unknown = sensor.predict(np.array([[9.0, np.nan], [np.nan, np.nan]]))
    prior = sensor.prior
    assert above == pytest.approx(p_true * prior / (p_true * prior + p_false * (1 - prior)))
    assert unknown == pytest.approx(prior)
    assert other_true == pytest.approx(other_false, abs=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_simple_methods_learn_and_live_with_missing_cells(method):
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, 600)
    x = np.stack([truth * 3.0 + rng.normal(0, 0.5, 600), -truth + rng.normal(0, 0.2, 600)], 1)
    x[rng.random(x.shape) < 0.05] = np.nan
    predict = learn(method, x[:400], truth[:400])
    assert (predict(x[400:]) == truth[400:]).mean() > 0.9
    assert learn(method, x, np.zeros(600, int))(x[:3]).tolist() == [0, 0, 0]
