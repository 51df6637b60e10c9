"""Heads with random weights: what they say means nothing, but it must be the same live and in training."""

import pytest

torch = pytest.importorskip("torch")

from fusion_rt.train.datasets import activity_head, fall_head, room_heads  # noqa: E402
from fusion_rt.train.datasets.activity_net import ActivityEnsemble, ActivityNet  # noqa: E402
from fusion_rt.train.datasets.context_net import ContextNet, Ensemble  # noqa: E402
from fusion_rt.train.datasets.export import write_head  # noqa: E402


def random_ensemble(sizes, classes, members=2):
    torch.manual_seed(0)
    return Ensemble([ContextNet(sizes, classes) for _ in range(members)]).eval()


@pytest.fixture(scope="session")
def room(tmp_path_factory):
    """recipe -> the network, and the folder of its package."""

    def make(recipe):
        net, folder = random_ensemble(recipe.sizes, recipe.largest + 1), tmp_path_factory.mktemp(recipe.name)
        write_head(net, folder, *room_heads.shapes(recipe, 2), **room_heads.description(recipe, "a test"))
        return net, folder

    return make


@pytest.fixture(scope="session")
def fall(tmp_path_factory):
    net, folder = random_ensemble(fall_head.sizes(), 2), tmp_path_factory.mktemp("fall")
    described = fall_head.description(fall_head.FallConfig(), "a test")
    write_head(net, folder, *fall_head.shapes(2), **described)
    return net, folder


@pytest.fixture(scope="session")
def activity(tmp_path_factory):
    torch.manual_seed(0)
    net = ActivityEnsemble([ActivityNet(len(activity_head.FEATURES), 5)]).eval()
    folder = tmp_path_factory.mktemp("activity")
    write_head(net, folder, *activity_head.shapes(), **activity_head.description("a test"))
    return net, folder
