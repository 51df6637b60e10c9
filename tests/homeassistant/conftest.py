import importlib.util
from pathlib import Path

import pytest

from fusion_rt.homeassistant import Topics
from fusion_rt.plan import Plan

CONFIGS = Path(__file__).parents[2] / "configs" / "home"


@pytest.fixture(scope="session")
def plan():
    return Plan.load(CONFIGS / "flat.yaml")


@pytest.fixture(scope="session")
def topics(plan):
    return Topics.of(plan)


@pytest.fixture(scope="session")
def make():
    """tests/homeassistant/scenes.py"""
    spec = importlib.util.spec_from_file_location("scenes", Path(__file__).parent / "scenes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
