"""The pipeline on a card: the answers of the CPU; and without the card, when it is lost, the stream goes
on."""

import itertools
import os

import numpy as np
import pytest
from msgspec.structs import replace

from fusion_rt import logs, offline
from fusion_rt.errors import ConfigError, DeviceError
from fusion_rt.pipeline import FusionPipeline, PipelineConfig
from fusion_rt.scenario import locate

STUB = os.environ.get("FUSION_RT_CUDA") == "stub"
ANSWERS = 8
BEFORE = 60  # packets: some answers


@pytest.fixture
def drive(driver, monkeypatch, cubin_cache):
    """The bundled recording; kernels come from the tests' own cache."""
    monkeypatch.setattr("fusion_rt.kernels.cubins.cache_folder", lambda: cubin_cache)
    return locate("bundled:drive.mcap")


def told(drive, count=ANSWERS, **settings):
    config = PipelineConfig(threads=1, **({"runtime": "openvino"} | settings))
    return list(itertools.islice(offline.predictions(drive, config), count))


def without_device(prediction):
    return replace(prediction, certificate=replace(prediction.certificate, device=""))


def test_the_bundled_drive_gives_the_cpu_s_answers(drive):
    cpu, cuda = told(drive, device="cpu"), told(drive, device="cuda")
    assert cpu[-1].objects
    assert {p.certificate.device for p in cpu} == {"cpu, 1 thread"}
    assert all(p.certificate.device.startswith("cuda, ") for p in cuda)
    if STUB:
        assert [without_device(p) for p in cuda] == [without_device(p) for p in cpu]
    for a, b in zip(cpu, cuda, strict=True):
        assert len(a.objects) == pytest.approx(len(b.objects), abs=1)


def test_a_runtime_of_the_cpu_stays_there_unless_told_otherwise(drive):
    assert told(drive, 1)[0].certificate.device == "cpu, 1 thread"


def test_an_unknown_device_is_refused():
    from fusion_rt.config import convert

    with pytest.raises(ConfigError, match=r"device.*'cud'|'cud'.*device|Invalid enum value 'cud'"):
        convert({"device": "cud"}, PipelineConfig, "fusion")


@pytest.fixture
def pipeline_of(drive, stub):
    def make():
        with logs.open(drive) as log:
            pipeline = FusionPipeline.from_config(
                PipelineConfig(threads=1, device="cuda", runtime="openvino"), log.rig
            )
            packets = list(itertools.islice(log, 2 * BEFORE))
        return pipeline, packets

    return make


@pytest.mark.parametrize(
    ("call", "code", "after"),
    [
        ("cuMemcpyHtoDAsync_v2", 719, 0),  # an image comes
        ("cuLaunchKernel", 719, 3),
        ("cuLaunchKernel", 700, 25),  # while the network is fed
        ("cuStreamSynchronize", 999, 6),
    ],
)
def test_a_lost_card_costs_no_answer(pipeline_of, stub, call, code, after):
    pipeline, packets = pipeline_of()
    answers = [p for p in map(pipeline.push, packets[:BEFORE]) if p is not None]
    stub.fail(call, after, code, 1)
    more = [p for p in map(pipeline.push, packets[BEFORE:]) if p is not None]
    assert answers
    assert len(answers) + len(more) == sum(p.header.sensor_id == "lidar" for p in packets)
    assert pipeline.counters["engine"] == {"fallen": 1}
    last = more[-1].certificate
    assert last.device == "cpu, 1 thread"
    assert last.engine_reason.startswith("openvino: ")
    assert "CUDA: " in last.engine_reason
    assert last.rung == "all"
    assert more[-1].objects


def test_a_card_that_is_full_at_the_start(drive, stub):
    stub.room(1 << 20)
    with pytest.raises(DeviceError, match="CUDA_ERROR_OUT_OF_MEMORY"):
        told(drive, 1, device="cuda")


def test_memory_used_up_in_mid_run(pipeline_of, stub):
    """A denser sweep than ever before finds no room: the CPU takes it."""
    before = stub.used()
    pipeline, packets = pipeline_of()
    answers = [p for p in map(pipeline.push, packets[:BEFORE]) if p is not None]
    assert answers
    stub.room(stub.used())
    cloud = next(p for p in packets[BEFORE:] if p.header.sensor_id == "lidar")
    many = 20
    dense = replace(
        cloud,
        xyz=np.tile(cloud.xyz, (many, 1)),
        intensity=np.tile(cloud.intensity, many),
        t=np.tile(cloud.t, many),
        ring=np.tile(cloud.ring, many),
    )
    told = pipeline.push(dense)
    assert told is not None
    assert told.certificate.points_in == many * len(cloud.xyz)
    assert "CUDA_ERROR_OUT_OF_MEMORY" in told.certificate.engine_reason
    assert stub.used() == before, "the card's memory is given back"
