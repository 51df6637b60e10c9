import numpy as np
import pytest
import yaml

from fusion_rt.errors import ConfigError, EngineError
from fusion_rt.models.package import PARTS, WEIGHTS, ModelPackage, digest

SPEC = {
    "name": "tiny",
    "version": "1",
    "classes": ["car"],
    "grid": {"x_min": 0.0, "y_min": -1.0, "cell_m": 0.5, "nx": 4, "ny": 4},
    "head": {"x_min": 0.0, "y_min": -1.0, "cell_m": 1.0, "nx": 2, "ny": 2},
    "z_min": -1.0,
    "z_max": 3.0,
    "z_levels": [0.5],
    "image": {"width": 16, "height": 8, "mean": [0.0, 0, 0], "std": [1.0, 1, 1], "stride": 8},
    "context": [],
    "box_channels": [],
    "box_context": [],
    "deltas": [],
    "decode_threshold": 0.05,
    "score_thresholds": {"car": 0.3},
    "nms_iou": {"car": 0.2},
    "max_objects": 8,
    "measures_velocity": False,
    "tensors": {},
    "precisions": {"f32": {part: f"{part}.onnx" for part in PARTS}},
    "precision": "f32",
    "trained_with": "nothing",
}


def write(folder, **changes):
    folder.mkdir(exist_ok=True)
    for part in PARTS:
        (folder / f"{part}.onnx").write_bytes(part.encode())
    np.savez(folder / "pillars.npz", W=np.ones((8, 3), np.float32), b=np.zeros(3, np.float32))
    names = [*(f"{part}.onnx" for part in PARTS), "pillars.npz"]
    spec = SPEC | {"sha256": {name: digest(folder / name) for name in names}} | changes
    (folder / "model.yaml").write_text(yaml.safe_dump(spec))
    return folder


def test_a_package_is_read(tmp_path):
    package = ModelPackage.load(write(tmp_path / "tiny"))
    assert package.path("bev", "f32") == tmp_path / "tiny" / "bev.onnx"
    W, b = package.pillars
    assert (W.shape, b.shape, W.dtype) == ((8, 3), (3,), np.float32)
    assert package.identity.startswith("tiny-1-")
    assert package.identity == ModelPackage.load(tmp_path / "tiny").identity


def test_no_package_there(tmp_path):
    with pytest.raises(ConfigError, match="no model package there"):
        ModelPackage.load(tmp_path)
    with pytest.raises(ConfigError, match="no-such-model: no model package"):
        ModelPackage.load("no-such-model")


def test_a_damaged_file_is_refused(tmp_path):
    folder = write(tmp_path / "tiny")
    (folder / "bev.onnx").write_bytes(b"bex")
    with pytest.raises(EngineError, match=r"bev\.onnx: sha256 .* damaged or from another version"):
        ModelPackage.load(folder)
    (folder / "bev.onnx").unlink()
    with pytest.raises(EngineError, match=r"bev\.onnx: missing; fetch or export"):
        ModelPackage.load(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "int8"}, "precision 'int8' is not one of f32"),
        (
            {"precisions": {"f32": {"camera": "camera.onnx"}}},
            "must name a file for each of camera, bev, refine",
        ),
        ({"sha256": {}}, "sha256 lacks"),
        ({"head": SPEC["head"] | {"nx": 3}}, "no multiple"),
        ({"clases": ["car"]}, "clases"),
        ({"z_min": "low"}, "z_min"),
    ],
)
def test_a_wrong_description_is_refused(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        ModelPackage.load(write(tmp_path / "tiny", **changes))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"W": np.ones((7, 3), np.float32), "b": np.zeros(3, np.float32)}, "must be finite float32"),
        ({"W": np.full((8, 3), np.nan, np.float32), "b": np.zeros(3, np.float32)}, "must be finite float32"),
        ({"W": np.ones((8, 3), np.float32)}, "cannot be read"),
    ],
)
def test_wrong_pillars_are_refused(tmp_path, arrays, message):
    folder = write(tmp_path / "tiny")
    np.savez(folder / "pillars.npz", **arrays)
    spec = yaml.safe_load((folder / "model.yaml").read_text())
    spec["sha256"]["pillars.npz"] = digest(folder / "pillars.npz")
    (folder / "model.yaml").write_text(yaml.safe_dump(spec))
    with pytest.raises(EngineError, match=message):
        ModelPackage.load(folder)


def test_a_precision_that_is_not_there(tmp_path):
    package = ModelPackage.load(write(tmp_path / "tiny"))
    with pytest.raises(ConfigError, match="no 'bev' in precision 'int8'; the package has f32"):
        package.path("bev", "int8")


@pytest.mark.skipif(
    not (WEIGHTS / "driving-s" / "model.yaml").is_file(), reason="no weights in this checkout"
)
def test_what_ships_is_whole():
    package = ModelPackage.load("driving-s")
    assert package.spec.classes == ("car", "pedestrian", "cyclist")
    assert (package.folder / "CARD.md").is_file()
    for precision in package.spec.precisions:
        assert all(package.path(part, precision).is_file() for part in PARTS)
