"""The table for a terminal: what it says, and that it cuts no word."""

import numpy as np
import pytest
from msgspec import structs
from rich.console import Console

from fusion_rt.evaluation.gains import Gain
from fusion_rt.evaluation.report import Report, Row, render
from fusion_rt.metrics.detection import Estimate, judge
from fusion_rt.metrics.matching import FrameBoxes

SENSORS, CLASSES = ("lidar+camera", "lidar", "camera"), ("car", "pedestrian", "cyclist")


def report(found):
    """Three objects a frame, of which the first `found` are found, in 40 frames."""
    truth = np.array([[10.0 * i, 0, 0, 4, 2, 1.5, 0] for i in range(3)])
    frame = FrameBoxes(
        truth=truth,
        truth_ignored=np.zeros(3, bool),
        found=truth[:found],
        scores=np.full(found, 0.9),
        found_ignored=np.zeros(found, bool),
        sheltered=np.zeros(found, bool),
    )
    rows = tuple(
        Row(
            sensors=sensors,
            label=label,
            difficulty="moderate",
            frames=40,
            objects=120,
            threshold=0.5,
            levels=judge([frame] * 40, label=label, threshold=0.5),
        )
        for sensors in SENSORS
        for label in CLASSES
    )
    return Report(
        source="somewhere",
        model="driving-s-1",
        engine="openvino",
        frames=40,
        detections=dict.fromkeys(SENSORS, 40 * found),
        rows=rows,
        notes=("a note",),
    )


def printed(report, width):
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(render(report), highlight=False)
    return capture.get().splitlines()


@pytest.mark.parametrize("found", [0, 2, 3])
def test_the_table_fits_a_hundred_columns(found):
    lines = printed(report(found), 100)
    assert not any("…" in line for line in lines)
    assert [line.strip() for line in lines if line.strip() in SENSORS] == list(SENSORS)
    words = [line.split() for line in lines if line.split() and line.split()[0] in CLASSES]
    rows = [row for row in words if row[1:2] == ["moderate"]]
    assert [row[0] for row in rows] == list(CLASSES) * 3
    share = f"{100 * found / 3:.1f}"
    for row in rows:
        assert row[2] == "120"
        assert share in row  # recall
        assert row[-1] == f"{40 * found}/0/{40 * (3 - found)}"


def test_gains_stand_under_what_is_compared():
    level, nothing = Estimate(0.041, -0.25, 0.5), Estimate(None)
    gains = tuple(
        Gain(label=label, more=more, less=less, levels=(level, level, nothing, level))
        for more, less in (("lidar+camera", "lidar"), ("lidar+camera+fastestdet", "lidar+camera"))
        for label in CLASSES
    )
    lines = printed(structs.replace(report(2), gains=gains), 100)
    assert not any("…" in line for line in lines)
    titles = [i for i, line in enumerate(lines) if " over " in line]
    assert [lines[i].strip() for i in titles] == [
        "lidar+camera over lidar",
        "lidar+camera+fastestdet over lidar+camera",
    ]
    for i in titles:
        assert [line.split()[0] for line in lines[i + 2 : i + 5]] == list(CLASSES)
        assert "+4.1 [-25.0 +50.0]" in lines[i + 2]
        assert " - " in lines[i + 2]


def test_a_narrow_terminal_keeps_the_names():
    text = "\n".join(printed(report(2), 80))
    assert all(name in text for name in (*SENSORS, *CLASSES, "moderate"))
