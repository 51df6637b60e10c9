"""What the configuration refuses."""

import msgspec
import pytest

from fusion_rt.ego.config import EgoConfig
from fusion_rt.errors import ConfigError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"history_s": 0.2, "position_correlation_s": 0.0}, "one gap of the IMU would empty the history"),
        ({"position_correlation_s": 5.0}, "fixes would be forgotten before they are independent"),
    ],
)
def test_times_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        EgoConfig(**changes)


@pytest.mark.parametrize(
    "text", ['{"gate_chi2": 0}', '{"imu": {"gyro": -1}}', '{"still_mps": -1}', '{"x": 1}']
)
def test_values_out_of_range_are_refused(text):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=EgoConfig)
