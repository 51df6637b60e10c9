import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fusion_rt.errors import DeviceError
from fusion_rt.kernels import native
from fusion_rt.kernels.span import Span
from fusion_rt.messages import SWEEP_S, sweep_span_s

SPANS = [Span(threads, build) for threads in (1, 3) for build in native.instruction_sets()]


@given(arrays(np.float32, st.integers(0, 100), elements=st.floats(width=32)))
def test_it_is_that_of_the_message(t):
    for span in SPANS:
        assert span(t, SWEEP_S) == sweep_span_s(t)


def test_a_sweep_with_some_wrong_times():
    t = np.random.default_rng(0).uniform(-0.05, 0.05, 100_000).astype(np.float32)
    expected = float(t.min()), float(t.max())
    wrong = t.copy()
    wrong[::1000] = np.tile(np.array([np.nan, np.inf, -np.inf, 9.0, -0.6], np.float32), 20)
    for span in SPANS:
        assert span(t, SWEEP_S) == expected
        assert span(wrong, SWEEP_S) == sweep_span_s(wrong)


def test_what_is_no_list_of_times():
    with pytest.raises(DeviceError, match=r"^t is float64 \(3,\), expected float32 \(N\)"):
        SPANS[0](np.zeros(3), SWEEP_S)
