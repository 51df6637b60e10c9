import numpy as np

from fusion_rt.models.presets import DRIVING_S
from fusion_rt.train.targets import make_targets

CAR = np.array([[10.1, 0.2, 0.75, 4.0, 1.7, 1.5, 0.4, 3.0, -1.0]], np.float32)


def targets(boxes, cls, npoints, visible, **use):
    use = {"lidar": True, "camera": True} | use
    return make_targets(boxes, np.array(cls), np.array(npoints), np.array(visible), preset=DRIVING_S, **use)


def test_a_car_by_hand():
    t = targets(CAR, [0], [50], [1.0])
    ix, iy = int(10.1 / 0.64), int((0.2 + 35.84) / 0.64)
    assert t.heatmap[0, iy, ix] == 1
    assert (t.heatmap[1:] == 0).all()
    np.testing.assert_allclose(t.heatmap[0, iy, ix + 1], np.exp(-1 / (2 * 1.1**2)), rtol=1e-6)
    assert (t.weight == 1).all()
    centre = int(np.flatnonzero(t.cell == iy * 112 + ix)[0])
    u, v = 10.1 / 0.64, (0.2 + 35.84) / 0.64
    expected = [u - ix - 0.5, v - iy - 0.5, 0.75, *np.log([4.0, 1.7, 1.5]), np.sin(0.8), np.cos(0.8), 3, -1]
    np.testing.assert_allclose(t.box[centre], expected, atol=1e-5)
    assert t.box_weight[centre] == 1
    assert len(t.cell) == 5


def test_what_no_present_sensor_sees_is_neither_wanted_nor_punished():
    for npoints, visible, use in (
        (0, 0.0, {}),
        (0, 1.0, {"camera": False}),
        (50, 0.0, {"lidar": False}),
    ):
        t = targets(CAR, [0], [npoints], [visible], **use)
        assert t.heatmap.max() == 0
        assert len(t.cell) == 0
        iy, ix = int((0.2 + 35.84) / 0.64), int(10.1 / 0.64)
        assert t.weight[iy, ix] == 0
        assert t.weight.sum() > 112 * 112 - 60
    assert targets(CAR, [-1], [50], [1.0]).heatmap.max() == 0


def test_the_nearer_centre_owns_a_cell():
    pair = np.repeat(CAR, 2, axis=0)
    pair[1, 1] += 0.64
    t = targets(pair, [1, 1], [9, 9], [1, 1])
    assert len(t.cell) == len(set(t.cell.tolist())) == 8
    assert (t.box_weight == t.box_weight.max()).sum() == 2


def test_a_cyclist_counts_for_more_than_a_car():
    weights = [targets(CAR, [kind], [9], [1.0]).box_weight.sum() for kind in (0, 1, 2)]
    np.testing.assert_allclose(weights, np.array([1.0, 1.2, 2.5]) * 2.6, rtol=1e-6)


def test_boxes_off_the_canvas_leave_nothing():
    far = CAR.copy()
    far[0, 0] = 90
    t = targets(far, [0], [9], [1.0])
    assert (t.heatmap.max(), len(t.cell), len(t.boxes)) == (0, 0, 0)
