"""driving-m with six cameras and two lidars on the card: the answers of the CPU."""

import os

import pytest
from msgspec.structs import replace

from fusion_rt.align.aligner import AlignConfig
from fusion_rt.device import CpuDevice
from fusion_rt.pipeline import FusionPipeline, PipelineConfig

STUB = os.environ.get("FUSION_RT_CUDA") == "stub"


@pytest.fixture
def told(larger_package, surround):
    rig, moment = surround

    def drive(device):
        config = PipelineConfig(
            runtime="openvino", device=device, threads=1, align=AlignConfig(triggers=("right",))
        )
        pipeline = FusionPipeline(config, rig, CpuDevice(1), larger_package)
        answers = [pipeline.push(packet) for k in range(2) for packet in moment(k)]
        return [answer for answer in answers if answer is not None]

    return drive


def without_device(prediction):
    return replace(prediction, certificate=replace(prediction.certificate, device=""))


def test_six_cameras_and_two_lidars(driver, cubin_cache, told, monkeypatch):
    monkeypatch.setattr("fusion_rt.kernels.cubins.cache_folder", lambda: cubin_cache)
    cpu, card = told("cpu"), told("cuda")
    assert [len(cpu), len(card)] == [2, 2]
    for a, b in zip(cpu, card):
        assert b.certificate.device.startswith("cuda, ")
        assert {s.status for s in b.certificate.sensors} == {"used"}
        assert len(b.certificate.sensors) == 8
        assert (b.certificate.rung, b.certificate.points_in) == ("all", 8000)
        assert len(a.objects) == pytest.approx(len(b.objects), abs=1)
        if STUB:
            assert without_device(a) == without_device(b)
