"""The A-weighted level."""

import numpy as np
import pytest

from fusion_rt.sound.level import a_weighting_db, level_dba

# IEC 61672-1, table 3: the weighting at nominal frequencies, dB.
TABLE = {
    31.5: -39.4,
    63: -26.2,
    125: -16.1,
    250: -8.6,
    500: -3.2,
    1000: 0.0,
    2000: 1.2,
    4000: 1.0,
    8000: -1.1,
}


def test_the_weighting_is_the_standards():
    hz = np.array([1000 * 10 ** (round(10 * np.log10(f / 1000)) / 10) for f in TABLE])  # exact ones
    np.testing.assert_allclose(a_weighting_db(hz), list(TABLE.values()), atol=0.06)


@pytest.mark.parametrize(("hz", "weight"), [(1000, 0.0), (125, -16.1), (4000, 1.0)])
def test_a_tone_has_its_level(hz, weight):
    t = np.arange(8000) / 16_000
    pcm = np.round(3276.7 * np.sin(2 * np.pi * hz * t)).astype(np.int16)
    assert level_dba(pcm, full_scale_db=120) == pytest.approx(100 + weight, abs=0.15)


def test_silence_has_none():
    assert level_dba(np.zeros(320, np.int16)) == 0.0
