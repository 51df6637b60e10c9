"""The pipeline on a card: the answers of the CPU; and without the card, when it is lost, the stream goes
on."""

import errno
import gc
import itertools
import os
import shutil

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
    stub.room(0)
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


AUTO = {"runtime": "auto"}


def on_cpu_because(told, why):
    """Every answer was given, by OpenVINO on the CPU, and says why."""
    assert len(told) == ANSWERS
    for prediction in told:
        certificate = prediction.certificate
        assert certificate.engine.startswith("openvino-")
        assert certificate.device == "cpu, 1 thread"
        assert why in certificate.engine_reason
        assert certificate.rung == "all"
    assert told[-1].objects


def test_a_driver_that_is_too_old(drive, stub, monkeypatch):
    monkeypatch.setenv("FRT_STUB_VERSION", "12080")
    on_cpu_because(
        told(drive, **AUTO),
        "a card of the tests: the NVIDIA driver speaks CUDA 12.8, our kernels need 13.0; update it to",
    )
    with pytest.raises(DeviceError, match=r"speaks CUDA 12.8.*see `fusion-rt doctor`, or use `device: cpu`"):
        told(drive, 1, device="cuda")


def test_a_card_without_half_precision(drive, stub, monkeypatch):
    monkeypatch.setenv("FRT_STUB_CAPABILITY", "61")
    on_cpu_because(told(drive, **AUTO), "a card of the tests: sm_61 is too old; sm_75 or newer is wanted")


def test_a_card_that_does_not_answer(drive, stub):
    stub.fail("cuInit", 0, 999, 1)
    on_cpu_because(told(drive, **AUTO), "cuInit: ")


def test_a_card_that_is_full_before_we_come(drive, stub):
    gc.collect()  # else what other tests have left goes on the way
    before = stub.used(), stub.contexts()
    stub.room(16)
    on_cpu_because(told(drive, **AUTO), "allocate 0.0 MiB on the card: CUDA_ERROR_OUT_OF_MEMORY")
    assert (stub.used(), stub.contexts()) == before, "what was had is given back"


def test_a_card_on_which_only_the_network_finds_no_room(drive, stub):
    """The device is there, its buffers are not."""
    stub.room(1 << 20)
    found = told(drive, runtime="auto", device="cuda")
    on_cpu_because(found, "openvino: CUDA: allocate ")
    on_cpu_because(found, "CUDA_ERROR_OUT_OF_MEMORY")


def test_a_card_for_which_no_engine_is_installed(drive, stub):
    found = told(drive, **AUTO)
    for runtime in ("tensorrt", "tensorrt-rtx", "torch-cuda", "onnxruntime-cuda"):
        on_cpu_because(found, f"{runtime}: ")


def test_a_network_that_says_nothing_finite(pipeline_of, stub):
    """The card's answer is refused; the CPU looks at the very same packets."""
    pipeline, packets = pipeline_of()
    answers = [p for p in map(pipeline.push, packets[:BEFORE]) if p is not None]
    perception = pipeline._engines.perception
    network, device = perception._bev, perception._device
    run = network.run

    def poisoned():
        run()
        heatmap = device.fetch(network.outputs["heatmap"])
        heatmap[0, 0, 5, 5] = np.nan
        device.upload(heatmap, network.outputs["heatmap"])

    network.run = poisoned
    more = [p for p in map(pipeline.push, packets[BEFORE:]) if p is not None]
    assert len(answers) + len(more) == sum(p.header.sensor_id == "lidar" for p in packets)
    for prediction in more:
        certificate = prediction.certificate
        assert "values that are not finite: 1 of bev" in certificate.engine_reason
        assert (certificate.device, certificate.rung) == ("cpu, 1 thread", "all")
    assert pipeline.counters["engine"] == {"fallen": 1}


@pytest.fixture
def copied_cache(cubin_cache, tmp_path, monkeypatch, drive, stub):
    """A cache of kernels that a test may spoil, and one of its files."""
    told(drive, 1, device="cuda")  # so that there is one
    folder = shutil.copytree(cubin_cache, tmp_path / "cubins")
    monkeypatch.setattr("fusion_rt.kernels.cubins.cache_folder", lambda: folder)
    return folder, next(folder.glob("deskew-sm_90-*"))


def test_a_damaged_cubin_costs_time_only(drive, copied_cache, capfd):
    _, file = copied_cache
    file.write_bytes(file.read_bytes()[:-9])
    (answer,) = told(drive, 1, device="cuda")
    assert answer.certificate.device.startswith("cuda, ")
    assert f"{file} was damaged: compiled again" in capfd.readouterr().err
    told(drive, 1, device="cuda")
    assert "damaged" not in capfd.readouterr().err


def test_a_cache_of_kernels_that_cannot_be_written(drive, copied_cache, capfd, monkeypatch):
    folder, file = copied_cache
    file.unlink()

    def refused(*arguments, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        patch.setattr("fusion_rt.kernels.cubins.tempfile.NamedTemporaryFile", refused)
        (answer,) = told(drive, 1, device="cuda")
    assert answer.certificate.device.startswith("cuda, ")
    assert f"{folder} cannot be written (Read-only file system)" in capfd.readouterr().err
    assert not file.exists()
