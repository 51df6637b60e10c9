"""From an ONNX file to a folder that the engine can use."""

import numpy as np
import pytest

from fusion_rt.detectors import folder
from fusion_rt.device import CpuDevice
from fusion_rt.errors import ConfigError, EngineError

OURS = ("car", "pedestrian", "cyclist")
FLOAT = 1


def test_a_folder_is_written_and_read(grid_onnx, write_recipe, tmp_path):
    added = folder.add(grid_onnx((0, 1, 0, 1.0)), write_recipe(), tmp_path / "tiny", classes=OURS)
    assert sorted(p.name for p in (tmp_path / "tiny").iterdir()) == ["detector.yaml", "model.onnx"]
    assert added.identity.startswith("tiny-")
    assert folder.read(tmp_path / "tiny") == added
    assert folder.load(tmp_path / "tiny", classes=OURS, device=CpuDevice(1)).identity == added.identity
    # Its own recipe makes the same folder again.
    again = folder.add(
        grid_onnx((0, 1, 0, 1.0)), tmp_path / "tiny" / "detector.yaml", tmp_path / "b", classes=OURS
    )
    assert again.identity == added.identity


def test_another_file_in_the_folder_is_refused(grid_onnx, write_recipe, tmp_path):
    folder.add(grid_onnx(), write_recipe(), tmp_path / "tiny", classes=OURS)
    other = grid_onnx((0, 0, 0, 1.0))
    (tmp_path / "tiny" / "model.onnx").write_bytes(other.read_bytes())
    with pytest.raises(EngineError, match=r"model\.onnx: sha256 .* add the model again"):
        folder.read(tmp_path / "tiny")
    with pytest.raises(ConfigError, match=r"detector\.yaml: sha256 .* is of another file"):
        folder.add(other, tmp_path / "tiny" / "detector.yaml", tmp_path / "b", classes=OURS)


def test_no_folder_there(tmp_path):
    with pytest.raises(ConfigError, match="make the folder with `fusion-rt model add`"):
        folder.read(tmp_path)


def test_nothing_is_written_of_what_does_not_fit(grid_onnx, make_onnx, write_recipe, tmp_path):
    out = tmp_path / "out"

    def refused(model, recipe, message, kind=EngineError):
        with pytest.raises(kind) as caught:
            folder.add(model, recipe, out, classes=OURS)
        assert message in str(caught.value)
        assert not out.exists()

    sound = grid_onnx()
    refused(tmp_path / "none.onnx", write_recipe(), "no such model file")
    refused(sound, write_recipe(output="cell"), "no output 'cell', did you mean 'cells'?")
    refused(sound, write_recipe(image={"name": "picture"}), "no input 'picture'; there are: image")
    refused(sound, write_recipe(rows=4), "output 'cells' is (1, 7, 2, 3), the recipe expects (1, 7, 4, 3)")
    refused(
        sound,
        write_recipe(image={"width": 60}),
        "input 'image' is (1, 3, 20, 30), the recipe expects (1, 3, 20, 60)",
    )
    refused(sound, write_recipe(class_map={"auto": "bus"}), "recipe.yaml: class_map.auto: 'bus'", ConfigError)
    (tmp_path / "text.onnx").write_text("no model")
    refused(tmp_path / "text.onnx", write_recipe(), "OpenVINO cannot load it")
    cells = np.zeros((1, 7, 2, 3), np.float32)
    two = {"image": ((1, 3, 20, 30), FLOAT), "more": ((1,), FLOAT)}
    refused(
        make_onnx(tmp_path / "two.onnx", two, {"cells": cells}),
        write_recipe(),
        "input 'more' is not in the recipe, which gives ['image']",
    )
    never = make_onnx(
        tmp_path / "nan.onnx", {"image": ((1, 3, 20, 30), FLOAT)}, {"cells": np.full_like(cells, np.nan)}
    )
    refused(never, write_recipe(), "42 of 42 values of cells are not finite")


def test_open_extents_take_the_recipe_s(grid_onnx, write_recipe, tmp_path):
    model = grid_onnx((0, 1, 0, 1.0), shape=("batch", 3, "height", "width"))
    folder.add(model, write_recipe(), tmp_path / "tiny", classes=OURS)


def test_weights_in_a_second_file(grid_onnx, write_recipe, tmp_path):
    model = grid_onnx()
    model.with_name("grid.onnx.data").touch()
    with pytest.raises(EngineError, match=r"its weights are in grid\.onnx\.data; one file is needed"):
        folder.add(model, write_recipe(), tmp_path / "out", classes=OURS)


def test_a_folder_is_made_anew_in_its_place(grid_onnx, write_recipe, tmp_path):
    out = tmp_path / "tiny"
    first = folder.add(grid_onnx(), write_recipe(), out, classes=OURS)
    surer = write_recipe(score_threshold=0.9)
    assert folder.add(out / "model.onnx", surer, out, classes=OURS).identity != first.identity
    assert folder.read(out).recipe.score_threshold == 0.9


def test_a_folder_that_cannot_be_written(grid_onnx, write_recipe, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written"):
        folder.add(grid_onnx(), write_recipe(), tmp_path / "file", classes=OURS)
