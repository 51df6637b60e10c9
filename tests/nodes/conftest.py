import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusion_rt.bus import Bus, BusConfig


@pytest.fixture
def bus() -> Iterator[Bus]:
    folder = Path(tempfile.mkdtemp(prefix="frt-"))
    with Bus(BusConfig(run_dir=str(folder / "run"))) as opened:
        yield opened
    assert list(folder.iterdir()) == []
    shutil.rmtree(folder)
