"""Answers against the truth of a drive."""

import pickle

import numpy as np
import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from fusion_rt.cli import app
from fusion_rt.ego.estimate import unknown
from fusion_rt.errors import LogError
from fusion_rt.evaluation import lost_sensors
from fusion_rt.evaluation.drive import pairs
from fusion_rt.evaluation.drive_scores import Comparison
from fusion_rt.evaluation.lost_sensors import LostSensors
from fusion_rt.logs.truth import TruthFrame, TruthObject
from fusion_rt.messages import ForecastPoint, Header, Prediction, TrackedObject
from fusion_rt.pipeline import PipelineConfig
from fusion_rt.transforms import from_translation_rpy, inverse

SPEED, STEP_NS, FRAMES = 5.0, 100_000_000, 50


def place(k):
    """We drive along y at 10 m/s, turned a quarter."""
    return from_translation_rpy(np.array([3.0, k * 1.0, 0.0]), (0, 0, np.pi / 2))


def frame(k, points=9):
    """A car 20 m ahead drives away at 5 m/s more than we do; one far aside is not judged."""
    T = place(k)
    ahead = inverse(T) @ np.array([3.0, 20.0 + k * (1.0 + SPEED / 10), 0.7, 1.0])
    car = TruthObject(
        track_id=7,
        label="car",
        center=tuple(ahead[:3].tolist()),
        size=(4.2, 1.8, 1.5),
        yaw=0.0,
        velocity=(10.0 + SPEED, 0.0),
        points=points,
    )
    aside = replace(car, track_id=8, center=(5.0, 60.0, 0.7))
    return TruthFrame(
        stamp_ns=k * STEP_NS,
        sensor_id="lidar",
        T_map_ego=tuple(T.ravel().tolist()),
        velocity=(0.0, 10.0, 0.0),
        objects=(car, aside),
    )


def answer(k, *, off=(0.0, 0.0), number=1, label="car", hits=9, velocity=(15.0, 0.0)):
    car = frame(k).objects[0]
    x, y, z = car.center
    forecast = tuple(ForecastPoint(t, x + off[0] + velocity[0] * t, y, 0.0, 1.0) for t in (1.0, 2.0, 3.0))
    thing = TrackedObject(
        track_id=number,
        label=label,
        class_probabilities={label: 1.0},
        existence=0.9,
        center=(x + off[0], y + off[1], z),
        size=car.size,
        yaw=0.1,
        box_covariance=tuple(np.diag([0.04, 0.04, 0.01, 0.01]).ravel().tolist()),
        velocity=velocity,
        velocity_covariance=(1.0, 0.0, 0.0, 1.0),
        yaw_rate=0.0,
        age_s=1.0,
        hits=hits,
        coasting_s=0.0,
        contributions={"lidar": 1.0},
        forecast=forecast,
    )
    ego = replace(unknown(k * STEP_NS), source="imu", velocity=(0.0, 10.5, 0.0))
    return Prediction(
        header=Header(sensor_id="fusion", frame_id="ego", seq=k, stamp_ns=k * STEP_NS),
        objects=(thing,),
        ego=ego,
        certificate=None,
    )


def compared(answers, frames=None):
    comparison = Comparison(("car", "pedestrian"))
    comparison.add(answers, frames or [frame(k) for k in range(FRAMES)])
    return comparison, comparison.rows()[0]


def test_perfect_answers():
    """In the ego frame of its moment, a car at 15 m/s is 15 m farther a second later."""
    comparison, cars = compared([answer(k) for k in range(FRAMES)])
    assert (cars.objects, cars.recall, cars.precision, cars.mota, cars.switches) == (FRAMES, 1, 1, 1, 0)
    assert (cars.position_m, cars.velocity_mps, cars.velocity_moving_mps, cars.nees) == (0, 0, 0, 0)
    np.testing.assert_allclose(cars.forecast_m, 0, atol=1e-9)
    assert cars.yaw_deg == pytest.approx(np.degrees(0.1))
    assert comparison.speed_errors == [pytest.approx(0.5)] * FRAMES
    nobody = comparison.rows()[1]
    assert (nobody.objects, nobody.recall, nobody.mota, nobody.forecast_m) == (0, None, None, (None,) * 3)


def test_errors_are_what_they_are():
    _, cars = compared([answer(k, off=(0.3, 0.4), velocity=(13.0, 0.0)) for k in range(FRAMES)])
    assert cars.position_m == pytest.approx(0.5)
    assert cars.nees == pytest.approx(0.25 / 0.04)
    assert cars.velocity_mps == cars.velocity_moving_mps == pytest.approx(2.0)
    np.testing.assert_allclose(cars.forecast_m, [1.7, 3.7, 5.7])


def test_misses_switches_and_false_alarms():
    answers = [answer(k, number=1 if k < 25 else 2) for k in range(FRAMES)]
    answers[10] = replace(answers[10], objects=())
    answers[20] = answer(20, off=(0.0, 5.0))
    answers[30] = answer(30, label="pedestrian")
    _, cars = compared(answers)
    assert cars.recall == pytest.approx((FRAMES - 3) / FRAMES)
    assert cars.precision == pytest.approx((FRAMES - 3) / (FRAMES - 2))
    assert cars.switches == 1
    assert cars.mota == pytest.approx(1 - (3 + 1 + 1) / FRAMES)


def test_an_object_without_points_may_be_found_or_not():
    hidden = [frame(k, points=0) for k in range(FRAMES)]
    _, cars = compared([answer(k) for k in range(FRAMES)], hidden)
    assert (cars.objects, cars.precision, cars.recall) == (0, None, None)


def test_young_tracks_are_not_judged_by_their_motion():
    _, cars = compared([answer(k, hits=2) for k in range(FRAMES)])
    assert cars.recall == 1
    assert cars.position_m is None


def test_a_time_without_an_answer_misses_what_is_there():
    frames = [frame(k) for k in range(FRAMES)]
    comparison = Comparison(("car",))
    comparison.add([answer(k) for k in range(10)], frames, due=frames[:20])
    (cars,) = comparison.rows()
    assert (cars.objects, cars.recall, cars.precision) == (20, 0.5, 1.0)


def test_drives_judged_apart_are_the_same_together():
    drives = [
        [answer(k) for k in range(FRAMES)],
        [answer(k, off=(0.3, 0.1), number=1 + k // 20, velocity=(13.0, 0.1)) for k in range(0, FRAMES, 3)],
        [answer(k, label="pedestrian") for k in range(7)],
    ]
    frames = [frame(k) for k in range(FRAMES)]
    one_by_one, together = Comparison(("car", "pedestrian")), Comparison(("car", "pedestrian"))
    for answers in drives:
        one_by_one.add(answers, frames, due=frames[:9])
        apart = Comparison(("car", "pedestrian"))
        apart.add(answers, frames, due=frames[:9])
        together.join(pickle.loads(pickle.dumps(apart)))
    assert together.rows() == one_by_one.rows()
    assert together.speed_errors == one_by_one.speed_errors
    assert (together.drives, together.predictions) == (one_by_one.drives, one_by_one.predictions)


def test_a_silent_sensor_judged_apart_is_the_same_together(monkeypatch):
    """What the engine would say without a sensor is every second answer."""
    whole, frames = [answer(k) for k in range(FRAMES)], [frame(k) for k in range(FRAMES)]
    monkeypatch.setattr(lost_sensors, "_without", lambda log, config, lost, *when: whole[:: len(lost) + 1])
    one_by_one, together = LostSensors(("car",)), LostSensors(("car",))
    for part in (whole, whole[:35]):
        one_by_one.add(None, part, frames, None)
        apart = LostSensors(("car",))
        apart.add(None, part, frames, None)
        together.join(apart)
    assert together.rows() == one_by_one.rows()
    recalls = [row.scores.recall for row in together.rows()]
    assert 0 < min(recalls) < max(recalls)


def test_what_a_silent_sensor_costs(tmp_path):
    """The truth is what the engine itself says of the bundled recording: with nothing lost all is found."""
    from fusion_rt.offline import predictions
    from fusion_rt.scenario import locate

    log, config = locate("bundled:drive.mcap"), PipelineConfig()
    whole = list(predictions(log, config))
    frames = [
        TruthFrame(
            stamp_ns=p.header.stamp_ns,
            sensor_id="lidar",
            T_map_ego=tuple(np.eye(4).ravel().tolist()),
            velocity=(0.0, 0.0, 0.0),
            objects=tuple(
                TruthObject(
                    track_id=o.track_id,
                    label=o.label,
                    center=o.center,
                    size=o.size,
                    yaw=o.yaw,
                    velocity=o.velocity,
                    points=9,
                )
                for o in p.objects
            ),
        )
        for p in whole
    ]
    silent = LostSensors(("car",))
    silent.add(log, whole, frames, config)
    scores = {row.lost: row.scores for row in silent.rows()}
    assert list(scores) == ["nothing", "lidar", "camera", "GNSS/IMU", "GNSS/IMU always"]
    assert scores["nothing"].objects > 10
    assert scores["nothing"].recall == scores["nothing"].precision == 1
    assert {s.objects for s in scores.values()} == {scores["nothing"].objects}
    assert scores["lidar"].recall < 1
    assert scores["lidar"].recall < scores["camera"].recall


def test_a_real_drive(tmp_path):
    """The bundled recording with an empty truth: every file is read, nothing is compared."""
    with pytest.raises(LogError, match="no recording"):
        pairs(tmp_path)
    from fusion_rt.scenario import locate

    (tmp_path / "a.mcap").symlink_to(locate("bundled:drive.mcap"))
    (tmp_path / "a.truth.jsonl").write_text("")
    (tmp_path / "b.mcap").write_bytes(b"no log")
    (tmp_path / "b.truth.jsonl").write_text("")
    done = CliRunner().invoke(app, ["eval", "drive", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "a.mcap, b.mcap: 1 drives, " in done.stdout
    assert "left out: " in done.stderr
    assert "b.mcap" in done.stderr
    (tmp_path / "a.truth.jsonl").write_text("{}")
    done = CliRunner().invoke(app, ["eval", "drive", str(tmp_path)])
    assert isinstance(done.exception, LogError)
    assert "a.truth.jsonl:1: not a frame of truth" in str(done.exception)
