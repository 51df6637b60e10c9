"""driving-m with six cameras and two lidars, through the whole pipeline."""

import numpy as np
import pytest

from fusion_rt.align.aligner import AlignConfig
from fusion_rt.device import CpuDevice
from fusion_rt.pipeline import FusionPipeline, PipelineConfig


@pytest.fixture
def pipeline(larger_package, surround):
    config = PipelineConfig(runtime="openvino", threads=1, align=AlignConfig(triggers=("right",)))
    return FusionPipeline(config, surround[0], CpuDevice(1), larger_package)


def answers(pipeline, moment, count=2, without=()):
    told = []
    for k in range(count):
        for packet in moment(k):
            if packet.header.sensor_id not in without:
                answer = pipeline.push(packet)
                told += [answer] if answer is not None else []
    return told


def test_all_eight_sensors_make_one_answer(pipeline, surround):
    rig, moment = surround
    told = answers(pipeline, moment)
    assert len(told) == 2
    for answer in told:
        certificate = answer.certificate
        assert certificate.model.startswith("driving-m-")
        assert {s.sensor_id: s.status for s in certificate.sensors} == dict.fromkeys(
            [*rig.cameras, *rig.lidars], "used"
        )
        assert certificate.rung == "all"
        assert certificate.points_in == 2 * 4000
        assert certificate.points_dropped == {}


def test_each_camera_lights_its_part_of_the_ground(pipeline, surround):
    _, moment = surround
    answers(pipeline, moment, 1)
    grid = pipeline._engines.perception.spec.head
    depth = pipeline._engines.perception._bev.inputs["camera_depth"][0, :, :, 0]
    x = grid.x_min + (np.arange(grid.nx) + 0.5) * grid.cell_m
    y = grid.y_min + (np.arange(grid.ny) + 0.5) * grid.cell_m
    lit = depth.reshape(grid.ny, grid.nx) > 0
    assert lit[:, x > 20].mean() > 0.8
    assert lit[:, x < -20].mean() > 0.8  # from the cameras that look back
    assert lit[y > 20].mean() > 0.3
    assert lit[y < -20].mean() > 0.3


def test_a_camera_and_a_lidar_may_be_missing(pipeline, surround):
    _, moment = surround
    told = answers(pipeline, moment, 1, without=("camera_60", "left"))
    (certificate,) = [answer.certificate for answer in told]
    assert certificate.rung == "in_time"
    assert certificate.points_in == 4000
    missing = {s.sensor_id for s in certificate.sensors if s.status != "used"}
    assert missing == {"camera_60", "left"}
