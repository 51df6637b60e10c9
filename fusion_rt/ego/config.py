"""How the ego pose is estimated: `ego:` in a scenario."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from fusion_rt.errors import ConfigError

Positive: TypeAlias = Annotated[float, Meta(gt=0)]
NotNegative: TypeAlias = Annotated[float, Meta(ge=0)]


class ImuNoise(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of a consumer MEMS unit in a vibrating car: densities, and one standard deviation of the biases at
    start.

    gyro          rad/s/sqrt(Hz)
    accel         m/s^2/sqrt(Hz)
    gyro_walk     rad/s^2/sqrt(Hz): how the bias wanders
    accel_walk    m/s^3/sqrt(Hz)
    gyro_bias     rad/s
    accel_bias    m/s^2
    """

    gyro: Positive = 2e-3
    accel: Positive = 5e-2
    gyro_walk: Positive = 2e-5
    accel_walk: Positive = 5e-4
    gyro_bias: Positive = 0.01
    accel_bias: Positive = 0.2


class OdometryConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lidar odometry: `odometry:` in `ego:`. It is KISS-ICP's and needs the extra `odometry`.

    enabled           register sweeps at all
    lidar             whose sweeps; "": the rig's first lidar
    voxel_m           edge of the voxels of its map: finer ones tell the motion better and take longer
    ground_m          points below this height over the ego frame's plane are not used: the rings on the
                      ground go with us, and hold back what is registered with them
    min_range_m       nearer points may be our own vehicle
    max_range_m       farther points are not used
    min_points        a sweep that leaves fewer, one of each 1.5 voxels, is refused: in an open field, or of a
                      blind lidar
    max_gap_s         after a longer time without a sweep the map begins anew
    max_speed_mps     a faster motion is a wrong registration, and so is
    max_change_mps2   a stronger acceleration
    position_std_m    of a sweep's place in the map, one standard deviation
    rotation_std_rad  likewise of its orientation
    """

    enabled: bool = False
    lidar: str = ""
    voxel_m: Positive = 1.0
    ground_m: float = 0.5
    min_range_m: NotNegative = 2.5
    max_range_m: Positive = 80.0
    min_points: Annotated[int, Meta(ge=10)] = 50
    max_gap_s: Positive = 1.0
    max_speed_mps: Positive = 70.0
    max_change_mps2: Positive = 20.0
    position_std_m: Positive = 0.02
    rotation_std_rad: Positive = 0.001

    def __post_init__(self) -> None:
        if self.min_range_m >= self.max_range_m:
            raise ConfigError(
                f"min_range_m {self.min_range_m} is not below max_range_m {self.max_range_m}:"
                " no point would be in range"
            )


class EgoConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the pose is estimated: `ego:` in a scenario.

    imu                     noise of the IMU
    position_floor_m        no fix is believed to be better than this
    velocity_floor_mps      likewise
    position_correlation_s  errors of fixes wander: faster fixes share the information of one in this time
    gate_chi2               squared Mahalanobis distance (3 degrees of freedom) beyond which a fix is refused;
                            16.27 refuses one good fix in a thousand
    reset_after_s           fixes refused in a row for so long mean that the filter is wrong, and not that the
                            receiver hears reflections: those last some seconds
    nonholonomic_mps        how far a car slides or jumps; 0: not a wheeled vehicle
    still_mps               slower than this, and with a calm IMU, the vehicle stands; 0: do not look
    align_speed_mps         course over ground gives the heading from this speed on
    history_s               how late a fix may come, and how far back a pose can be asked for
    max_gap_s               without IMU samples for longer, dead reckoning has lost its ground
    extrapolate_s           so far beyond the newest measurement there still is a pose
    gnss_lost_after_s       without a usable fix for longer, the source is "imu": the pose drifts
    odometry                the motion from sweep to sweep as one more measurement
    """

    imu: ImuNoise = ImuNoise()
    position_floor_m: Positive = 0.05
    velocity_floor_mps: Positive = 0.03
    position_correlation_s: NotNegative = 1.0
    gate_chi2: Positive = 16.27
    reset_after_s: Positive = 5.0
    nonholonomic_mps: NotNegative = 0.4
    still_mps: NotNegative = 0.3
    align_speed_mps: Positive = 2.0
    history_s: Positive = 1.5
    max_gap_s: Positive = 0.5
    extrapolate_s: Positive = 2.0
    gnss_lost_after_s: Positive = 3.0
    odometry: OdometryConfig = OdometryConfig()

    def __post_init__(self) -> None:
        if self.history_s < self.max_gap_s:
            raise ConfigError(
                f"history_s {self.history_s} is below max_gap_s {self.max_gap_s}:"
                " one gap of the IMU would empty the history"
            )
        if self.history_s < self.position_correlation_s:
            raise ConfigError(
                f"history_s {self.history_s} is below position_correlation_s {self.position_correlation_s}:"
                " fixes would be forgotten before they are independent"
            )
