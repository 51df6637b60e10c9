"""Detectors in the pipeline: which images they tell of, what the certificate says, what a bad one costs."""

import itertools

import msgspec
import numpy as np
import pytest
from fusion_rt.nodes.fusion import FusionConfig
from msgspec.structs import replace

from fusion_rt.config import convert
from fusion_rt.detectors import folder
from fusion_rt.detectors.lookout import DetectorUse, Lookout
from fusion_rt.device import CpuDevice
from fusion_rt.errors import ConfigError
from fusion_rt.messages import PointCloud
from fusion_rt.offline import predictions
from fusion_rt.pipeline import FusionPipeline, PipelineConfig
from fusion_rt.scenario import locate

OURS = ("car", "pedestrian", "cyclist")
WHITE = np.full((288, 960, 3), 255, np.uint8)


@pytest.fixture
def uses(grid_onnx, write_recipe, tmp_path):
    """One detector that sees two cars and a person in every image."""
    model = grid_onnx((1, 1, 0, 1.0), (1, 2, 0, 0.8), (0, 1, 1, 0.6))
    folder.add(model, write_recipe(), tmp_path / "tiny", classes=OURS)
    return {"mine": DetectorUse(model=str(tmp_path / "tiny"), sensor="camera")}


@pytest.fixture
def make(rig, model_package, uses):
    def build(clock=None, uses=uses):
        config = PipelineConfig(threads=1, detectors=uses)
        return FusionPipeline(config, rig, CpuDevice(1), model_package, clock)

    return build


def drive(street, count, *, image=lambda k, image: image):
    """A sweep and an image every 0.1 s; `image` may change or drop (None) the latter."""
    for k in range(count):
        cloud, picture = street(k * 10**8, seq=k)
        shown = image(k, picture)
        if shown is not None:
            yield shown
        yield cloud


def answers(pipeline, packets):
    return [p for p in map(pipeline.push, packets) if p is not None]


@pytest.fixture
def given(make, monkeypatch):
    """A pipeline, and the images that its tracker is given at each answer."""
    pipeline, images = make(), []
    update = pipeline._tracker.update
    monkeypatch.setattr(
        pipeline._tracker, "update", lambda *a, **k: images.append(list(k["images"])) or update(*a, **k)
    )
    return pipeline, images


def test_what_it_sees_reaches_the_tracker_and_the_certificate(given, street, rig):
    pipeline, images = given
    told = answers(pipeline, drive(street, 3))
    identity = pipeline._lookout._image["camera"]["mine"].identity
    assert [p.certificate.detectors for p in told] == [{"mine": identity}] * 3
    for (seen,) in images:
        assert sorted(seen.labels.tolist()) == [0, 0, 1, 2]
        assert seen.camera == rig.cameras["camera"]
        np.testing.assert_allclose(seen.T_camera_ego, rig.cameras["camera"].T_camera_ego, atol=1e-9)
    assert "detectors" not in pipeline.counters


def test_an_old_image_says_nothing(given, street):
    pipeline, images = given
    told = answers(pipeline, drive(street, 5, image=lambda k, image: image if k < 2 else None))
    assert [len(seen) for seen in images] == [1, 1, 1, 0, 0]  # max_age_s is 0.15
    assert [bool(p.certificate.detectors) for p in told] == [True, True, True, False, False]


def test_numbers_that_are_none_are_counted(given, street):
    """Of a white image; the network looks at it all the same."""
    pipeline, images = given
    told = answers(
        pipeline, drive(street, 4, image=lambda k, image: replace(image, data=WHITE) if k == 1 else image)
    )
    assert [len(seen) for seen in images] == [1, 0, 1, 1]
    assert pipeline.counters["detectors"] == {"mine.failed": 1}
    assert told[1].certificate.sensors[0].status == "used"
    assert told[1].certificate.detectors == {}


def test_a_broken_image_is_no_image(given, street):
    pipeline, images = given

    def broken(k, image):
        return replace(image, encoding="jpeg", data=np.zeros(9, np.uint8)) if k == 1 else image

    answers(pipeline, drive(street, 3, image=broken))
    assert [len(seen) for seen in images] == [1, 0, 1]
    assert pipeline.counters["camera"] == {"accepted": 2, "malformed": 1}


def test_a_log_that_starts_again_has_no_images_yet(given, street):
    pipeline, images = given
    answers(pipeline, drive(street, 20))
    again = [p for p in drive(street, 20) if isinstance(p, PointCloud)]
    answers(pipeline, again)
    assert images[-1] == []


def test_an_image_is_where_its_camera_was(rig, uses):
    """The tracker is told of the camera at the image's own time."""
    lookout = Lookout(uses, rig, classes=OURS, device=CpuDevice(1))
    lookout.see("camera", np.full((288, 960, 3), 9, np.uint8), bgr=True)
    moved = rig.cameras["camera"].T_camera_ego.copy()
    moved[2, 3] += 1.0
    (seen,), _ = lookout.seen({"camera": moved})
    np.testing.assert_array_equal(seen.T_camera_ego, moved)
    assert lookout.seen({}) == ([], {})


def test_its_time_is_a_stage_of_its_own(make, street, uses):
    ticks = itertools.count(step=1_000_000)
    with_it, without = (
        answers(make(clock=lambda: next(ticks), uses=chosen), drive(street, 3))[-1].certificate.stage_ms
        for chosen in (uses, {})
    )
    assert with_it["detect"] == 1.0
    assert list(without) == [stage for stage in with_it if stage != "detect"]


def test_a_sensor_that_is_no_camera(rig, uses):
    for sensor, hint in (("camra", "did you mean 'camera'"), ("lidar", "no camera of the rig")):
        wrong = {"mine": replace(uses["mine"], sensor=sensor)}
        with pytest.raises(ConfigError, match=rf"detectors\.mine\.sensor: '{sensor}'.*{hint}"):
            Lookout(wrong, rig, classes=OURS, device=CpuDevice(1))


def test_a_scenario_names_them(uses):
    data = {"rig": "rig.yaml", "detectors": {"mine": {"model": uses["mine"].model, "sensor": "camera"}}}
    assert convert(data, FusionConfig, "here").detectors == uses
    data["detectors"]["mine"]["senser"] = data["detectors"]["mine"].pop("sensor")
    with pytest.raises(ConfigError, match=r"detectors\.mine\.senser: unknown key, did you mean 'sensor'"):
        convert(data, FusionConfig, "here")


def test_the_bundled_drive_gives_the_same_bytes(uses):
    config = PipelineConfig(threads=1, detectors=uses)

    def replayed(config):
        told = itertools.islice(predictions(locate("bundled:drive.mcap"), config), 8)
        return b"\n".join(map(msgspec.json.encode, told))

    once = replayed(config)
    assert replayed(config) == once
    assert b'"detectors":{"mine":"tiny-' in once


def test_what_it_does_not_show_is_less_sure(grid_onnx, write_recipe, tmp_path):
    """A detector that never sees anything: the car ahead of the bundled drive is doubted."""
    folder.add(grid_onnx(), write_recipe(), tmp_path / "blind", classes=OURS)

    def existence(uses):
        config = PipelineConfig(threads=1, detectors=uses)
        told = itertools.islice(predictions(locate("bundled:drive.mcap"), config), 3)
        return next(o.existence for p in told for o in p.objects if abs(o.center[1]) < 1 < o.center[0] < 12)

    blind = DetectorUse(model=str(tmp_path / "blind"), sensor="camera")
    assert existence({"blind": blind}) < existence({}) - 0.001
