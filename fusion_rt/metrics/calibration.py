"""Whether scores are probabilities."""

from __future__ import annotations

import numpy as np

from fusion_rt.transforms import Array

BINS = 10


def expected_calibration_error(scores: Array, hits: Array, bins: int = BINS) -> float | None:
    """Mean distance between the mean score and the share of hits in bins of equal width, weighted by what
    lies in them (Guo et al., On Calibration of Modern Neural Networks, 2017). scores (n,) 0..1, hits (n,)
    bool; None where there are none."""
    if len(scores) == 0:
        return None
    which = np.minimum((scores * bins).astype(int), bins - 1)
    summed = np.bincount(which, weights=scores - hits, minlength=bins)
    return float(np.abs(summed).sum() / len(scores))
