import pytest
from msgspec.structs import replace

from fusion_rt.batch import mapping
from fusion_rt.batch.mapping import Failed, Workers, map_logs
from fusion_rt.errors import LogError
from fusion_rt.models.package import ModelPackage
from fusion_rt.pipeline import PipelineConfig


def test_in_order_as_they_come():
    seen = []
    results = map_logs(lambda n: seen.append(n) or n * n, [3, 1, 2])
    assert next(results) == 9
    assert seen == [3]
    assert list(results) == [1, 4]


def test_an_error_of_ours_takes_the_place_of_a_result():
    def read(name):
        if name == "b":
            raise LogError("b: damaged")
        return name

    assert list(map_logs(read, ["a", "b", "c"])) == ["a", Failed("b: damaged"), "c"]


def test_another_error_is_raised():
    results = map_logs(lambda n: 1 // n, [1, 0])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_no_logs_need_no_workers():
    assert list(map_logs(lambda n: n, [], Workers(count=9, address="nobody:1"))) == []


def test_who_has_how_many_threads(monkeypatch):
    monkeypatch.setattr(mapping.os, "sched_getaffinity", lambda pid: set(range(12)))
    one = PipelineConfig().threads
    assert Workers.of(None, None) == Workers.of(1, None) == Workers(count=1, threads=one)
    assert Workers.of(4, None) == Workers(count=4, threads=3)
    assert Workers.of(50, None) == Workers(count=50, threads=1)
    assert Workers.of(4, None, 2) == Workers(count=4, threads=2)
    assert Workers.of(None, "auto") == Workers(count=None, threads=1, address="auto")


def test_the_engine_in_another_folder(model_package, monkeypatch):
    monkeypatch.chdir(model_package.folder.parent)
    config = PipelineConfig(model=model_package.folder.name)
    engine = Workers(threads=7).engine(config)
    assert engine == replace(config, model=str(model_package.folder), threads=7)
    monkeypatch.chdir("/")
    assert ModelPackage.load(engine.model).identity == model_package.identity
