"""Every kernel on ordinary and on hostile input, for the tests that compare builds and look for bad access.

Each function takes a kernel and yields what it wrote. As a program, `cases.py LIBRARY` runs all of them on
that build of the kernels."""

import sys
from types import SimpleNamespace

import numpy as np

SPECIAL = np.array(
    [
        0,
        -0.0,
        1,
        -1,
        1e-45,
        1e-38,
        1e6,
        1e10,
        -1e10,
        2.0**31,
        -(2.0**31),
        3e38,
        -3e38,
        np.nan,
        np.inf,
        -np.inf,
    ],
    np.float32,
)
GRID = SimpleNamespace(x_min=-4.0, y_min=-3.0, cell_m=0.5, nx=16, ny=12)
ONE_CELL = SimpleNamespace(x_min=-1.0, y_min=-1.0, cell_m=2.0, nx=1, ny=1)


def normal(rng, *shape, scale=1.0):
    return (scale * rng.standard_normal(shape)).astype(np.float32)


def sprinkle(rng, array, share=0.3):
    """A copy with special values in it."""
    out = array.copy()
    where = rng.random(out.shape) < share
    out[where] = rng.choice(SPECIAL, where.sum())
    return out


def hostile_cloud(rng, n):
    """Points in and around GRID, on each of its borders, and special values."""
    edges = np.array([-4, 4, -3, 3, 0, 0.5], np.float32)
    edges = np.concatenate([edges, np.nextafter(edges, np.float32(-9)), np.nextafter(edges, np.float32(9))])
    xyz = normal(rng, n, 3, scale=3)
    where = rng.random(xyz.shape) < 0.3
    xyz[where] = rng.choice(edges, where.sum())
    return sprinkle(rng, xyz, 0.05)


def K(fx, fy, cx, cy):
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float64)


def image(kernel):
    rng = np.random.default_rng(0)
    plain, bent = (0.0,) * 5, (-0.3, 0.1, 1e-3, -2e-3, 0.01)
    wild = (1e10, -1e20, 3e30, -3e30, 3e38)
    far = K(20, 20, 1e30, -1e30)
    for shape, out_shape, K_src, distortion, K_dst in (
        ((37, 53), (17, 29), K(40, 40, 26, 18), plain, K(20, 22, 14, 8)),
        ((37, 53), (17, 29), K(40, 40, 26, 18), bent, K(20, 22, 14, 8)),
        ((37, 53), (6, 9), K(40, 40, 26, 18), plain, K(5, 4, 2, 3)),  # many source pixels in each
        ((37, 53), (30, 20), K(40, 40, 26, 18), plain, K(22, 22, -4, 20)),  # part of the columns
        ((9, 7), (33, 31), K(5, 5, 3, 4), plain, K(25, 25, 15, 16)),
        ((1, 1), (5, 4), K(1, 1, 0.5, 0.5), bent, K(2, 2, 2, 2)),
        ((1, 1), (5, 4), K(1, 1, 0.5, 0.5), plain, K(2, 2, 2, 2)),
        ((6, 8), (0, 4), K(5, 5, 3, 4), plain, K(5, 5, 3, 4)),
        ((6, 8), (4, 0), K(5, 5, 3, 4), bent, K(5, 5, 3, 4)),
        ((6, 8), (5, 4), far, plain, K(20, 20, 2, 2)),
        ((6, 8), (5, 4), K(20, 20, 2, 2), plain, far),
        ((6, 8), (5, 4), far, bent, K(20, 20, 2, 2)),
        ((6, 8), (5, 4), K(3e38, 1e-38, 2, 2), plain, K(1e-38, 3e38, 2, 2)),
        ((6, 8), (5, 4), K(1e-38, 3e38, 2, 2), bent, K(3e38, 1e-38, 2, 2)),
        ((6, 8), (5, 4), K(5, 5, 3, 4), wild, K(5, 5, 3, 4)),
    ):
        src = rng.integers(0, 256, (*shape, 3), np.uint8)
        out = np.empty((3, *out_shape), np.float32)
        kernel(src, out, K_src, distortion, K_dst, bgr=True, mean=(120, 110, 100), std=(50, 60, 70))
        yield out


def deskew(kernel):
    rng = np.random.default_rng(1)
    for n, knots, spoil, ordered in (
        (300, 5, False, False),
        (300, 5, True, False),
        (1000, 5, False, True),
        (1000, 5, True, True),
        (50, 1, True, False),
        (0, 3, False, False),
        (1, 2, False, False),
    ):
        xyz, t = normal(rng, n, 3, scale=40), normal(rng, n, scale=0.1)
        if ordered:
            t = np.sort(t)
        if spoil:
            share = 0.02 if ordered else 0.3
            xyz, t = sprinkle(rng, xyz, share), sprinkle(rng, t, share)
        knots_t = np.linspace(-0.1, 0.1, knots).astype(np.float32)
        out = np.empty((n, 3), np.float32)
        kernel(xyz, t, knots_t, normal(rng, knots, 3, 4), out)
        yield out


def pillars(kernel):
    rng = np.random.default_rng(2)
    for channels in (1, 24, 128):
        out = np.full((GRID.ny, GRID.nx, channels + 1), np.nan, np.float32)  # cleared by the kernel
        W, b = normal(rng, 8, channels), normal(rng, channels)
        for n in (500, 3000, 0, 1, 700):
            xyz, intensity = hostile_cloud(rng, n), sprinkle(rng, rng.random(n).astype(np.float32), 0.02)
            counts = kernel(xyz, intensity, W, b, GRID, -2.0, 2.5, out)
            yield from (out.copy(), np.array(list(counts.values())))
    out = np.empty((1, 1, 5), np.float32)
    crowd = np.full((2000, 3), 0.25, np.float32)
    kernel(crowd, np.ones(2000, np.float32), normal(rng, 8, 4), normal(rng, 4), ONE_CELL, -1e5, 1e5, out)
    yield out


def lift(kernel):
    rng = np.random.default_rng(3)
    camera = K(6, 6, 5, 3) @ np.array([[0, -1, 0, 0], [0, 0, -1, 1.6], [1, 0, 0, 0.3]])
    for cameras, channels, shape, levels, spoil in (
        (3, 19, (7, 11), 3, False),
        (2, 5, (7, 11), 2, True),
        (0, 3, (2, 2), 1, False),
        (1, 256, (1, 1), 1, False),
        (1, 2, (3, 4), 0, False),
    ):
        P = (camera + 0.1 * rng.standard_normal((cameras, 3, 4))).astype(np.float32)
        features = normal(rng, cameras, *shape, channels)
        if spoil:
            P, features = sprinkle(rng, P, 0.1), sprinkle(rng, features, 0.1)
        out = np.empty((GRID.ny, GRID.nx, channels), np.float32)
        depth = np.empty((GRID.ny, GRID.nx), np.float32)
        kernel(features, P, GRID, np.linspace(0, 2, levels), out, depth)
        yield from (out, depth)


def bev_warp(kernel):
    rng = np.random.default_rng(4)
    turn = np.array([[0.995, -0.0998, 0.7], [0.0998, 0.995, -0.3]], np.float32)
    warps = [turn] + [sprinkle(rng, turn) for _ in range(10)]
    for grid, channels in ((GRID, 9), (ONE_CELL, 2), (GRID, 0)):
        for T in warps:
            state = normal(rng, grid.ny, grid.nx, channels)
            out = np.empty_like(state)
            kernel(sprinkle(rng, state, 0.1) if T is not turn else state, T, grid, out)
            yield out


def decode(kernel):
    rng = np.random.default_rng(5)
    heat = normal(rng, 3, GRID.ny, GRID.nx)
    regression = normal(rng, GRID.ny, GRID.nx, 15)
    checkers = np.zeros_like(heat)
    checkers[:, ::2, ::2] = 1
    for heatmap, boxes, k in (
        (heat, regression, 500),
        (heat, regression, 7),
        (heat, regression, 0),
        (np.round(heat), regression, 20),
        (np.zeros_like(heat), regression, 20),
        (checkers, regression, 20),
        (sprinkle(rng, heat), sprinkle(rng, regression, 0.02), 20),
        (sprinkle(rng, heat), sprinkle(rng, regression, 1.0), 20),
        (heat[:0], regression, 20),
    ):
        out = np.zeros((k, 16), np.float32)
        n = kernel(heatmap, boxes, GRID, 0.3, k, out)
        yield from (out, np.array([n, *kernel.counts.values()]))
    out = np.zeros((2, 16), np.float32)
    yield np.array(kernel(np.ones((1, 1, 1), np.float32), normal(rng, 1, 1, 15), ONE_CELL, 0.5, 2, out))
    yield out


def nms(kernel):
    rng = np.random.default_rng(6)
    plain = normal(rng, 150, 7, scale=3)
    plain[:, 3:6] = np.exp(plain[:, 3:6] / 3)
    slivers = normal(rng, 150, 7, scale=1e-3)  # edges on edges: rounding decides on each corner
    slivers[:, 3:5] = np.abs(rng.choice(np.array([0, 1e-45, 1e-7, 1, 1e7], np.float32), (150, 2)))
    slivers[:, 6] = rng.choice(np.float32([0, np.pi / 2, np.pi / 4, 1e-7, np.pi]), 150)
    wild = [sprinkle(rng, plain, share) for share in (0.03, 0.3, 1.0)]
    for boxes in (
        plain,
        slivers,
        -plain,
        np.zeros_like(plain),
        np.repeat(plain[:1], 9, 0),
        plain[:0],
        plain[:1],
        *wild,
    ):
        boxes, n = np.ascontiguousarray(boxes), len(boxes)
        for iou in (0.0, 0.3, 1.0):
            keep = np.full(n, -1, np.int32)
            kept = kernel(
                boxes, np.zeros(n, np.float32), rng.integers(0, 3, n).astype(np.int32), [iou] * 3, keep
            )
            yield keep[:kept]


def roi_sample(kernel):
    rng = np.random.default_rng(7)
    features = normal(rng, GRID.ny, GRID.nx, 6)
    boxes = normal(rng, 60, 7, scale=3)
    for maps, where in (
        (features, boxes),
        (sprinkle(rng, features), sprinkle(rng, boxes)),
        (np.zeros((GRID.ny, GRID.nx, 0), np.float32), boxes),
        (features, boxes[:0]),
    ):
        out = np.empty((len(where), 5 * maps.shape[2]), np.float32)
        kernel(maps, where, GRID, out)
        yield out


def view_sample(kernel):
    rng = np.random.default_rng(11)
    ahead = np.float32([[3, -4, 0, 0], [2.5, 0, -4, 1], [1, 0, 0, 2]])
    for cameras, channels, n in ((1, 6, 60), (3, 6, 60), (2, 0, 5), (0, 4, 5), (2, 3, 0)):
        P = ahead + normal(rng, cameras, 3, 4, scale=0.3)
        P[2:] = 0
        maps, boxes = normal(rng, cameras, 5, 6, channels), normal(rng, n, 7, scale=3)
        for where, these in ((P, boxes), (sprinkle(rng, P), sprinkle(rng, boxes))):
            out = np.full((n, 9 * channels), np.nan, np.float32)
            kernel(maps, where, these, out)
            yield out


def roi_points(kernel):
    from fusion_rt.kernels.launchers import PillarsKernel

    rng = np.random.default_rng(8)
    # The points by cell are where the kernel itself works.
    encoder = kernel.encoder() if hasattr(kernel, "encoder") else PillarsKernel(kernel.threads)
    canvas = np.empty((GRID.ny, GRID.nx, 2), np.float32)
    for n, boxes in ((3000, 40), (0, 3), (500, 0), (1, 1)):
        xyz = hostile_cloud(rng, n)
        encoder(xyz, np.ones(n, np.float32), normal(rng, 8, 1), normal(rng, 1), GRID, -2.0, 2.5, canvas)
        for channels in (64, 128):
            first = [normal(rng, 3, 16), normal(rng, 3, 16), normal(rng, 3, 16)]
            second = normal(rng, 16, channels), normal(rng, channels)
            for rows in (
                normal(rng, boxes, 16, scale=2),
                sprinkle(rng, normal(rng, boxes, 16, scale=2), 0.1),
            ):
                rows[:, 10] = rng.integers(3, size=boxes)
                out = np.full((boxes, channels + 1), np.nan, np.float32)
                kernel(encoder.grouped, rows, 0.5, 40, *first, *second, out)
                yield out


def decoded(rng, n):
    """Rows of the decode kernel, and whatever else."""
    rows = normal(rng, n, 16, scale=4)
    rows[:, [3, 4, 5, 11, 12, 13, 14, 15]] = np.exp(0.5 * rows[:, [3, 4, 5, 11, 12, 13, 14, 15]])
    rows[:, 9] = rng.random(n)
    rows = sprinkle(rng, rows, 0.05)
    rows[:, 10] = rng.integers(3, size=n)
    return rows


def box_context(kernel):
    rng = np.random.default_rng(9)
    for n in (60, 1, 0):
        out = np.full((n, 16), np.nan, np.float32)
        kernel(decoded(rng, n), out)
        yield out


def box_refine(kernel):
    rng = np.random.default_rng(10)
    for n in (60, 1, 0):
        answer = [sprinkle(rng, normal(rng, n, width), 0.05) for width in (1, 8, 1, 5)]
        out = np.full((n, 16), np.nan, np.float32)
        kernel(decoded(rng, n), normal(rng, 3, 2), *answer, out)
        yield out


CASES = {
    f.__name__: f
    for f in (
        *(image, deskew, pillars, lift, bev_warp, decode, nms),
        *(roi_sample, view_sample, roi_points, box_context, box_refine),
    )
}


def main(path):
    from fusion_rt.kernels import native
    from fusion_rt.kernels.launchers import KERNELS

    build = native.load(path)
    native.library = lambda instruction_set="": build
    for threads in (1, 3):
        for name, case in CASES.items():
            for _ in case(KERNELS[name](threads)):
                pass
            print(threads, name, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
