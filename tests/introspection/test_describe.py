import json

import numpy as np

from fusion_rt.introspection import as_json, as_line
from fusion_rt.messages import Header, ImuSample, PointCloud, TracePoint

TRACE = (TracePoint("published", 1_000_000, "h"), TracePoint("received", 3_500_000, "h"))
HEADER = Header(sensor_id="lidar", frame_id="lidar", seq=7, stamp_ns=1_700_000_000_250_000_000, trace=TRACE)


def cloud(xyz):
    n = len(xyz)
    zeros = np.zeros(n, np.float32)
    return PointCloud(
        header=HEADER,
        xyz=np.array(xyz, np.float32).reshape(n, 3),
        intensity=zeros,
        t=zeros,
        ring=np.zeros(n, np.uint16),
    )


def test_arrays_are_in_short():
    plain = as_json(cloud([[1, 2, np.nan], [-4, 5, 6]]))
    assert plain["xyz"] == {"dtype": "float32", "shape": [2, 3], "not_finite": 1, "min": -4.0, "max": 6.0}
    json.dumps(plain, allow_nan=False)
    assert as_json(cloud([]))["xyz"] == {"dtype": "float32", "shape": [0, 3]}
    assert as_json(cloud([[np.nan] * 3]))["xyz"]["min"] is None


def test_lines():
    line = as_line("lidar", cloud([[1, 2, 3]]))
    assert line.startswith(
        "lidar points #7 22:13:20.250000 age 2.50 ms: xyz [1 x 3 float32 1..3], intensity [1"
    )
    imu = ImuSample(header=HEADER, specific_force=(0.0, 0.0, 9.81), angular_rate=(0.0, float("nan"), 0.0))
    assert as_line("imu", imu).endswith("specific_force (0, 0, 9.81), angular_rate (0, nan, 0)")
