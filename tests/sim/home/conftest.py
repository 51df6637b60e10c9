"""A busy quarter of an hour in the example home, simulated once."""

from pathlib import Path

import numpy as np
import pytest

from fusion_rt.plan import Plan
from fusion_rt.sim.home.config import HomeSimConfig, Motion, Routine, Sounds
from fusion_rt.sim.home.home import simulate

FLAT = Path(__file__).parents[3] / "configs/home/flat.yaml"


@pytest.fixture(scope="session")
def flat():
    return Plan.load(FLAT)


@pytest.fixture(scope="session")
def busy(flat):
    """Two people who do in a quarter of an hour what takes others a day; each event happens some times."""
    events = dict.fromkeys(("doorbell", "knock", "glass_break", "smoke_alarm", "dog_bark"), 500.0)
    config = HomeSimConfig(
        start="2026-03-02T17:30:00Z",
        hours=0.3,
        routine=Routine(people=2, pace=20, falls_per_day=400, fall_lying_s=20, works_out=1.0),
        sounds=Sounds(events_per_day=events),
        motion=Motion(heat_per_day=0.0),
    )
    return simulate(flat, config, 4)


@pytest.fixture(scope="session")
def packets(busy):
    """sensor_id -> its packets."""
    found = {}
    for packet in busy.packets():
        found.setdefault(packet.header.sensor_id, []).append(packet)
    return found


@pytest.fixture(scope="session")
def tick_of(busy):
    """Packets -> the ticks of their stamps."""

    def ticks(packets):
        stamps = np.array([packet.header.stamp_ns for packet in packets])
        return np.minimum((stamps - busy.config.start_ns) // 100_000_000, busy.world.ticks - 1)

    return ticks
