"""A real drive from the files to the tracks, by the commands that a user has."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from fusion_rt.cli import app
from fusion_rt.logs.kitti_calibration import object_reference
from fusion_rt.logs.kitti_object import ego_box, read_labels

LABELLED = (7, 14)  # of its frames


@pytest.fixture(scope="module")
def answers(kitti_sequence, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sequence")
    log, out = folder / "drive.mcap", folder / "answers.jsonl"
    for command in (
        ["import", "kitti", str(kitti_sequence), "-o", str(log)],
        ["replay", str(log), "--fast", "--out", str(out)],
    ):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
    return [json.loads(line) for line in out.read_text().splitlines()]


def ahead(answer):
    """The nearest car in our lane."""
    mine = [o for o in answer["objects"] if o["label"] == "car" and abs(o["center"][1]) < 1.2]
    return min(mine, key=lambda o: o["center"][0], default=None)


def test_the_car_ahead_is_never_lost(answers):
    assert len(answers) == 46
    followed = [ahead(answer) for answer in answers[1:]]  # a track wants two sweeps
    assert {None if car is None else car["track_id"] for car in followed} == {followed[0]["track_id"]}
    distances = np.array([car["center"][0] for car in followed])
    assert distances[0] > distances[-1] + 2  # we roll up to it
    assert np.abs(np.diff(distances)).max() < 0.5


@pytest.mark.parametrize("frame", LABELLED)
def test_it_is_where_its_label_is(kitti_sequence, answers, frame):
    labels = read_labels(kitti_sequence / "label_2" / f"{frame:010d}.txt")
    T_reference_ego = object_reference(kitti_sequence / "calib.txt")
    (truth,) = (
        ego_box(label, T_reference_ego)
        for label in labels
        if label.type == "Car" and abs(label.location[0]) < 0.5
    )
    found = ahead(answers[frame])
    assert found["center"][0] == pytest.approx(truth[0], abs=0.3)
    near_face = found["center"][0] - found["size"][0] / 2
    assert near_face == pytest.approx(truth[0] - truth[3] / 2, abs=0.3)
