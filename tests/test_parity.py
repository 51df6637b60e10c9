"""Two CPU engines see the same; one that was damaged on purpose does not."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from msgspec.structs import replace
from onnx import numpy_helper

from fusion_rt.device import CpuDevice
from fusion_rt.models.package import ModelPackage, digest
from fusion_rt.parity import DOUBTED_YAW_RAD, TOLERANCE, bundled_frames, compare, look, self_test
from fusion_rt.perception import Perception

DAMAGE = {
    "position": ("boxes", 0, 0.6),  # cells of 0.64 m
    "height": ("boxes", 2, 0.6),
    "scores": ("heatmap", 0, -6.0),
}


@pytest.fixture(scope="module")
def package():
    return ModelPackage.load("driving-s")


@pytest.fixture(scope="module")
def reference(package):
    return Perception(package, CpuDevice(2), precision="f32")


def damaged(package: ModelPackage, folder: Path, layer: str, channel: int, by: float) -> ModelPackage:
    """The package with one number of a bias of the network changed."""
    shutil.copytree(package.folder, folder)
    path = folder / "bev.onnx"
    model = onnx.load(str(path))
    (bias,) = (t for t in model.graph.initializer if t.name == f"part.{layer}.bias")
    values = numpy_helper.to_array(bias).copy()
    values[channel] += by
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))
    onnx.save(model, str(path))
    return ModelPackage.described(
        folder, replace(package.spec, sha256=package.spec.sha256 | {"bev.onnx": digest(path)})
    )


@pytest.mark.parametrize(
    ("runtime", "precision", "against"),
    [("onnxruntime", "f32", "f32"), ("onnxruntime", "f16", "f32"), ("onnxruntime", "int8", "int8")],
)
def test_runtimes_see_the_same(package, runtime, precision, against):
    ours = Perception(package, CpuDevice(2), precision=against)
    theirs = Perception(package, CpuDevice(2), runtime=runtime, precision=precision)
    agreement = self_test(ours, theirs, held=precision)
    assert agreement.reason == ""
    assert agreement.boxes > 20
    assert agreement.position_m < TOLERANCE[precision].position_m / 2


def test_the_first_precision_is_not_the_second(package, reference):
    """The tolerance of half precision tells eight bits from it."""
    theirs = Perception(package, CpuDevice(2), precision="int8")
    assert self_test(reference, theirs, held="f16").reason


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_engine_is_refused(package, reference, tmp_path, damage):
    wrong = damaged(package, tmp_path / "damaged", *DAMAGE[damage])
    agreement = self_test(
        reference, Perception(wrong, CpuDevice(2), runtime="onnxruntime", precision="f32"), held="int8"
    )
    expected = {
        "position": "position_m is off by",
        "height": "position_m",
        "scores": "sure boxes are missing",
    }
    assert expected[damage] in agreement.reason


def test_what_comparing_finds(reference):
    rig, frames = bundled_frames(2)
    assert len(frames) == 2
    found, exact = look(reference, rig, frames), TOLERANCE["f32"]
    shown = [reference.spec.score_thresholds[c] for c in reference.spec.classes]
    assert compare(found, found, shown, exact).reason == ""
    order = np.argsort(found[0].boxes[:, 0])  # another order is the same answer
    fields = ("boxes", "velocity", "scores", "labels", "std", "contributions", "velocity_known")
    turned = replace(found[0], **{name: getattr(found[0], name)[order] for name in fields})
    assert compare(found, [turned, found[1]], shown, exact).reason == ""
    best = int(found[0].scores[np.arange(len(order)), found[0].labels].argmax())
    rest = np.arange(len(order)) != best
    fewer = replace(found[0], **{name: getattr(found[0], name)[rest] for name in fields})
    lost = compare(found, [fewer, found[1]], shown, exact)
    assert (lost.missed, lost.added) == (1, 0)
    assert lost.reason == "1 sure boxes are missing and 0 are new"
    assert compare([fewer, found[1]], found, shown, exact).added == 1
    for column, by, name in ((0, 0.05, "position_m"), (3, 0.1, "size"), (6, 0.1, "yaw_rad"), (6, 6.3, "")):
        boxes = found[0].boxes.copy()
        boxes[best, column] += by
        assert name in compare(found, [replace(found[0], boxes=boxes), found[1]], shown, exact).reason
    doubted, turned = found[0].std.copy(), found[0].boxes.copy()
    doubted[best, 4], turned[best, 6] = DOUBTED_YAW_RAD, turned[best, 6] + 2.0
    theirs = [replace(found[0], boxes=turned), found[1]]
    assert "yaw_rad is off by 2.000" in compare(found, theirs, shown, exact).reason
    assert compare([replace(found[0], std=doubted), found[1]], theirs, shown, exact).reason == ""
    boxes = found[0].boxes.copy()
    boxes[best, 4] = np.nan
    assert (
        "size is off by nan"
        in compare(found, [replace(found[0], boxes=boxes), found[1]], shown, exact).reason
    )


def test_a_reference_that_finds_nothing_proves_nothing(reference):
    rig, frames = bundled_frames(1)
    found = look(reference, rig, frames)
    empty = [replace(d, boxes=d.boxes[:0], velocity=d.velocity[:0], scores=d.scores[:0], labels=d.labels[:0],
                     std=d.std[:0], contributions=d.contributions[:0], velocity_known=d.velocity_known[:0])
             for d in found]  # fmt: skip
    assert "nothing to compare" in compare(empty, empty, [0.3] * 3, TOLERANCE["f32"]).reason
