"""The benchmark of logs, small: real processes, every row, and the report of losses to the number."""

from types import SimpleNamespace

import pytest

from fusion_rt.bench.log import loads, measure, recording, table
from fusion_rt.errors import ConfigError


def test_all_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "REPEATS", 2)
    monkeypatch.setattr(measure, "SEEKS", 20)
    folder = tmp_path
    result = measure.measure(
        folder=folder, seek_folder=folder, seconds=1.0, seek_gb=0.05, rates=(100.0,), say=lambda line: None
    )
    assert list(folder.iterdir()) == []
    (recorded,) = result.recording
    assert recorded.sent > 400
    assert result.losses.said["bus"] == result.losses.dropped > 0
    assert result.losses.said["source"] > 0
    assert result.losses.wrong == 0
    assert {s.name for s in result.reading} > {"read, packets", "read, records"}
    assert result.seeking.gb == pytest.approx(0.05, rel=0.2)
    figures = {f.name: f for f in table.figures(result)}
    assert figures["numbers whose fate the log says wrongly"].held
    text = table.markdown(result)
    for row in (
        "write, compression lz4",
        "100 MB/s for 1 s",
        "seek, open log",
        "read, mcap package, records",
    ):
        assert f"| {row} |" in text


def test_a_report_that_lies_is_noticed():
    """The judge of the losses itself."""
    sent = [0, 1, 2, 5, 6, 9]
    done = SimpleNamespace(sent={"imu": sent}, dropped={"imu": [3, 4]}, skipped={"imu": [7, 8]})
    there = recording.Counter(("imu", n) for n in sent)
    loss = recording.Loss(topic="/imu", cause="bus", messages=2, first=3, last=4)
    skip = recording.Loss(topic="/imu", cause="source", messages=2, first=7, last=8)
    assert recording._wrong(done, there, [loss, skip]) == 0
    assert recording._wrong(done, there, [loss]) == 4  # two numbers, and two too few of them
    assert (
        recording._wrong(done, there, [loss, recording.Loss(**vars_of(skip) | {"last": 9, "messages": 3})])
        == 2
    )
    assert recording._wrong(done, there + recording.Counter([("imu", 5)]), [loss, skip]) == 1


def vars_of(loss):
    return {name: getattr(loss, name) for name in loss.__struct_fields__}


def test_too_little_room(tmp_path):
    with pytest.raises(ConfigError, match=r"GB are free, 13000000\.0 are needed"):
        measure.measure(folder=tmp_path, seek_folder=tmp_path, seek_gb=1e7)


def test_loads_are_in_the_order_of_time():
    stamps = [
        (m.header.sensor_id, m.header.stamp_ns) for m in loads.messages(loads.streams(2, jpeg=True), 0.5)
    ]
    times = [stamp for _, stamp in stamps]
    assert times == sorted(times)
    assert len([s for s, _ in stamps if s == "imu"]) == 200
    assert len([s for s, _ in stamps if s == "camera_1"]) == 15
