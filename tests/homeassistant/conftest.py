from pathlib import Path

import pytest

from fusion_rt.homeassistant import Topics
from fusion_rt.plan import Plan


@pytest.fixture(scope="session")
def plan():
    return Plan.load(Path(__file__).parents[2] / "configs" / "home" / "flat.yaml")


@pytest.fixture(scope="session")
def topics(plan):
    return Topics.of(plan)


@pytest.fixture(scope="session")
def make(make_scene):
    return make_scene
