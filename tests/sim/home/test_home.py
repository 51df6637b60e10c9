"""A simulated home as a whole: the same for the same seed, in order, and true."""

import itertools
from pathlib import Path

import msgspec
import numpy as np
import pytest
import yaml

from fusion_rt import config as typed
from fusion_rt import logs
from fusion_rt.errors import ConfigError
from fusion_rt.logs.checking import check
from fusion_rt.messages import pack
from fusion_rt.scenario import locate
from fusion_rt.scene import ACTIVITIES, POSTURES
from fusion_rt.sim.home.config import Camera, HomeSimConfig, Motion, Pcm, Radar, Routine, Sounds
from fusion_rt.sim.home.faults import Fault
from fusion_rt.sim.home.home import most, simulate
from fusion_rt.sim.home.plans import random_plan
from fusion_rt.sim.home.recording import in_order
from fusion_rt.sim.home.routes import Floor, Routes

BRIEF = HomeSimConfig(hours=0.01, start="2026-03-02T18:00:00Z", routine=Routine(pace=20, people=2))


def packed(packets):
    return [(header, *(array.tobytes() for array in arrays)) for header, arrays in map(pack, packets)]


def test_one_seed_is_one_home(flat):
    one, same, other = (simulate(flat, BRIEF, seed) for seed in (1, 1, 2))
    assert packed(one.packets()) == packed(same.packets())
    assert list(one.truths()) == list(same.truths())
    assert packed(one.packets()) != packed(other.packets())


def test_a_second_pass_gives_the_same(flat):
    home = simulate(flat, BRIEF, 3)
    assert packed(home.packets()) == packed(home.packets())


def test_a_sensor_more_changes_no_other(flat):
    def of(home):
        return packed(p for p in home.packets() if p.header.sensor_id != "kitchen_radar")

    fewer = msgspec.structs.replace(BRIEF, sensors_off=("kitchen_radar",))
    assert of(simulate(flat, BRIEF, 1)) == of(simulate(flat, fewer, 1))


def test_every_sensor_of_the_plan_tells(flat, packets):
    assert packets.keys() == flat.sensors.keys()


def test_packets_come_in_order_and_are_counted(busy, packets):
    stamps = [packet.header.stamp_ns for packet in busy.packets()]
    assert stamps == sorted(stamps)
    for of_sensor in packets.values():
        assert [packet.header.seq for packet in of_sensor] == list(range(len(of_sensor)))
    assert stamps[0] >= busy.config.start_ns


def test_the_truth_agrees_with_itself(busy, flat):
    truths = list(busy.truths())
    assert {b.stamp_ns - a.stamp_ns for a, b in itertools.pairwise(truths)} == {200_000_000}
    for truth in truths[::50]:
        assert sum(truth.counts.values()) == len(truth.people)
        for person in truth.people:
            assert truth.counts[person.room] >= 1
            assert person.posture in POSTURES
            # To the millimetre: on a wall's line a point may be in either room.
            assert person.room in {flat.room_at(person.x + dx, person.y) for dx in (-0.001, 0.0, 0.001)}
        for room, activity in truth.activities.items():
            assert activity in ACTIVITIES
            assert (activity == "empty") == (truth.counts[room] == 0)
    told = [event for truth in truths for event in truth.events]
    assert told == [event for event in busy.events if event.onset_ns <= truths[-1].stamp_ns]
    assert {event.kind for event in told} >= {"fall", "doorbell", "knock", "smoke_alarm"}


def test_the_truth_stands_before_the_packets_of_its_moment(flat):
    seen = [message for _, message in in_order(simulate(flat, BRIEF, 1))]
    stamps = [m.header.stamp_ns for m in seen]
    assert stamps == sorted(stamps)
    assert seen[0].header.sensor_id == "truth"


def test_what_most_do_is_the_rooms_activity():
    assert most([]) == "empty"
    assert most(["sitting", "sitting", "walking"]) == "sitting"
    assert most(["sitting", "cooking"]) == "cooking"


def test_random_plans_can_be_walked_through():
    sizes = set()
    for seed in range(40):
        plan = random_plan(seed)
        sizes.add(len(plan.rooms))
        routes = Routes(Floor(plan), [])
        cells = [routes.nearest(room.corners.mean(axis=0), slug) for slug, room in plan.rooms.items()]
        assert routes.reachable(cells[0])[cells].all()
    assert random_plan(5) == random_plan(5)
    assert sizes == set(range(3, 11))


@pytest.mark.parametrize("rooms", [3, 6])
def test_random_plans_can_be_lived_in(rooms):
    home = simulate(random_plan(rooms, rooms), msgspec.structs.replace(BRIEF, hours=0.003), 1)
    assert {packet.header.sensor_id for packet in home.packets()}
    assert {"bed", "cooker", "toilet", "away"} <= {place.kind for place in home.world.house.places}


def test_different_seeds_are_different_lives(flat):
    places = [simulate(flat, BRIEF, seed).world.people.xy for seed in range(3)]
    assert not any(np.array_equal(a, b) for a, b in itertools.combinations(places, 2))


def test_the_configuration_file_holds_every_usual_value():
    path = Path(__file__).parents[3] / "configs/sim/home.yaml"
    assert typed.load(path, HomeSimConfig) == HomeSimConfig()

    def keys(value, prefix=""):
        if not isinstance(value, dict) or prefix.endswith("events_per_day."):
            return {prefix.rstrip(".")}
        return set().union(*(keys(v, f"{prefix}{k}.") for k, v in value.items()))

    assert keys(yaml.safe_load(path.read_text())) == keys(msgspec.to_builtins(HomeSimConfig()))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("routine: {peple: 2}", "did you mean 'people'"),
        ("routine: {people: 7}", "routine.people"),
        ("start: yesterday", "start: 'yesterday' is not a time"),
        ("sounds: {events_per_day: {fall: 1}}", "events_per_day.fall"),
        ("faults: [{sensor: hall_pir, kind: broken}]", "faults"),
    ],
)
def test_a_wrong_knob_is_named(text, complaint):
    with pytest.raises(ConfigError, match=complaint):
        typed.parse(text, HomeSimConfig, "home.yaml")


@pytest.mark.parametrize(
    "config",
    [
        HomeSimConfig(sensors_off=("nothing",)),
        HomeSimConfig(faults=(Fault(sensor="nothing", kind="lost"),)),
        HomeSimConfig(pcm=Pcm(sensors=("nothing",))),
    ],
)
def test_a_sensor_that_is_not_there_is_named(flat, config):
    with pytest.raises(ConfigError, match="no sensor 'nothing'"):
        simulate(flat, config, 0)


def test_the_bundled_evening(flat):
    path = locate("bundled:home.mcap")
    assert path.stat().st_size < 3e6
    report = check(path)
    assert report.sound
    with logs.open(path) as log:
        assert log.plan == flat
        happened = {event.kind for truth in log.truths() for event in truth.events}
        assert {"fall", "doorbell", "smoke_alarm"} <= happened
        assert {packet.header.sensor_id for packet in log} == flat.sensors.keys()


def test_nobody_at_home_is_quiet(flat):
    """With everybody out, motion sensors and cameras see nobody, and radars little."""
    config = HomeSimConfig(
        hours=0.05, start="2026-03-02T10:00:00Z",
        routine=Routine(people=1, works_out=1.0, visitors_per_day=0),
        sounds=Sounds(events_per_day={}), radar=Radar(clutter=0.0), camera=Camera(false_per_hour=0.0),
        motion=Motion(heat_per_day=0.0),
    )  # fmt: skip
    home = simulate(flat, config, 5)
    assert not home.world.people.home.any()
    for packet in home.packets():
        assert not len(getattr(packet, "boxes", ()))
        if getattr(packet, "kind", "") in ("motion", "distance"):
            assert packet.kind == "motion"
            assert packet.value == 0
