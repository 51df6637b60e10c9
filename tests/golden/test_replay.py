"""A recording gives the same answers, byte for byte: again, in another process, on more threads."""

import io
import itertools
import subprocess
import sys

import cv2
import msgspec
import pytest
from msgspec import structs

from fusion_rt import logs, offline
from fusion_rt.images import decode_image
from fusion_rt.messages import Image, Prediction
from fusion_rt.models.package import WEIGHTS
from fusion_rt.pipeline import FusionPipeline, PipelineConfig
from fusion_rt.scenario import locate

REPLAY = """
import itertools, sys
from fusion_rt import offline
from fusion_rt.pipeline import FusionPipeline, PipelineConfig
log, model, count = sys.argv[1:]
answers = offline.predictions(log, PipelineConfig(model=model, threads=1))
for prediction in itertools.islice(answers, int(count)):
    offline.write_line(prediction, sys.stdout.buffer)
"""


def lines(log, model, *, threads=1, count=None):
    out = io.BytesIO()
    answers = offline.predictions(log, PipelineConfig(model=str(model), threads=threads))
    for prediction in itertools.islice(answers, count):
        offline.write_line(prediction, out)
    return out.getvalue()


def in_another_process(log, model, count):
    command = [sys.executable, "-I", "-c", REPLAY, str(log), str(model), str(count)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_twice_and_in_another_process(recording, model_package):
    once = lines(recording, model_package.folder)
    assert lines(recording, model_package.folder) == once
    assert in_another_process(recording, model_package.folder, 1000) == once


def test_threads_change_nothing_but_their_number(recording, model_package):
    one, two = (lines(recording, model_package.folder, threads=n) for n in (1, 2))
    assert one.replace(b"cpu, 1 thread", b"cpu, 2 threads") == two


def test_what_is_written_can_be_read(recording, model_package):
    told = []
    answers = list(
        offline.predictions(recording, PipelineConfig(model=str(model_package.folder)), told.append)
    )
    written = io.BytesIO()
    for answer in answers:
        offline.write_line(answer, written)
    read = [msgspec.json.decode(line, type=Prediction) for line in written.getvalue().splitlines()]
    assert read == answers
    with logs.open(recording) as log:
        sweeps = [p.header.stamp_ns for p in log if p.header.sensor_id == "lidar"]
    assert [p.header.stamp_ns for p in read] == sweeps
    assert {p.certificate.rung for p in read[1:]} == {"all"}
    assert any(p.objects for p in read)
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_reading_ahead_changes_nothing(recording, model_package, tmp_path):
    """Also where an image does not decode: the pipeline refuses it by itself."""
    with logs.open(recording) as log:
        packets, rig = list(log), log.rig
    images = [i for i, packet in enumerate(packets) if isinstance(packet, Image)]
    broken = packets[images[1]]
    jpeg = cv2.imencode(".jpg", decode_image(broken))[1].ravel()
    for i, data in ((images[1], jpeg[:40]), (images[2], jpeg)):
        packets[i] = structs.replace(packets[i], encoding="jpeg", data=data)
    damaged = tmp_path / "damaged.mcap"
    with logs.LogWriter(damaged, rig) as log:
        for packet in packets:
            log.write(packet)
    config = PipelineConfig(model=str(model_package.folder))
    pipeline = FusionPipeline.from_config(config, rig)
    with logs.open(damaged) as log:
        answers = [answer for packet in log if (answer := pipeline.push(packet)) is not None]
    assert list(offline.predictions(damaged, config)) == answers
    assert pipeline.counters[broken.header.sensor_id]["malformed"] == 1


@pytest.mark.skipif(
    not (WEIGHTS / "driving-s" / "model.yaml").is_file(), reason="no weights in this checkout"
)
def test_the_model_that_ships(recording):
    once = lines(recording, "driving-s", count=4)
    assert in_another_process(recording, "driving-s", 4) == once
    assert lines(recording, "driving-s", threads=2, count=4).replace(b"2 threads", b"1 thread") == once


@pytest.mark.skipif(
    not (WEIGHTS / "driving-s" / "model.yaml").is_file(), reason="no weights in this checkout"
)
def test_the_car_ahead_keeps_its_number():
    """In the bundled drive one goes ahead at 36 km/h, seven to ten metres away."""
    numbers, speeds = [], []
    for prediction in itertools.islice(
        offline.predictions(locate("bundled:drive.mcap"), PipelineConfig()), 30
    ):
        ahead = [o for o in prediction.objects if abs(o.center[1]) < 1 and 6 < o.center[0] < 11]
        numbers += [o.track_id for o in ahead if o.label == "car"]
        speeds += [o.velocity[0] for o in ahead if o.label == "car"]
    assert len(numbers) >= 28
    assert len(set(numbers)) == 1
    assert abs(sum(speeds[10:]) / len(speeds[10:]) - 10.2) < 1.0
