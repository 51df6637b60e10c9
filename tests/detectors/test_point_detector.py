"""Detectors of sweeps: their arithmetic by hand, then at work, then among the network's boxes."""

import itertools

import msgspec
import numpy as np
import pytest

from fusion_rt.config import convert
from fusion_rt.detectors import anchors, bev_heatmap, folder
from fusion_rt.detectors.folder import FAMILIES
from fusion_rt.detectors.lookout import DetectorUse
from fusion_rt.detectors.merging import merged
from fusion_rt.device import CpuDevice
from fusion_rt.errors import EngineError
from fusion_rt.evaluation.subsets import still
from fusion_rt.messages import Header, PointCloud
from fusion_rt.offline import predictions
from fusion_rt.perception import MODALITIES
from fusion_rt.pipeline import FusionPipeline, PipelineConfig
from fusion_rt.scenario import locate
from fusion_rt.tracking.detections import Detections

OURS = ("car", "pedestrian", "cyclist")
FLOAT, INT32, INT64 = 1, 6, 7
SPACE = {"x_min": 0.0, "x_max": 40.0, "y_min": -20.0, "y_max": 20.0, "z_min": -3.0, "z_max": 1.0}
HEATMAP = {
    "family": "bev_heatmap",
    "name": "peaks",
    "input": {"kind": "bev_map", "name": "bev", "rows": 80, "columns": 80},
    "space": SPACE,
    "height_m": 1.5,
    "outputs": {"heat": "hm", "offset": "reg", "z": "z", "size": "dim", "direction": "rot"},
    "rows": 20,
    "columns": 20,
    "classes": ["Pedestrian", "Car"],
    "class_map": {"Car": "car", "Pedestrian": "pedestrian"},
}
ANCHORS = {
    "family": "anchors",
    "name": "anchored",
    "input": {
        "kind": "pillars",
        "voxels": "voxels",
        "counts": "num_points",
        "coordinates": "coors",
        "cell_m": 0.5,
        "most": 16,
        "points": 4,
    },
    "space": SPACE,
    "height_m": 1.5,
    "outputs": {"scores": "cls", "boxes": "box", "directions": "dir"},
    "rows": 20,
    "columns": 20,
    "anchors": [{"size": [0.8, 0.6, 1.8], "z_bottom": -1.5}, {"size": [4.0, 1.6, 1.5], "z_bottom": -1.5}],
    "rotations": [0.0, 1.57],
    "direction_offset": -1.5708,
    "nms_iou": 0.1,
    "classes": ["Pedestrian", "Car"],
    "class_map": {"Car": "car", "Pedestrian": "pedestrian"},
}


def recipe(base, **changes):
    data = base | changes
    return convert(data, FAMILIES[data["family"]], "test")


def peaks():
    """A car at row 10, column 5 (logit 2), weaker beside it; a pedestrian at row 3, column 3 (logit 0)."""
    maps = {name: np.zeros((1, n, 20, 20), np.float32) for name, n in (("hm", 2), ("reg", 2), ("z", 1))}
    maps |= {"dim": np.zeros((1, 3, 20, 20), np.float32), "rot": np.zeros((1, 2, 20, 20), np.float32)}
    maps["hm"][...] = -9
    maps["hm"][0, 1, 10, 5], maps["hm"][0, 1, 10, 6], maps["hm"][0, 0, 3, 3] = 2.0, 1.5, 0.0
    maps["reg"][0, :, 10, 5] = (0.25, 0.5)
    maps["z"][0, 0, 10, 5] = -0.75
    maps["dim"][0, :, 10, 5], maps["dim"][0, :, 3, 3] = (4.0, 1.6, 1.5), (0.6, 0.6, 1.8)
    maps["rot"][0, :, 10, 5], maps["rot"][0, :, 3, 3] = (0.6, 0.8), (0.0, 1.0)
    return maps


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_peaks_of_a_map():
    found = bev_heatmap.decode(peaks(), recipe(HEATMAP))
    assert found.labels.tolist() == [1, 0]
    np.testing.assert_allclose(found.scores, sigmoid(np.array([2.0, 0.0])), rtol=1e-6)
    # Column 5.25 and row 10.5 of cells of 2 m.
    np.testing.assert_allclose(
        found.boxes[0], (10.5, 1.0, -0.75, 4.0, 1.6, 1.5, np.arctan2(0.6, 0.8)), atol=1e-6
    )


def test_peaks_as_sfa3d_writes_them():
    """Rows along x, sizes h w l, the lowest z from the space's bottom, angles clockwise."""
    changes = {
        "rows_along": "x",
        "offset_logits": True,
        "size_order": "hwl",
        "z_shift_m": -3.0,
        "z_bottom": True,
        "mirrored": True,
    }
    maps = peaks()
    maps["reg"][0, :, 10, 5] = np.log((1 / 3, 1.0))  # sigmoid: 1/4 and 1/2
    maps["dim"][0, :, 10, 5], maps["z"][0, 0, 10, 5] = (1.5, 1.6, 4.0), 1.5
    found = bev_heatmap.decode(maps, recipe(HEATMAP, **changes))
    np.testing.assert_allclose(
        found.boxes[0], (21.0, -9.5, -0.75, 4.0, 1.6, 1.5, -np.arctan2(0.6, 0.8)), atol=1e-5
    )


def test_peaks_as_openpcdet_writes_them():
    maps = peaks()
    maps["dim"] = np.log(np.maximum(maps["dim"], 1e-3))
    maps["rot"] = maps["rot"][:, ::-1]
    found = bev_heatmap.decode(maps, recipe(HEATMAP, size_logs=True, sine_first=False))
    expected = bev_heatmap.decode(peaks(), recipe(HEATMAP))
    np.testing.assert_allclose(found.boxes, expected.boxes, rtol=1e-5)
    assert len(bev_heatmap.decode(peaks(), recipe(HEATMAP, most=1)).scores) == 1
    assert bev_heatmap.decode(peaks(), recipe(HEATMAP, heat_logits=False)).scores.tolist() == [1.0]


def anchored():
    """In row 4, column 7 the second anchor's second rotation is a car; one that is too weak elsewhere."""
    scores, boxes, directions = (np.zeros((1, n, 20, 20), np.float32) for n in (4 * 2, 4 * 7, 4 * 2))
    scores[...] = -9
    anchor = 1 * 2 + 1
    scores[0, anchor * 2 + 1, 4, 7], scores[0, 0, 0, 0] = 1.0, -2.0
    boxes[0, anchor * 7 : anchor * 7 + 7, 4, 7] = (0.5, -0.5, 0.2, np.log(1.1), 0.0, np.log(0.9), 0.1)
    directions[0, anchor * 2 : anchor * 2 + 2, 4, 7] = (1.0, -1.0)
    return {"cls": scores, "box": boxes, "dir": directions}


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_anchors_corrected(layout):
    maps = anchored()
    if layout == "nhwc":
        maps = {name: array.transpose(0, 2, 3, 1) for name, array in maps.items()}
    found = anchors.decode(maps, recipe(ANCHORS, layout=layout))
    diagonal = np.hypot(4.0, 1.6)
    x, y, z = 15.0 + 0.5 * diagonal, -11.0 - 0.5 * diagonal, -1.5 + 0.75 + 0.2 * 1.5
    # The yaw, 1.67, from -pi/2 on within half a turn is -1.47; the first direction leaves it there.
    expected = (x, y, z, 4.4, 1.6, 1.35, 1.67 - np.pi)
    np.testing.assert_allclose(found.boxes, [expected], rtol=1e-5)
    assert found.labels.tolist() == [1]
    assert found.scores.tolist() == pytest.approx([sigmoid(1.0)])


def test_the_second_direction_turns_round():
    maps = anchored()
    maps["dir"] *= -1
    found = anchors.decode(maps, recipe(ANCHORS))
    assert found.boxes[0, 6] == pytest.approx(1.67, abs=1e-5)


def cloud(points, intensity=0.5):
    points = np.asarray(points, np.float32).reshape(-1, 3)
    n = len(points)
    return PointCloud(
        header=Header(sensor_id="lidar", frame_id="lidar", seq=0, stamp_ns=0),
        xyz=points,
        intensity=np.full(n, intensity, np.float32),
        t=np.zeros(n, np.float32),
        ring=np.zeros(n, np.uint16),
    )


@pytest.fixture
def peaks_model(make_onnx, tmp_path):
    """NaN for an intensity of 0.9."""
    return make_onnx(tmp_path / "p.onnx", {"bev": ((1, 3, 80, 80), FLOAT)}, peaks(), nan_at=np.float32(0.9))


@pytest.fixture
def load(write_recipe, tmp_path):
    def make(model, base, **changes):
        folder.add(model, write_recipe(base, **changes), tmp_path / base["name"], classes=OURS)
        return folder.load(tmp_path / base["name"], classes=OURS, device=CpuDevice(1))

    return make


def test_boxes_in_the_ego_frame(load, peaks_model, rig):
    detector = load(peaks_model, HEATMAP)
    found = detector.look(still(cloud([(5, 0, -1)]), rig.lidars["lidar"].T_ego_lidar))
    assert found.labels.tolist() == [0, 1]
    np.testing.assert_allclose(found.boxes[0, :3], (10.5, 1.0, -0.75 + 1.5), atol=1e-5)
    np.testing.assert_allclose(found.scores[0], (sigmoid(2.0), 0.02, 0.02), rtol=1e-5)
    assert not found.velocity_known.any()
    assert found.finite.all()


def test_points_reach_the_input_in_the_detector_s_frame(load, peaks_model, rig):
    """A point 1.2 m above the ground is at -0.3 m of an origin at 1.5 m."""
    detector = load(peaks_model, HEATMAP)
    T = rig.lidars["lidar"].T_ego_lidar  # at 1.73 m
    detector.look(still(cloud([(5.1, 0.1, 1.2 - 1.73), (np.nan, 0, 0)]), T))
    bev = detector._network.inputs["bev"][0]
    ((row, column),) = np.argwhere(bev[1] > 0)
    assert (row, column) == (10, 40)
    assert bev[1, row, column] == pytest.approx((-0.3 + 3) / 4, abs=1e-5)


def test_numbers_that_are_none(load, peaks_model, rig):
    detector = load(peaks_model, HEATMAP)
    with pytest.raises(EngineError, match="not finite"):
        detector.look(still(cloud([(5, 0, -1)], intensity=0.9), rig.lidars["lidar"].T_ego_lidar))


def test_pillars_of_whole_numbers(load, make_onnx, rig, tmp_path):
    inputs = {"voxels": ((16, 4, 4), FLOAT), "num_points": ((16,), INT32), "coors": ((16, 4), INT64)}
    model = make_onnx(tmp_path / "a.onnx", inputs, anchored(), nan_at=1e6)
    detector = load(model, ANCHORS)
    T = rig.lidars["lidar"].T_ego_lidar
    found = detector.look(still(cloud([(5, 0, -1), (6, 0, -1)]), T))
    assert found.labels.tolist() == [0]
    given = detector._network.inputs
    assert given["num_points"].tolist() == [1] * 16  # the first stands in for those that are not there
    assert given["coors"][:3, 3].tolist() == [10, 12, 10]
    assert len(detector.look(still(cloud([(-5, 0, -1)]), T)).labels) == 0


def boxes(rows, *, velocity=None, share=(0.5, 0.3, 0.2)):
    """x, label, score each."""
    n = len(rows)
    scores = np.full((n, 3), 0.1, np.float32)
    table = np.zeros((n, 7), np.float32)
    table[:, 3:6] = (4.0, 1.8, 1.5)
    for k, (x, label, score) in enumerate(rows):
        table[k, 0], scores[k, label] = x, score
    return Detections(
        boxes=table,
        velocity=np.full((n, 2), 0.0 if velocity is None else velocity, np.float32),
        scores=scores,
        labels=np.array([label for _, label, _ in rows], np.intp),
        std=np.full((n, 5), 0.1 if velocity is None else 0.2, np.float32),
        contributions=np.tile(np.array(share, np.float32), (n, 1)),
        velocity_known=np.full(n, velocity is not None),
    )


def test_the_better_of_two_boxes_stays():
    own = boxes([(10.0, 0, 0.6), (20.0, 0, 0.6), (30.0, 0, 0.5)], velocity=7.0)
    others = boxes([(10.5, 0, 0.9), (20.5, 0, 0.3), (30.0, 1, 0.8), (50.0, 0, 0.7)], share=(1.0,))
    got = merged(own, others, iou=(0.3, 0.3, 0.3), share=np.array([1.0, 0, 0], np.float32))
    assert got.boxes[:, 0].tolist() == [10.5, 20.0, 30.0, 30.0, 50.0]
    assert got.labels.tolist() == [0, 0, 0, 1, 0]
    assert got.scores[np.arange(5), got.labels].round(2).tolist() == pytest.approx([0.9, 0.6, 0.5, 0.8, 0.7])
    assert got.velocity[:, 0].tolist() == [7, 7, 7, 0, 0]
    assert got.velocity_known.tolist() == [True, True, True, False, False]
    assert got.contributions[:, 0].round(2).tolist() == pytest.approx([1, 0.5, 0.5, 1, 1])
    assert got.std[:, 0].round(2).tolist() == pytest.approx([0.1, 0.2, 0.2, 0.1, 0.1])
    assert own.boxes[0, 0] == 10.0  # nothing was changed in place
    nothing = boxes([])
    assert merged(own, nothing, iou=(0.3,) * 3, share=np.eye(3)[0]).boxes.tolist() == own.boxes.tolist()
    assert len(merged(nothing, others, iou=(0.3,) * 3, share=np.eye(3)[0]).boxes) == 4


@pytest.fixture
def uses(peaks_model, write_recipe, tmp_path):
    folder.add(peaks_model, write_recipe(HEATMAP), tmp_path / "d", classes=OURS)
    return {"above": DetectorUse(model=str(tmp_path / "d"), sensor="lidar")}


def test_its_boxes_are_followed_as_the_lidar_s(rig, model_package, street, uses):
    ticks = itertools.count(step=1_000_000)
    config = PipelineConfig(threads=1, detectors=uses)
    pipeline = FusionPipeline(config, rig, CpuDevice(1), model_package, lambda: next(ticks))
    told = [p for k in range(4) for packet in street(k * 10**8, seq=k) if (p := pipeline.push(packet))]
    certificate = told[-1].certificate
    assert certificate.detectors["above"].startswith("peaks-")
    assert certificate.stage_ms["detect"] == 1.0
    (car,) = [o for o in told[-1].objects if np.hypot(o.center[0] - 10.5, o.center[1] - 1.0) < 0.3]
    assert car.contributions[MODALITIES[0]] > 0.9
    assert car.label == "car"


def test_a_sweep_that_gives_no_numbers_is_counted(rig, model_package, street, uses):
    pipeline = FusionPipeline(PipelineConfig(threads=1, detectors=uses), rig, CpuDevice(1), model_package)
    told = []
    for k in range(2):
        sweep, _ = street(k * 10**8, seq=k)
        sweep.intensity[:] = 0.9
        told.append(pipeline.push(sweep))
    assert told[-1].certificate.detectors == {}
    assert pipeline.counters["detectors"] == {"above.failed": 2}


def test_the_bundled_drive_gives_the_same_bytes(uses):
    config = PipelineConfig(threads=1, detectors=uses)

    def replayed():
        told = itertools.islice(predictions(locate("bundled:drive.mcap"), config), 6)
        return b"\n".join(map(msgspec.json.encode, told))

    once = replayed()
    assert replayed() == once
    assert b'"detectors":{"above":"peaks-' in once
