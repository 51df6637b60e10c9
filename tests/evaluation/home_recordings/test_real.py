"""The committed heads on the real recordings, through the live runtime; skipped where these are not."""

import pytest

from fusion_rt.evaluation.home_recordings import activities, falls, parts, rooms
from fusion_rt.heads.activity import ActivityHead
from fusion_rt.heads.fall import FallHead
from fusion_rt.heads.room import RoomHead
from fusion_rt.models.head import Head
from fusion_rt.train.datasets import radhar, trained_on, umafall


@pytest.fixture(scope="module")
def home(shared_data):
    folder = shared_data / "home"
    if not folder.is_dir():
        pytest.skip(f"no recordings of homes at {folder}")
    return folder


def test_days_that_the_office_head_has_not_seen(home):
    path = home / "uci_occupancy" / "datatest.txt"
    assert trained_on.digest(path) not in trained_on.read("office-occupancy")
    table = parts.OFFICE_SET.read(path)
    live = RoomHead("office-occupancy")
    everything = rooms.figures([rooms.stream(live, table)], counts=False)
    assert everything["accuracy"].value >= 0.965
    assert everything["flips"].value <= 1.1 * everything["true flips"].value
    dark = rooms.figures([rooms.stream(live, table, frozenset({"illuminance"}))], counts=False)
    assert dark["accuracy"].value >= 0.90


def test_recordings_that_the_heads_learned_from_are_known(home):
    assert trained_on.digest(home / "uci_occupancy" / "datatraining.txt") in trained_on.read(
        "office-occupancy"
    )
    for path in (home / "uci_room_estimation").glob("*.csv"):
        assert trained_on.digest(path) in trained_on.read("room-count")


def test_a_recording_of_each_activity(home):
    live = ActivityHead(Head.load("radar-activity"), every=activities.EVERY)
    recordings = [
        radhar.read(home / "radhar" / f"{activity}_02.csv.gz", activity) for activity in radhar.ACTIVITIES
    ]
    windows = [activities.stream(live, recording) for recording in recordings]
    assert activities.figures(windows)["accuracy"].value >= 0.95


def test_falls_and_daily_movements(home):
    live = FallHead()
    for name, fall in (("fall_forwardfall", True), ("adl_jogging", False)):
        path = home / "umafall" / f"subject05_{name}_1.csv.gz"
        found = falls.stream(live, umafall.read(path, "05", name, fall=fall))
        assert (found.found, found.false) == (fall, 0)
