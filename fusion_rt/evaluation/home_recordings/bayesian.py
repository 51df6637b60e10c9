"""The naive Bayes of Home Assistant's Bayesian sensor: yes or no by a threshold for each entity, one
probability for either case, multiplied. Here both are learned, which its users do by hand.

https://www.home-assistant.io/integrations/bayesian/: an entity without a state counts for nothing; one that
does not fit its observation counts with what is left of both probabilities to one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

THRESHOLDS = 40


class BayesianSensor:
    """Rows (N, F), NaN where there is no state -> probability (N,)."""

    def fit(self, x: Any, truth: Any) -> BayesianSensor:
        """truth (N,) bool."""
        self.prior = (truth.sum() + 1) / (len(truth) + 2)
        self.limits, self.given = np.zeros(x.shape[1]), np.zeros((x.shape[1], 2))
        for f in range(x.shape[1]):
            known = np.isfinite(x[:, f])
            values, labels = x[known, f], truth[known]
            best = -1.0
            for limit in (
                np.unique(np.quantile(values, np.linspace(0.02, 0.98, THRESHOLDS))) if len(values) else [0.0]
            ):
                above = values > limit
                p = [
                    (above[labels == side].sum() + 1) / ((labels == side).sum() + 2) for side in (True, False)
                ]
                # The threshold that tells most: the largest distance of both probabilities.
                if abs(p[0] - p[1]) > best:
                    best, self.limits[f], self.given[f] = abs(p[0] - p[1]), limit, p
        return self

    def predict(self, x: Any) -> Any:
        odds = np.full(len(x), np.log(self.prior / (1 - self.prior)))
        for f in range(x.shape[1]):
            above = x[:, f] > self.limits[f]
            yes, no = (
                np.log(self.given[f, 0] / self.given[f, 1]),
                np.log((1 - self.given[f, 0]) / (1 - self.given[f, 1])),
            )
            odds += np.where(np.isfinite(x[:, f]), np.where(above, yes, no), 0.0)
        return 1 / (1 + np.exp(-odds))
