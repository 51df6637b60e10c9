"""Simple methods beside the heads: logistic regression, random forest (scikit-learn), Home Assistant's naive
Bayes. They see the rows as recorded, one at a time, without a past."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fusion_rt.errors import ConfigError
from fusion_rt.evaluation.home_recordings.bayesian import BayesianSensor

SEED = 0
METHODS = ("logistic regression", "random forest", "Bayesian sensor")


def learn(method: str, x: Any, truth: Any) -> Callable[[Any], Any]:
    """x (N, F), NaN where there is no reading; truth (N,) whole numbers. Returns rows -> the class (N,).

    Raises ConfigError where scikit-learn is not installed."""
    classes = np.unique(truth)
    if len(classes) == 1:
        return lambda rows: np.full(len(rows), classes[0])
    if method == "Bayesian sensor":
        sensors = [BayesianSensor().fit(x, truth == c) for c in classes]
        if len(classes) == 2:
            return lambda rows: classes[(sensors[1].predict(rows) >= 0.5).astype(int)]
        return lambda rows: classes[np.stack([s.predict(rows) for s in sensors]).argmax(0)]
    try:
        from sklearn.ensemble import RandomForestClassifier
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise ConfigError(
            "the simple methods need scikit-learn: pip install 'fusion-rt[eval]', or leave them out by"
            " --no-baselines"
        ) from error
    centre = np.nan_to_num(np.nanmean(x, 0))
    spread = np.nanstd(x, 0)
    spread = np.where(np.isfinite(spread) & (spread > 1e-9), spread, 1.0)

    def scaled(rows: Any) -> Any:
        return np.where(np.isfinite(rows), (rows - centre) / spread, 0.0)

    if method == "logistic regression":
        model = LogisticRegression(C=0.1 if x.shape[1] > 50 else 1.0, max_iter=1000)
    else:
        model = RandomForestClassifier(150, min_samples_leaf=2, random_state=SEED)
    model.fit(scaled(x), truth)
    predict: Callable[[Any], Any] = lambda rows: model.predict(scaled(rows))  # noqa: E731
    return predict
