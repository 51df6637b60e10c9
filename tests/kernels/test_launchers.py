"""Whatever does not fit is refused before it reaches C, in words that name the argument."""

import re

import numpy as np
import pytest

from fusion_rt.device import CpuDevice
from fusion_rt.errors import DeviceError
from fusion_rt.kernels import native
from fusion_rt.kernels.box_launchers import Grouped
from fusion_rt.kernels.launchers import KERNELS

NAN, INF = float("nan"), float("inf")
N, C, CAMERAS = 6, 3, 2


@pytest.fixture
def grid(reference):
    return reference.Grid(x_min=-2.0, y_min=-1.0, cell_m=0.5, nx=8, ny=4)


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


def grouped(grid, **changed):
    """As the pillars kernel leaves no point."""
    cells = grid.nx * grid.ny
    counts = {"start": zeros(1, cells, dtype=np.int32), "count": zeros(1, cells, dtype=np.int32)}
    return Grouped(**({"points": zeros(0, 4), **counts, "grid": grid} | changed))


@pytest.fixture
def arguments(grid):
    """A call of each kernel that works."""
    K = np.diag([5.0, 5.0, 1.0])
    canvas = (grid.ny, grid.nx)
    return {
        "image": {
            "src": zeros(4, 5, 3, dtype=np.uint8), "out": zeros(3, 2, 2), "K_src": K, "K_dst": K,
            "distortion": (0.0,) * 5, "bgr": True, "mean": (1.0, 2.0, 3.0), "std": (1.0, 1.0, 1.0),
        },
        "deskew": {
            "xyz": zeros(N, 3), "t": zeros(N), "knots_t": np.arange(2, dtype=np.float32),
            "knots_T": zeros(2, 3, 4), "out": zeros(N, 3),
        },
        "pillars": {
            "xyz": zeros(N, 3), "intensity": zeros(N), "W": zeros(8, C), "b": zeros(C), "grid": grid,
            "z_min": -1.0, "z_max": 1.0, "out": zeros(*canvas, C + 1),
        },
        "lift": {
            "features": zeros(CAMERAS, 2, 3, C), "P": zeros(CAMERAS, 3, 4), "grid": grid, "z_levels": (0.0,),
            "out": zeros(*canvas, C), "depth": zeros(*canvas),
        },
        "bev_warp": {
            "state": zeros(*canvas, C), "T_prev_now": zeros(2, 3), "grid": grid, "out": zeros(*canvas, C),
        },
        "decode": {
            "heatmap": zeros(C, *canvas), "regression": zeros(*canvas, 15), "grid": grid, "threshold": 0.5,
            "k": 4, "out": zeros(4, 16),
        },
        "nms": {
            "boxes": zeros(N, 7), "scores": zeros(N), "classes": zeros(N, dtype=np.int32), "iou": [0.5],
            "keep": zeros(N, dtype=np.int32),
        },
        "roi_sample": {
            "features": zeros(*canvas, C), "boxes": zeros(N, 7), "grid": grid, "out": zeros(N, 5 * C),
        },
        "view_sample": {
            "features": zeros(CAMERAS, 2, 3, C), "P": zeros(CAMERAS, 3, 4), "boxes": zeros(N, 7),
            "out": zeros(N, 9 * C),
        },
        "roi_points": {
            "grouped": grouped(grid), "rows": zeros(N, 16), "margin_m": 0.5, "most": 9, "at": zeros(3, 16),
            "size": zeros(3, 16), "kind": zeros(C, 16), "second": zeros(16, 64), "bias": zeros(64),
            "out": zeros(N, 65),
        },
        "box_context": {"rows": zeros(N, 16), "out": zeros(N, 16)},
        "box_refine": {
            "rows": zeros(N, 16), "fits": zeros(C, 2), "score": zeros(N, 1), "deltas": zeros(N, 8),
            "facing": zeros(N, 1), "log_sigma": zeros(N, 5), "out": zeros(N, 16),
        },
    }  # fmt: skip


OUTPUTS = {"out", "depth", "keep"}
SMALL = {"K_src", "K_dst"}  # parameters: any layout and kind of number
ARRAYS = [
    (name, argument)
    for name, listed in {
        "image": "src out",
        "deskew": "xyz t knots_t knots_T out",
        "pillars": "xyz intensity W b out",
        "lift": "features P out depth",
        "bev_warp": "state T_prev_now out",
        "decode": "heatmap regression out",
        "nms": "boxes scores classes keep",
        "roi_sample": "features boxes out",
        "view_sample": "features P boxes out",
        "roi_points": "rows at size kind second bias out",
        "box_context": "rows out",
        "box_refine": "rows fits score deltas facing log_sigma out",
    }.items()
    for argument in listed.split()
]


def refuse(arguments, name, words, **changed):
    with pytest.raises(DeviceError, match=words):
        CpuDevice(1).kernel(name)(**(arguments[name] | changed))


def described(array):
    return re.escape(f"is {array.dtype} {array.shape}, expected ")


@pytest.mark.parametrize("name", KERNELS)
def test_the_call_that_the_others_spoil_works(arguments, name):
    CpuDevice(1).kernel(name)(**arguments[name])


def test_every_array_is_spoilt(arguments):
    listed = {
        (name, key)
        for name, call in arguments.items()
        for key, value in call.items()
        if isinstance(value, np.ndarray) and key not in SMALL
    }
    assert listed == set(ARRAYS)


@pytest.mark.parametrize(("name", "argument"), ARRAYS)
class TestEveryArray:
    def test_of_another_dtype(self, arguments, name, argument):
        array = arguments[name][argument].astype(np.float64)
        refuse(arguments, name, f"^{argument} {described(array)}", **{argument: array})

    def test_of_the_other_byte_order(self, arguments, name, argument):
        array = arguments[name][argument]
        if array.dtype.itemsize == 1:
            pytest.skip("bytes have no order")
        array = array.astype(array.dtype.newbyteorder(">"))
        refuse(arguments, name, f"^{argument} {described(array)}", **{argument: array})

    def test_with_an_axis_more(self, arguments, name, argument):
        array = arguments[name][argument][None]
        refuse(arguments, name, f"^{argument} {described(array)}", **{argument: array})

    def test_that_is_no_array(self, arguments, name, argument):
        array = arguments[name][argument].tolist()
        refuse(arguments, name, f"^{argument} is list, expected ", **{argument: array})

    def test_not_contiguous(self, arguments, name, argument):
        array = arguments[name][argument]
        strided = np.repeat(array, 2, axis=-1)[..., ::2]
        refuse(arguments, name, f"^{argument} is not contiguous", **{argument: strided})

    def test_not_aligned(self, arguments, name, argument):
        array = arguments[name][argument]
        if array.dtype.itemsize == 1:
            pytest.skip("bytes are always aligned")
        odd = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
        odd[...] = array
        refuse(arguments, name, f"^{argument} is not aligned", **{argument: odd})

    def test_read_only_where_it_is_written(self, arguments, name, argument):
        array = arguments[name][argument].copy()
        array.flags.writeable = False
        changed = {argument: array}
        if argument in OUTPUTS:
            refuse(arguments, name, f"^{argument} is read-only", **changed)
        else:
            CpuDevice(1).kernel(name)(**(arguments[name] | changed))


@pytest.mark.parametrize(
    ("name", "argument", "shape", "dtype"),
    [
        ("image", "src", (4, 5, 4), np.uint8),
        ("image", "out", (1, 2, 2), np.float32),
        ("deskew", "xyz", (N, 4), np.float32),
        ("deskew", "t", (N - 1,), np.float32),
        ("deskew", "knots_T", (2, 4, 4), np.float32),
        ("deskew", "knots_T", (3, 3, 4), np.float32),
        ("deskew", "out", (N + 1, 3), np.float32),
        ("pillars", "intensity", (N + 1,), np.float32),
        ("pillars", "W", (9, C), np.float32),
        ("pillars", "b", (C + 1,), np.float32),
        ("pillars", "out", (4, 8, C), np.float32),
        ("pillars", "out", (8, 4, C + 1), np.float32),
        ("lift", "P", (CAMERAS, 4, 4), np.float32),
        ("lift", "P", (CAMERAS + 1, 3, 4), np.float32),
        ("lift", "out", (8, 4, C), np.float32),
        ("lift", "depth", (8, 4), np.float32),
        ("bev_warp", "state", (8, 4, C), np.float32),
        ("bev_warp", "T_prev_now", (3, 3), np.float32),
        ("bev_warp", "out", (4, 8, C + 1), np.float32),
        ("decode", "heatmap", (C, 8, 4), np.float32),
        ("decode", "regression", (4, 8, 14), np.float32),
        ("decode", "out", (5, 16), np.float32),
        ("nms", "boxes", (N, 8), np.float32),
        ("nms", "scores", (N + 1,), np.float32),
        ("nms", "classes", (N + 1,), np.int32),
        ("roi_sample", "features", (8, 4, C), np.float32),
        ("roi_sample", "boxes", (N, 9), np.float32),
        ("roi_sample", "out", (N, 4 * C), np.float32),
        ("view_sample", "P", (CAMERAS + 1, 3, 4), np.float32),
        ("view_sample", "boxes", (N, 9), np.float32),
        ("view_sample", "out", (N, 5 * C), np.float32),
        ("roi_points", "rows", (N, 7), np.float32),
        ("roi_points", "at", (3, 8), np.float32),
        ("roi_points", "size", (4, 16), np.float32),
        ("roi_points", "kind", (C, 8), np.float32),
        ("roi_points", "second", (8, 64), np.float32),
        ("roi_points", "bias", (16,), np.float32),
        ("roi_points", "out", (N, 8), np.float32),
        ("box_context", "rows", (N, 15), np.float32),
        ("box_context", "out", (N + 1, 16), np.float32),
        ("box_refine", "fits", (C, 3), np.float32),
        ("box_refine", "score", (N, 2), np.float32),
        ("box_refine", "deltas", (N, 7), np.float32),
        ("box_refine", "facing", (N - 1, 1), np.float32),
        ("box_refine", "log_sigma", (N, 4), np.float32),
        ("box_refine", "out", (N, 15), np.float32),
    ],
)
def test_another_shape(arguments, name, argument, shape, dtype):
    array = np.zeros(shape, dtype)
    refuse(arguments, name, rf"^{argument} {described(array)}{np.dtype(dtype)} \(", **{argument: array})


@pytest.mark.parametrize(
    ("name", "words", "changed"),
    [
        ("image", r"^src is \(0, 5, 3\)", {"src": zeros(0, 5, 3, dtype=np.uint8)}),
        ("image", r"^src is \(4, 0, 3\)", {"src": zeros(4, 0, 3, dtype=np.uint8)}),
        ("image", r"^src is \(1, 32769, 3\)", {"src": zeros(1, 32769, 3, dtype=np.uint8)}),
        ("image", r"^K_src is float64 \(3, 4\)", {"K_src": np.eye(3, 4)}),
        ("image", r"^K_dst has focal lengths \[5.0, -5.0\]", {"K_dst": np.diag([5.0, -5.0, 1.0])}),
        ("image", r"^K_src has focal lengths \[0.0, 5.0\]", {"K_src": np.diag([0.0, 5.0, 1.0])}),
        ("image", r"^K_src is .*nan.*expected finite", {"K_src": np.diag([5.0, NAN, 1.0])}),
        ("image", r"^K_src is .*expected finite", {"K_src": np.diag([5.0, 1e300, 1.0])}),
        ("image", r"^distortion is float64 \(4,\)", {"distortion": (0.0,) * 4}),
        ("image", r"^distortion is .*inf.*expected finite", {"distortion": (0.0, INF, 0.0, 0.0, 0.0)}),
        ("image", r"^mean is float64 \(2,\)", {"mean": (1.0, 2.0)}),
        ("image", r"^std is \[1.0, 0.0, 1.0\], expected positive", {"std": (1.0, 0.0, 1.0)}),
        ("image", r"^std is .*expected numbers", {"std": ("a", "b", "c")}),
        ("deskew", r"^knots_t is \[0.0, 0.0\]", {"knots_t": zeros(2)}),
        ("deskew", r"^knots_t is \[0.0, nan\]", {"knots_t": np.float32([0, NAN])}),
        ("deskew", r"^knots_t is \[0.0, inf\]", {"knots_t": np.float32([0, INF])}),
        ("deskew", r"^knots_t is \[\]", {"knots_t": zeros(0), "knots_T": zeros(0, 3, 4)}),
        ("pillars", "^W has 0 channels", {"W": zeros(8, 0), "b": zeros(0), "out": zeros(4, 8, 1)}),
        ("pillars", "^z_min, z_max are 2.0, 1.0", {"z_min": 2.0}),
        ("pillars", "^z_min, z_max are nan, 1.0", {"z_min": NAN}),
        ("pillars", "^z_min, z_max are -1.0, inf", {"z_max": INF}),
        ("lift", r"^features is \(2, 2, 3, 0\)", {"features": zeros(2, 2, 3, 0), "out": zeros(4, 8, 0)}),
        (
            "lift",
            r"^features is \(2, 2, 3, 257\)",
            {"features": zeros(2, 2, 3, 257), "out": zeros(4, 8, 257)},
        ),
        ("lift", r"^features is \(2, 0, 3, 3\)", {"features": zeros(2, 0, 3, 3)}),
        ("view_sample", r"^features is \(2, 0, 3, 3\)", {"features": zeros(2, 0, 3, 3)}),
        ("lift", r"^z_levels is .*nan.*expected finite", {"z_levels": (0.0, NAN)}),
        ("decode", "^threshold is 0,", {"threshold": 0}),
        ("decode", "^threshold is 1.0,", {"threshold": 1.0}),
        ("decode", "^threshold is nan,", {"threshold": NAN}),
        ("decode", "^slack is -0.5,", {"slack": -0.5}),
        ("decode", "^slack is nan,", {"slack": NAN}),
        ("decode", "^slack is inf,", {"slack": np.inf}),
        ("decode", r"^out is float32 \(4, 16\), expected float32 \(-1, 16\)", {"k": -1}),
        ("nms", "^keep holds 5 indices, 6 boxes", {"keep": zeros(5, dtype=np.int32)}),
        ("nms", "^scores must fall", {"scores": np.arange(N, dtype=np.float32)}),
        ("nms", "^scores must fall", {"scores": np.full(N, NAN, np.float32)}),
        ("nms", r"^iou is \[nan\], expected finite", {"iou": [NAN]}),
        ("nms", r"^iou is \[0.5, 1.5\],", {"iou": [0.5, 1.5]}),
        ("nms", r"^iou is \[-0.1", {"iou": [-0.1]}),
        ("nms", "^classes go from 1 to 1, iou knows 0 to 0", {"classes": np.ones(N, np.int32)}),
        ("nms", "^classes go from -1 to -1, iou knows 0 to 0", {"classes": np.full(N, -1, np.int32)}),
        ("roi_points", "^margin_m is -0.5", {"margin_m": -0.5}),
        ("roi_points", "^margin_m is nan", {"margin_m": NAN}),
        ("roi_points", "^most is 0, expected 1 to", {"most": 0}),
        (
            "roi_points",
            r"^rows has classes 3.0 to 3.0, kind knows 3",
            {"rows": np.full((N, 16), 3, np.float32)},
        ),
        (
            "box_refine",
            "^rows has classes 3.0 to 3.0, fits knows 3",
            {"rows": np.full((N, 16), 3, np.float32)},
        ),
        ("roi_points", "^rows has classes nan", {"rows": np.full((N, 16), NAN, np.float32)}),
        (
            "roi_points",
            "^second has 96 channels",
            {"second": zeros(16, 96), "bias": zeros(96), "out": zeros(N, 97)},
        ),
        (
            "nms",
            "^boxes has 32769 rows",
            {
                "boxes": zeros(32769, 7),
                "scores": zeros(32769),
                "classes": zeros(32769, dtype=np.int32),
                "keep": zeros(32769, dtype=np.int32),
            },
        ),
    ],
)
def test_another_value(arguments, name, words, changed):
    refuse(arguments, name, words, **changed)


@pytest.mark.parametrize("name", ["pillars", "lift", "bev_warp", "decode", "roi_sample"])
@pytest.mark.parametrize(
    "changed",
    [
        {"cell_m": 0.0},
        {"cell_m": -0.5},
        {"cell_m": NAN},
        {"cell_m": 1e5},
        {"x_min": INF},
        {"y_min": NAN},
        {"x_min": -1e6},
        {"nx": 0},
        {"ny": -1},
        {"nx": 32769},
    ],
)
def test_a_canvas_that_is_none(arguments, name, grid, changed):
    refuse(arguments, name, "^grid is .* cells of ", grid=grid._replace(**changed))


def test_the_warp_does_not_work_in_place(arguments):
    refuse(arguments, "bev_warp", "share memory", out=arguments["bev_warp"]["state"])


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("threads", [0, -1, 257, 1.5, "2", None])
def test_a_number_of_workers_that_cannot_be(name, threads):
    with pytest.raises(DeviceError, match=f"^threads is {threads}, expected 1 to 256"):
        KERNELS[name](threads)


def test_builds_by_name():
    for name in native.instruction_sets():
        assert native.library(name)._name.endswith(".so")
    assert native.library("")._name == native.library(native.instruction_sets()[-1])._name
    with pytest.raises(
        DeviceError, match="instruction set 'avx512' is not one of baseline, x86-64-v3, x86-64-v4"
    ):
        native.library("avx512")


@pytest.mark.parametrize(
    ("flags", "sets"),
    [
        ("fpu sse2", ["baseline"]),
        ("fpu avx2 fma bmi1 bmi2 f16c movbe abm", ["baseline", "x86-64-v3"]),
        ("fpu avx512f avx512bw avx512cd avx512dq avx512vl", ["baseline"]),  # whose kernel hides the rest
        (
            "avx2 fma bmi1 bmi2 f16c movbe abm avx512f avx512bw avx512cd avx512dq avx512vl",
            ["baseline", "x86-64-v3", "x86-64-v4"],
        ),
    ],
)
def test_what_a_processor_says_that_it_has(monkeypatch, flags, sets):
    monkeypatch.setattr(native.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(native.Path, "read_text", lambda self: f"model : a\nflags\t: {flags}\nbugs : x\n")
    assert native.instruction_sets() == sets
    monkeypatch.setattr(native.platform, "machine", lambda: "aarch64")
    assert native.instruction_sets() == ["baseline"]


def test_a_build_that_this_processor_cannot_run(monkeypatch):
    native.library.cache_clear()
    monkeypatch.setattr(native, "instruction_sets", lambda: ["baseline"])
    with pytest.raises(DeviceError, match="this processor has no x86-64-v3; the best it runs is baseline"):
        native.library("x86-64-v3")


def test_kernels_that_were_not_built(monkeypatch):
    native.library.cache_clear()
    monkeypatch.setattr(native.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DeviceError, match=r"_cpu was not built: pip install \. in the checkout"):
        native.library("baseline")


def test_points_that_are_not_grouped_by_this_canvas(arguments, grid):
    spoilt = {
        "points": zeros(0, 3),
        "start": zeros(1, 5, dtype=np.int32),
        "count": zeros(1, grid.nx * grid.ny),
    }
    for name, array in spoilt.items():
        refuse(
            arguments,
            "roi_points",
            rf"^grouped.{name} {described(array)}",
            grouped=grouped(grid, **{name: array}),
        )


def test_no_points_were_grouped_yet():
    with pytest.raises(DeviceError, match="no points were given"):
        CpuDevice(1).kernel("pillars").grouped  # noqa: B018
