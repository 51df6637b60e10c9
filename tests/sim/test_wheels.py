"""Wheel speeds of a simulated drive."""

import msgspec
import numpy as np
import pytest

from fusion_rt.errors import ConfigError
from fusion_rt.messages import WheelSpeed
from fusion_rt.rig import Rig, Wheels
from fusion_rt.sim import wheels
from fusion_rt.sim.drive import Drive
from fusion_rt.sim.drive_config import DriveConfig
from fusion_rt.transforms import from_translation_rpy


def climbing(t_s, speed=12.0):
    """Uphill, nose along the path."""
    return from_translation_rpy((speed * t_s * np.cos(0.1), 0, speed * t_s * np.sin(0.1)), (0.0, -0.1, 0.0))


def test_the_speed_is_that_along_the_path():
    assert wheels.rolling(climbing, 3.0) == pytest.approx(12.0)
    assert wheels.rolling(lambda t: climbing(-t), 3.0) == pytest.approx(-12.0)


def test_tyres_are_wrong_by_a_factor_and_creeping_is_standing():
    times, told = np.arange(0, 40, 0.02), []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        told.append(np.mean(list(wheels.measure(climbing, times[:100], wheels.WheelModel(), rng))) / 12.0)
    assert np.std(told) == pytest.approx(0.01, rel=0.25)
    slow = wheels.measure(lambda t: climbing(t, 0.2), times, wheels.WheelModel(), np.random.default_rng(1))
    assert set(slow) == {0.0}


def test_a_drive_tells_them():
    rig = Rig(wheels={"wheels": Wheels()})
    config = DriveConfig(duration_s=1.0, rig=rig, wheels={"wheels": wheels.WheelModel(rate_hz=20.0)})
    packets = list(Drive(config, seed=3).packets())
    assert [type(p) for p in packets] == [WheelSpeed] * 20
    assert [p.header.seq for p in packets] == list(range(20))
    assert packets == list(Drive(config, seed=3).packets())
    with pytest.raises(ConfigError, match="wheels: the rig has none, models are given for"):
        msgspec.structs.replace(config, rig=Rig())
