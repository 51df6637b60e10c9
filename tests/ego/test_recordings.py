"""Recorded drives: an RTK unit, and a phone-like device with a reference made afterwards."""

import msgspec
import numpy as np
import pytest
from pyproj import Transformer
from scipy.spatial.transform import Rotation

from fusion_rt.ego.config import EgoConfig
from fusion_rt.ego.filter import EgoFilter
from fusion_rt.ego.geodesy import LocalMap
from fusion_rt.logs.kitti_oxts import oxts_rig, read_oxts
from fusion_rt.messages import GnssFix, Header, ImuSample
from fusion_rt.rig import Gnss, Imu, Pose, Rig


def recording(folder, name):
    if not (folder / name).exists():
        pytest.skip(f"no recording {folder / name}")
    return folder / name


def rms(errors):
    return float(np.sqrt(np.mean(np.sum(np.square(errors), axis=1))))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_oxts_with_noise_is_found_again(shared_data, seed):
    """Positions of an RTK unit made as bad as a consumer's (1 m, 2 m up) come back better by a third."""
    packets = list(read_oxts(recording(shared_data, "gnss/kitti_oxts/drive_tracking_0000.txt")))
    first = next(p for p in packets if isinstance(p, GnssFix))
    local_map = LocalMap(first.latitude_deg, first.longitude_deg, first.altitude_m)
    ego, rng, found, raw = EgoFilter(oxts_rig(), EgoConfig()), np.random.default_rng(seed), [], []
    for packet in packets:
        if not isinstance(packet, GnssFix):
            ego.push(packet)
            continue
        truth = local_map.to_enu(packet.latitude_deg, packet.longitude_deg, packet.altitude_m)
        error = rng.normal(0, [1.0, 1.0, 2.0])
        latitude, longitude, altitude = local_map.to_geodetic(truth + error)
        noisy = msgspec.structs.replace(
            packet,
            latitude_deg=latitude,
            longitude_deg=longitude,
            altitude_m=altitude,
            position_covariance=(1.0, 0, 0, 0, 1.0, 0, 0, 0, 4.0),
        )
        ego.push(noisy)
        if packet.header.seq > 30:
            state = ego.state_at(packet.header.stamp_ns)
            assert state.source == "imu+gnss"
            found.append(local_map.to_enu(*ego.map.to_geodetic(np.array(state.position))) - truth)
            raw.append(error)
    assert len(found) > 100
    assert rms(found) < 0.67 * rms(raw)
    assert rms(np.array(found)[:, :2]) < 0.9 * rms(np.array(raw)[:, :2])


class Segment:
    """A minute of comma2k19: stamps are seconds of the recorder's clock."""

    # The receiver's epochs have no stamp of that clock; a fix comes this long after its own, in the median.
    # With it the fixes have no offset along the road from the reference.
    latency_s = 0.09

    def __init__(self, folder):
        log, pose = folder / "processed_log", folder / "global_pose"
        self.imu_t = np.load(log / "IMU/accelerometer/t.npy")
        self.force, self.rate = (np.load(log / f"IMU/{n}/value.npy") for n in ("accelerometer", "gyro"))
        self.fixes = np.load(log / "GNSS/live_gnss_ublox/value.npy")
        came, utc = np.load(log / "GNSS/live_gnss_ublox/t.npy"), self.fixes[:, 3] / 1e3
        self.fix_t = utc - np.median(utc - came) - self.latency_s
        self.t = np.load(pose / "frame_times.npy")
        to_geodetic = Transformer.from_pipeline(
            "+proj=pipeline +step +inv +proj=cart +ellps=WGS84 +step +proj=unitconvert +xy_in=rad +xy_out=deg"
        )
        longitude, latitude, altitude = to_geodetic.transform(*np.load(pose / "frame_positions.npy").T)
        self.local_map = LocalMap(latitude[0], longitude[0], altitude[0])
        places = zip(latitude, longitude, altitude)
        self.positions = np.array([self.local_map.to_enu(*place) for place in places])
        phi, lam = np.radians([latitude[0], longitude[0]])
        up = np.array([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)])
        east = np.array([-np.sin(lam), np.cos(lam), 0.0])
        to_enu = Rotation.from_matrix(np.stack([east, np.cross(up, east), up]))
        w_first = np.load(pose / "frame_orientations.npy")
        # Device axes are forward, right, down.
        self.orientations = (
            to_enu * Rotation.from_quat(w_first[:, [1, 2, 3, 0]]) * Rotation.from_euler("x", np.pi)
        )

    def reference(self, t):
        return np.array([np.interp(t, self.t, axis) for axis in self.positions.T])

    def run(self, seed=None):
        """Errors (n, 3) of the estimate ten times a second and of the fixes, m, and of the heading (n,), rad.

        seed: adds noise of 3 m to the fixes; on a straight road they no longer tell the heading well."""
        rig = Rig(gnss={"gnss": Gnss()}, imus={"imu": Imu(pose=Pose(rpy_deg=(180.0, 0.0, 0.0)))})
        # The device is not mounted along the car's axes, so that its sideways velocity is not zero.
        correlation_s = 1.0 if seed is None else 0.0  # the added noise is white
        ego = EgoFilter(rig, EgoConfig(nonholonomic_mps=0.0, position_correlation_s=correlation_s))
        rng, added, std = np.random.default_rng(seed), 0.0 if seed is None else 3.0, 0.6
        variance = std**2 + added**2
        events = [(t, 0, i) for i, t in enumerate(self.imu_t)]
        events += [(t + self.latency_s, 1, i) for i, t in enumerate(self.fix_t)]
        found, raw, headings = [], [], []
        for now, kind, i in sorted(events):
            if kind:
                latitude, longitude, _, _, altitude, _ = self.fixes[i]
                at = self.local_map.to_enu(latitude, longitude, altitude) + rng.normal(0, 1, 3) * added
                raw.append((self.fix_t[i], at - self.reference(self.fix_t[i])))
                latitude, longitude, altitude = self.local_map.to_geodetic(at)
                ego.push(
                    GnssFix(
                        header=self.header("gnss", i, self.fix_t[i]),
                        latitude_deg=latitude,
                        longitude_deg=longitude,
                        altitude_m=altitude,
                        position_covariance=(variance, 0, 0, 0, variance, 0, 0, 0, variance + 3 * std**2),
                    )
                )
                continue
            header = self.header("imu", i, now)
            ego.push(
                ImuSample(
                    header=header,
                    specific_force=tuple(self.force[i].tolist()),
                    angular_rate=tuple(self.rate[i].tolist()),
                )
            )
            if i % 10 == 0 and self.t[0] + 10 < now < self.t[-1]:
                state = ego.state_at(header.stamp_ns)
                assert state.source == "imu+gnss"
                at = self.local_map.to_enu(*ego.map.to_geodetic(np.array(state.position)))
                found.append(at - self.reference(now))
                turn = (
                    Rotation.from_quat(state.orientation)
                    * self.orientations[np.searchsorted(self.t, now)].inv()
                )
                headings.append(turn.as_rotvec()[2])
        raw = np.array([error for t, error in raw if self.t[0] + 10 < t < self.t[-1]])
        return np.array(found), raw, np.array(headings)

    @staticmethod
    def header(sensor, seq, t):
        return Header(sensor_id=sensor, frame_id=sensor, seq=seq, stamp_ns=round(t * 1e9))


def test_comma2k19_follows_the_reference(shared_data):
    segment = Segment(recording(shared_data, "gnss/comma2k19_segment40"))
    found, raw, headings = segment.run()
    assert len(found) > 450
    assert rms(found) <= rms(raw)
    assert rms(found[:, :2]) < 0.6
    assert np.abs(headings - headings.mean()).max() < np.radians(2.0)
    assert abs(headings.mean()) < np.radians(3.0)  # how the device is mounted is not known


def test_comma2k19_with_noise_is_found_again(shared_data):
    found, raw, _ = Segment(recording(shared_data, "gnss/comma2k19_segment40")).run(seed=1)
    assert rms(found) < 0.5 * rms(raw)
