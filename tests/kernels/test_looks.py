"""Both looks in one call each, against the kernels one after the other and what numpy makes of their rows."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from fusion_rt.device import CpuDevice
from fusion_rt.device.cpu_decoder import cells_under, shares_at
from fusion_rt.errors import DeviceError
from fusion_rt.kernels import native
from fusion_rt.kernels.looks import ROW, FirstLookKernel, SecondLookKernel

SLACK = 0.3
HEAD = SimpleNamespace(x_min=-4.0, y_min=-3.0, cell_m=1.0, nx=9, ny=7)
ROOM, CLASSES, FEATURES, CAMERA, CHANNELS, SHARES = 12, 3, 5, 4, 64, 3
IOU, THRESHOLD, MARGIN_M, MOST = [0.1, 0.2, 0.3], 0.3, 0.5, 20


def layers(rng, cases):
    return [
        cases.normal(rng, *shape) for shape in ((3, 16), (3, 16), (CLASSES, 16), (16, CHANNELS), (CHANNELS,))
    ]


def outputs(rng, cases, peaks=True):
    heatmap = cases.normal(rng, 1, CLASSES, HEAD.ny, HEAD.nx)
    return {
        "heatmap": heatmap if peaks else heatmap - 100,
        "boxes": cases.normal(rng, 1, HEAD.ny, HEAD.nx, 15),
        "features": cases.normal(rng, 1, HEAD.ny, HEAD.nx, FEATURES),
        # Coarser than the head's canvas, and its extents are not multiples.
        "contribution": rng.random((1, 4, 5, SHARES), dtype=np.float32),
    }


def views(rng, cases, cameras=2):
    """Image features, and where their cameras look: ahead, and (the last) nowhere."""
    ahead = np.float32([[2.5, -1, 0, 7.5], [2, 0, -1, 6], [1, 0, 0, 3]])
    where = np.stack([ahead] * (cameras - 1) + [np.zeros_like(ahead)])
    return cases.normal(rng, cameras, 4, 5, CAMERA), where


def inputs():
    widths = {"roi": 5 * FEATURES, "view": 9 * CAMERA, "points": CHANNELS + 1, "box": ROW}
    return {name: np.full((ROOM, width), np.nan, np.float32) for name, width in widths.items()}


def grouped(rng, cases, threads, n=3000):
    pillars = CpuDevice(threads).kernel("pillars")
    out = np.empty((cases.GRID.ny, cases.GRID.nx, 2), np.float32)
    xyz = cases.hostile_cloud(rng, n)
    pillars(
        xyz, np.ones(n, np.float32), cases.normal(rng, 8, 1), cases.normal(rng, 1), cases.GRID, -2.0, 2.5, out
    )
    return pillars.grouped


def first_look(threads, build, given):
    return FirstLookKernel(
        threads,
        build,
        head=HEAD,
        threshold=THRESHOLD,
        slack=SLACK,
        room=ROOM,
        margin_m=MARGIN_M,
        most=MOST,
        layers=given,
    )


@pytest.mark.parametrize("build", native.instruction_sets())
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_first_look_is_its_kernels_in_turn(cases, threads, build):
    rng = np.random.default_rng(threads)
    given, (seen_by, where) = layers(rng, cases), views(rng, cases)
    look, points, told = first_look(threads, build, given), grouped(rng, cases, threads), inputs()
    device = CpuDevice(threads, build)
    for peaks in (True, True, False):  # the second time over what the first has left
        seen = outputs(rng, cases, peaks)
        look.bind(seen, seen_by, where, points, told)
        n = look()
        rows, decode, expected = np.zeros((ROOM, ROW), np.float32), device.kernel("decode"), inputs()
        assert n == decode(seen["heatmap"][0], seen["boxes"][0], HEAD, THRESHOLD, ROOM, rows, slack=SLACK)
        assert look.counts == decode.counts
        assert (n == ROOM) == peaks  # more peaks than room, or none
        if n == 0:
            continue
        np.testing.assert_array_equal(look.rows[:n], rows[:n])
        boxes, sample = np.ascontiguousarray(rows[:n, :7]), device.kernel("roi_sample")
        sample(seen["features"][0], boxes, HEAD, expected["roi"][:n])
        device.kernel("view_sample")(seen_by, where, boxes, expected["view"][:n])
        assert expected["view"][:n].any()
        device.kernel("roi_points")(points, rows[:n], MARGIN_M, MOST, *given, expected["points"][:n])
        device.kernel("box_context")(rows[:n], expected["box"][:n])
        for name, array in expected.items():
            np.testing.assert_array_equal(told[name], array, err_msg=name)


def test_of_what_is_no_row_nothing_is_left(cases):
    rng = np.random.default_rng(0)
    given, told = layers(rng, cases), inputs()
    seen = outputs(rng, cases, peaks=False)
    seen["heatmap"][0, 1, 3, 4] = 2.0
    look = first_look(2, "", given)
    look.bind(seen, *views(rng, cases), grouped(rng, cases, 2), told)
    assert look() == 1
    for name, array in told.items():
        assert np.isfinite(array).all(), name
        assert array[0].any(), name
        assert not array[1:].any(), name


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("n", [0, 1, 7, ROOM])
def test_the_second_look(cases, n, threads):
    rng = np.random.default_rng(n)
    rows, seen, fits = np.zeros((ROOM, ROW), np.float32), outputs(rng, cases), cases.normal(rng, CLASSES, 2)
    rows[:, :3] = cases.normal(rng, ROOM, 3, scale=2)  # some beyond the canvas
    rows[:, 3:6], rows[:, 11:] = 4.0, 0.5
    rows[:, 6], rows[:, 9] = rng.uniform(-3, 3, ROOM), rng.choice([0.2, 0.5, 0.7], ROOM)  # equal scores
    rows[:, 10] = rng.integers(CLASSES, size=ROOM)
    answer = [0.1 * cases.normal(rng, ROOM, width) for width in (1, 8, 1, 5)]
    answer[0][:] = 0
    look = SecondLookKernel(threads, head=HEAD, rows=rows, fits=fits, iou=IOU, outputs=seen, refined=answer)
    for _ in range(2):
        told = look(n)
    device, refined = CpuDevice(threads), np.empty((n, ROW), np.float32)
    device.kernel("box_refine")(rows[:n], fits, *(a[:n] for a in answer), refined)
    ordered = refined.take((-refined[:, 9]).argsort(kind="stable"), axis=0)
    keep = np.empty(n, np.int32)
    kept = device.kernel("nms")(
        np.ascontiguousarray(ordered[:, :7]),
        np.ascontiguousarray(ordered[:, 9]),
        ordered[:, 10].astype(np.int32),
        IOU,
        keep,
    )
    stays = ordered.take(keep[:kept], axis=0)
    iy, ix = cells_under(stays, HEAD)
    np.testing.assert_array_equal(told[:, :ROW], stays)
    np.testing.assert_array_equal(told[:, ROW : ROW + CLASSES], seen["heatmap"][0][:, iy, ix].T)
    np.testing.assert_array_equal(
        told[:, ROW + CLASSES :], shares_at(seen["contribution"][0], iy, ix, HEAD.ny)
    )
    assert n < 7 or kept < n  # otherwise nothing was suppressed


def wrong_shapes():
    good = {name: array.shape for name, array in inputs().items()}
    good |= {"heatmap": (CLASSES, HEAD.ny, HEAD.nx), "boxes": (HEAD.ny, HEAD.nx, 15)}
    return [(name, (*shape[:-1], shape[-1] + 1)) for name, shape in good.items()]


@pytest.mark.parametrize(("name", "shape"), wrong_shapes())
def test_wrong_shapes_are_refused(cases, name, shape):
    rng = np.random.default_rng(0)
    look, seen, told = first_look(1, "", layers(rng, cases)), outputs(rng, cases), inputs()
    if name in told:
        told[name] = np.zeros(shape, np.float32)
    else:
        seen[name] = np.zeros((1, *shape), np.float32)
    with pytest.raises(DeviceError, match=f"^{name} is float32 {re.escape(str(shape))}, expected "):
        look.bind(seen, *views(rng, cases), grouped(rng, cases, 1, 10), told)


def test_no_more_rows_than_there_is_room_for(cases):
    rng = np.random.default_rng(0)
    answer = [np.zeros((ROOM, width), np.float32) for width in (1, 8, 1, 5)]
    given = {
        "head": HEAD,
        "rows": np.zeros((ROOM, ROW), np.float32),
        "iou": IOU,
        "outputs": outputs(rng, cases),
    }
    look = SecondLookKernel(1, **given, fits=np.zeros((CLASSES, 2), np.float32), refined=answer)
    for n in (-1, ROOM + 1):
        with pytest.raises(DeviceError, match=f"{n} rows, there is room for {ROOM}"):
            look(n)
    bad = [answer[0], answer[1][:, :7].copy(), *answer[2:]]
    with pytest.raises(DeviceError, match=r"deltas is .* \(12, 7\), expected .* \(12, 8\)"):
        SecondLookKernel(1, **given, fits=np.zeros((CLASSES, 2), np.float32), refined=bad)
    with pytest.raises(DeviceError, match=r"fits is .* \(2, 2\), expected .* \(3, 2\)"):
        SecondLookKernel(1, **given, fits=np.zeros((2, 2), np.float32), refined=answer)
