"""Linear discriminant analysis (Fisher 1936; Hastie, Tibshirani, Friedman, "The Elements of Statistical
Learning", 4.3) with a shrunk covariance: more features than clips are no trouble for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Linear(Struct, frozen=True, kw_only=True):
    """logits = ((x - mean) / scale) @ weights + bias, times `temperature`; labels of its columns."""

    labels: tuple[str, ...]
    mean: Array
    scale: Array
    weights: Array
    bias: Array
    temperature: float = 1.0

    def logits(self, x: Array) -> Array:
        """(N, F) -> (N, K)."""
        z: Array = self.temperature * ((x - self.mean) / self.scale @ self.weights + self.bias)
        return z


def fit(
    x: Array,
    labels: Sequence[str],
    *,
    importance: Array,
    shrinkage: float,
    real: NDArray[np.bool_] | None = None,
) -> Linear:
    """x (N, F); importance (F,): how much each feature counts beside the others before the covariance is
    shrunk. shrinkage: the share of the identity in the covariance. real (N,): which clips tell how much clips
    of one kind differ; the others give their kinds' means alone: what was synthesised differs too little. All
    labels are taken to be equally frequent."""
    real = np.ones(len(x), bool) if real is None else real
    names = tuple(sorted(set(labels)))
    index = np.array([names.index(label) for label in labels])
    mean, scale = x[real].mean(axis=0), (x[real].std(axis=0) + 1e-6) / importance
    z = (x - mean) / scale
    means = np.stack([z[index == i].mean(axis=0) for i in range(len(names))])
    inner = (z - means[index])[real]
    covariance = inner.T @ inner / len(inner)
    average = np.trace(covariance) / len(covariance)
    shrunk = (1 - shrinkage) * covariance + (shrinkage * average + 1e-6) * np.eye(len(covariance))
    weights = np.linalg.solve(shrunk, means.T)
    bias = -0.5 * (means.T * weights).sum(axis=0)
    return Linear(labels=names, mean=mean, scale=scale, weights=weights, bias=bias)


def softmax(logits: Array) -> Array:
    """(N, K) -> (N, K), rows summing to one."""
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    p: Array = e / e.sum(axis=1, keepdims=True)
    return p
