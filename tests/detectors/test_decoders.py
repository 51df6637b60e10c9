"""The arithmetic of the image families, worked by hand."""

import numpy as np
import pytest

from fusion_rt.detectors import boxes, grid, yolox
from fusion_rt.detectors.found import Found, joined, suppressed
from fusion_rt.errors import EngineError


def test_a_cell_of_a_grid():
    cells = np.zeros((7, 2, 3), np.float32)
    cells[:, 1, 2] = (0.81, np.arctanh(0.5), 0.0, 0.0, np.log(1 / 3), 0.2, 0.64)
    found = grid.decode(cells, width=30, height=20, score_power=0.6)
    assert found.boxes.shape == (6, 4)
    # Middle (2 + 0.5) / 3 of 30 and 1 / 2 of 20; sigmoid(0) = 1/2 of 30 and sigmoid(log 1/3) = 1/4 of 20.
    np.testing.assert_allclose(found.boxes[5], (25 - 7.5, 10 - 2.5, 25 + 7.5, 10 + 2.5), rtol=1e-6)
    assert found.scores[5] == pytest.approx(0.81**0.6 * 0.64**0.4)
    assert found.labels[5] == 1
    assert found.scores[:5].tolist() == [0] * 5


def test_heads_of_several_strides():
    """16 x 24 px: 2 x 3 cells of 8 px, then 1 x 1 of 16 px."""
    cells = np.zeros((7, 7), np.float32)
    cells[5] = (0.5, 0.25, np.log(2), np.log(3), 0.5, 0.1, 0.8)  # row 1, column 2 of the first head
    cells[6] = (0.0, 1.0, 0.0, np.log(0.5), 1.0, 0.9, 0.0)
    found = yolox.decode(cells, width=24, height=16, strides=(8, 16), decoded=False)
    np.testing.assert_allclose(found.boxes[5], (20 - 8, 10 - 12, 20 + 8, 10 + 12), rtol=1e-6)
    np.testing.assert_allclose(found.boxes[6], (-8, 16 - 4, 8, 16 + 4), rtol=1e-6)
    assert found.scores[5:].tolist() == pytest.approx([0.4, 0.9])
    assert found.labels[5:].tolist() == [1, 0]
    pixels = cells.copy()
    pixels[5, :4] = (20, 10, 16, 24)
    again = yolox.decode(pixels, width=24, height=16, strides=(8, 16), decoded=True)
    np.testing.assert_allclose(again.boxes[5], found.boxes[5], rtol=1e-6)


def test_a_size_too_large_for_a_number_is_no_box():
    cells = np.array([[0, 0, 1e9, 0, 1, 1]], np.float32)
    found = yolox.decode(cells, width=8, height=8, strides=(8,), decoded=False)
    assert not np.isfinite(found.boxes).all()


@pytest.mark.parametrize(
    ("form", "given"),
    [
        ("xyxy", (1, 2, 5, 10)),
        ("yxyx", (2, 1, 10, 5)),
        ("xywh", (1, 2, 4, 8)),
        ("cxcywh", (3, 6, 4, 8)),
    ],
)
@pytest.mark.parametrize("normalised", [False, True])
def test_boxes_in_every_form(form, given, normalised):
    size = (10, 20) if form != "yxyx" else (20, 10)
    given = np.array([[given, given]], np.float32) / (np.tile(size, 2) if normalised else 1)
    found = boxes.decode(
        given,
        np.array([[0.5, 2.0]], np.float32),
        np.array([[2, 0]]),
        width=10,
        height=20,
        form=form,
        normalised=normalised,
        first_label=1,
    )
    np.testing.assert_allclose(found.boxes, [(1, 2, 5, 10)], rtol=1e-6)
    assert (found.scores.tolist(), found.labels.tolist()) == ([0.5], [1])  # the other is background


def test_boxes_of_other_lengths_are_refused():
    with pytest.raises(EngineError, match=r"boxes are \(3, 4\), scores \(2,\), labels \(3,\)"):
        boxes.decode(
            np.zeros((3, 4)),
            np.zeros(2),
            np.zeros(3),
            width=9,
            height=9,
            form="xyxy",
            normalised=False,
            first_label=0,
        )


def test_of_overlapping_boxes_of_a_class_the_best_stays():
    found = Found(
        np.array([[0, 0, 10, 10], [1, 0, 11, 10], [1, 0, 11, 10], [20, 0, 30, 10.0]]),
        np.array([0.5, 0.9, 0.4, 0.6]),
        np.array([0, 0, 1, 0]),
    )
    kept = suppressed(found, 0.5)
    assert kept.scores.tolist() == [0.9, 0.6, 0.4]
    assert kept.labels.tolist() == [0, 0, 1]
    assert len(suppressed(found, 0.95).scores) == 4
    assert len(suppressed(found.where(np.zeros(4, bool)), 0.5).scores) == 0
    assert len(joined([found, found]).scores) == 8
