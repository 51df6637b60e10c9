"""No bad memory use in the tracker's C++, whatever the boxes."""

from pathlib import Path

import numpy as np
import pytest

import fusion_rt
from fusion_rt.errors import DeviceError
from fusion_rt.kernels import native
from fusion_rt.tracking import core
from fusion_rt.tracking.tracks import track_dtype


@pytest.fixture(scope="module")
def run_sanitized(sanitized):
    return sanitized(Path(fusion_rt.__file__).parent / "tracking" / "core.cpp")


def test_no_stream_makes_it_touch_memory_that_is_not_its_own(run_sanitized):
    done = run_sanitized(str(Path(__file__).with_name("streams.py")))
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout) > 1000


def test_the_sanitizer_sees_a_bad_access(run_sanitized):
    """Without the checks in Python: room for one track less than there are."""
    program = (
        "import ctypes, sys, numpy as np;"
        "from fusion_rt.tracking import core; from fusion_rt.tracking.config import TrackerConfig;"
        "settings = core.settings(TrackerConfig(), np.ones((3, 6)), 3);"
        "tracks = np.zeros(99 * 53);"
        "those = ctypes.addressof(settings), core.address(tracks), 100;"
        "core.load(sys.argv[1]).frt_tracks_predict(*those, 0, 0.1)"
    )
    done = run_sanitized("-c", program)
    assert done.returncode != 0
    assert "AddressSanitizer" in done.stderr


def test_a_row_is_as_long_as_the_structs_say():
    assert track_dtype(3, 3).itemsize == 53 * 8
    assert track_dtype(0, 0).itemsize == 47 * 8


def test_what_is_not_built_is_said(monkeypatch):
    core.library.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(native.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(
            DeviceError, match=r"tracking\._core was not built: pip install \. in the checkout"
        ):
            core.library()
    assert core.finite(np.ones((1, 22))).tolist() == [True]
