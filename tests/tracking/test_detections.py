import numpy as np
import pytest
from msgspec.structs import replace

from fusion_rt.errors import MessageError


@pytest.mark.parametrize(
    ("field", "shape"),
    [("boxes", (2, 6)), ("velocity", (2, 3)), ("labels", (1,)), ("std", (2, 4)), ("scores", (3, 3))],
)
def test_shapes_are_checked(detections, field, shape):
    with pytest.raises(MessageError, match=rf"detections.{field}"):
        replace(detections([(1, 2, 3), (4, 5, 6)]), **{field: np.zeros(shape)})


def test_where_keeps_rows_together(detections):
    found = detections([(1, 2, 0.1), (4, 5, 0.2), (7, 8, 0.3)], label=[0, 1, 2], velocity=np.ones((3, 2)))
    kept = found.where(np.array([True, False, True]))
    assert kept.boxes[:, 0].tolist() == [1, 7]
    assert kept.labels.tolist() == [0, 2]
    assert kept.velocity_known.tolist() == [True, True]
    assert all(len(getattr(kept, f)) == 2 for f in ("velocity", "scores", "std", "contributions"))
