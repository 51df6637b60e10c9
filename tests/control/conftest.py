from pathlib import Path

import pytest

from fusion_rt.control import Rules
from fusion_rt.plan import Plan

CONFIGS = Path(__file__).parents[2] / "configs" / "home"


@pytest.fixture(scope="session")
def plan():
    return Plan.load(CONFIGS / "flat.yaml")


@pytest.fixture(scope="session")
def make(make_scene):
    return make_scene


@pytest.fixture(scope="session")
def rules(plan):
    """The text of `rules:`, and of what stands beside it -> Rules."""

    def parse(text, beside=""):
        indented = "".join(f"  {line}\n" for line in text.strip().splitlines())
        return Rules.from_yaml(f"{beside}\nrules:\n{indented}", plan)

    return parse


@pytest.fixture(scope="session")
def example(plan):
    return Rules.load(CONFIGS / "rules.yaml", plan)
