import numpy as np
import pytest
import yaml

from fusion_rt.errors import ConfigError, EngineError
from fusion_rt.models.package import LAYERS, PARTS, WEIGHTS, ModelPackage, digest

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
    "points_margin_m": 0.5,
    "points_most": 256,
    "deltas": [],
    "decode_threshold": 0.05,
    "scores": {"car": {}},
    "score_thresholds": {"car": 0.3},
    "nms_iou": {"car": 0.2},
    "max_objects": 8,
    "measures_velocity": False,
    "tensors": {},
    "precisions": {"f32": {part: f"{part}.onnx" for part in PARTS}},
    "precision": "f32",
    "trained_with": "nothing",
}


POINTS = {
    name: np.ones(shape, np.float32)
    for name, shape in {
        "at": (3, 16),
        "size": (3, 16),
        "kind": (1, 16),
        "second": (16, 8),
        "bias": (8,),
    }.items()
}


def write(folder, **changes):
    folder.mkdir(exist_ok=True)
    for part in PARTS:
        (folder / f"{part}.onnx").write_bytes(part.encode())
    np.savez(folder / "pillars.npz", W=np.ones((8, 3), np.float32), b=np.zeros(3, np.float32))
    np.savez(folder / "points.npz", **POINTS)
    names = [*(f"{part}.onnx" for part in PARTS), *LAYERS]
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
    ("file", "arrays", "message"),
    [
        (
            "pillars",
            {"W": np.ones((7, 3), np.float32)},
            r"W is float32 \(7, 3\), expected finite float32 \(8, C\)",
        ),
        ("pillars", {"W": np.full((8, 3), np.nan, np.float32)}, "W is .* expected finite"),
        ("pillars", {"b": np.zeros(4, np.float32)}, r"b is float32 \(4,\), expected"),
        ("pillars", {"W": np.ones((8, 3))}, "W is float64"),
        (
            "points",
            {"kind": np.ones((2, 16), np.float32)},
            r"kind is float32 \(2, 16\), expected .* \(1, 16\)",
        ),
        ("points", {"second": np.ones((16, 32), np.float32)}, r"bias is float32 \(8,\), expected"),
        ("points", {"size": np.ones(16, np.float32)}, r"size is float32 \(16,\)"),
    ],
)
def test_wrong_layers_are_refused(tmp_path, file, arrays, message):
    respell(write(tmp_path / "tiny"), file, lambda layers: layers | arrays)
    with pytest.raises(EngineError, match=rf"{file}\.npz: {message}"):
        ModelPackage.load(tmp_path / "tiny")


@pytest.mark.parametrize("file", ["pillars", "points"])
def test_a_layer_that_is_not_there(tmp_path, file):
    respell(write(tmp_path / "tiny"), file, lambda layers: dict(list(layers.items())[1:]))
    with pytest.raises(EngineError, match=rf"{file}\.npz: cannot be read"):
        ModelPackage.load(tmp_path / "tiny")


def respell(folder, file, change):
    """Layers changed, their digest as well."""
    path = folder / f"{file}.npz"
    with np.load(path) as data:
        layers = dict(data)
    np.savez(path, **change(layers))
    spec = yaml.safe_load((folder / "model.yaml").read_text())
    spec["sha256"][path.name] = digest(path)
    (folder / "model.yaml").write_text(yaml.safe_dump(spec))


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
