"""A home of two rooms, its packets, and a network that was never trained: the engine around it is tested."""

import importlib.util
from pathlib import Path

import pytest

from fusion_rt.plan import Plan

PLAN = """
rooms:
  kitchen: {name: Kitchen, polygon: [[0, 0], [4, 0], [4, 3], [0, 3]]}
  bath: {name: Bathroom, polygon: [[4, 0], [7, 0], [7, 3], [4, 3]], hold_s: 5, absent_s: 60}
doors:
  front: {rooms: [kitchen, outside], at: [[0, 1], [0, 2]], contact: front_door}
  bath_door: {rooms: [bath, kitchen], at: [[4, 1], [4, 2]], contact: bath_contact}
sensors:
  front_door: {kind: contact, room: kitchen}
  bath_contact: {kind: contact, room: bath}
  bell: {kind: button, room: kitchen}
  smoke: {kind: smoke, room: kitchen}
  pir: {kind: motion, room: kitchen, pose: {translation: [0.2, 0.2, 2.2]}}
  bath_pir: {kind: motion, room: bath, pose: {translation: [6.8, 0.2, 2.2]}}
  radar: {kind: radar, room: kitchen, pose: {translation: [0.2, 1.5, 1.5]}, period_s: 0.1}
  camera:
    kind: camera
    room: kitchen
    pose: {translation: [0.1, 0.1, 2.3], rpy_deg: [-115, 0, -55]}
    width: 640
    height: 480
    K: [[420, 0, 320], [0, 420, 240], [0, 0, 1]]
    period_s: 0.2
  mic: {kind: microphone, room: kitchen, period_s: 0.5}
  bath_mic: {kind: microphone, room: bath, period_s: 0.5}
  co2: {kind: co2, room: kitchen, period_s: 60}
  beacon: {kind: distance, room: kitchen, period_s: 5}
  belt: {kind: imu, room: p1}
"""


@pytest.fixture(scope="session")
def plan():
    return Plan.from_yaml(PLAN)


@pytest.fixture(scope="session")
def make():
    """The functions of packets.py."""
    path = Path(__file__).with_name("packets.py")
    spec = importlib.util.spec_from_file_location("packets", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def untrained(tmp_path_factory):
    """A package of the network as it is before training."""
    import torch

    from fusion_rt.train.home.export import export
    from fusion_rt.train.home.network import HomeNet

    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("home-s")
    export(HomeNet(), folder, version="0", trained_with="nothing")
    return folder


@pytest.fixture(scope="session")
def head(untrained):
    """That network, compiled once; each pipeline begins without a memory."""
    from fusion_rt.models.head import Head

    return Head.load(untrained)
