"""What each kernel means, in plain numpy. Decisions at a border are taken in float32, as the kernels must;
values are computed in float64. Canvases are planes here, (C, ny, nx); the kernels' are (ny, nx, C)."""

import itertools
from typing import NamedTuple

import numpy as np


class Grid(NamedTuple):
    x_min: float
    y_min: float
    cell_m: float
    nx: int
    ny: int


def centres(grid):
    """x (nx,) and y (ny,) of the cells' centres, float32."""
    x, y, cell, half = (np.float32(v) for v in (grid.x_min, grid.y_min, grid.cell_m, 0.5))
    ix, iy = np.arange(grid.nx, dtype=np.float32), np.arange(grid.ny, dtype=np.float32)
    return x + (ix + half) * cell, y + (iy + half) * cell


# --- image -------------------------------------------------------------------------------------------------


def image(src, K_src, distortion, K_dst, shape, *, bgr, mean, std):
    """(3, h, w) float64, and where (h, w) the source shows it."""
    if any(distortion):
        pixels, seen = _undistorted(src, K_src, distortion, K_dst, shape)
    else:
        (h, w), (src_h, src_w) = shape, src.shape[:2]
        rows, rows_seen = _box_filter(h, K_src[1, 1], K_dst[1, 1], K_src[1, 2], K_dst[1, 2], src_h)
        columns, columns_seen = _box_filter(w, K_src[0, 0], K_dst[0, 0], K_src[0, 2], K_dst[0, 2], src_w)
        pixels = np.einsum("yv,vuc,xu->yxc", rows, src.astype(np.float64), columns, optimize=True)
        seen = rows_seen[:, None] & columns_seen
    rgb = pixels[..., ::-1] if bgr else pixels
    normal = np.where(seen[..., None], (rgb - mean) / std, 0.0)
    return normal.transpose(2, 0, 1), seen


def _box_filter(n, f_src, f_dst, c_src, c_dst, size):
    """(n, size) weights: the share of each source pixel in a destination pixel's footprint, which is at
    least one source pixel wide."""
    ratio = f_src / f_dst
    centre = (np.arange(n) + 0.5 - c_dst) * ratio + c_src
    half = max(ratio, 1.0) / 2
    pixel = np.arange(size)
    cover = np.minimum(centre[:, None] + half, pixel + 1) - np.maximum(centre[:, None] - half, pixel)
    cover = np.maximum(cover, 0)
    seen = (centre >= 0) & (centre < size)
    return cover / np.where(seen, cover.sum(1), 1)[:, None], seen


def _undistorted(src, K_src, distortion, K_dst, shape):
    """The mean of a square of bilinear samples; more where the image shrinks."""
    ratio = max(K_src[0, 0] / K_dst[0, 0], K_src[1, 1] / K_dst[1, 1])
    n = 1 if ratio <= 1.2 else 2 if ratio <= 2.5 else 3
    k1, k2, p1, p2, k3 = distortion
    (h, w), (src_h, src_w) = shape, src.shape[:2]
    total, seen = np.zeros((h, w, 3)), np.ones((h, w), bool)
    for j in range(n):
        for i in range(n):
            x = ((np.arange(w) + (i + 0.5) / n - K_dst[0, 2]) / K_dst[0, 0])[None, :]
            y = ((np.arange(h) + (j + 0.5) / n - K_dst[1, 2]) / K_dst[1, 1])[:, None]
            r2 = x**2 + y**2
            radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
            u = K_src[0, 0] * (x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x**2)) + K_src[0, 2]
            v = K_src[1, 1] * (y * radial + p1 * (r2 + 2 * y**2) + 2 * p2 * x * y) + K_src[1, 2]
            inside = (u >= 0) & (u < src_w) & (v >= 0) & (v < src_h)
            seen &= inside
            padded = np.pad(src.astype(np.float64), ((1, 1), (1, 1), (0, 0)), mode="edge")
            total += bilinear(padded, np.where(inside, u, 0) + 0.5, np.where(inside, v, 0) + 0.5)
    return total / n**2, seen


def bilinear(image, x, y):
    """image (h, w, c) where whole x, y are centres of pixels; all must lie inside."""
    x0 = np.clip(np.floor(x).astype(int), 0, image.shape[1] - 2)
    y0 = np.clip(np.floor(y).astype(int), 0, image.shape[0] - 2)
    fx, fy = (x - x0)[..., None], (y - y0)[..., None]
    top = image[y0, x0] * (1 - fx) + image[y0, x0 + 1] * fx
    bottom = image[y0 + 1, x0] * (1 - fx) + image[y0 + 1, x0 + 1] * fx
    return top * (1 - fy) + bottom * fy


# --- points ------------------------------------------------------------------------------------------------


def deskew(xyz, t, knots_t, knots_T):
    """Each point by the pose at its own time, poses mixed linearly between knots."""
    out = np.full(xyz.shape, np.nan)
    for i, (point, time) in enumerate(zip(xyz.astype(np.float64), t)):
        if len(knots_t) == 1:
            pose = knots_T[0].astype(np.float64)
        elif np.isnan(time):
            continue
        else:
            pose = np.array(
                [[np.interp(time, knots_t, knots_T[:, r, c]) for c in range(4)] for r in range(3)]
            )
        out[i] = pose[:, :3] @ point + pose[:, 3]
    return out


def cell_of(grid, x, y):
    """The flat cell of each point, -1 outside: cell (iy, ix) covers [min + i, min + i + 1) cells."""
    with np.errstate(over="ignore", invalid="ignore"):
        u = (x - np.float32(grid.x_min)) / np.float32(grid.cell_m)
        v = (y - np.float32(grid.y_min)) / np.float32(grid.cell_m)
    inside = (u >= 0) & (u < grid.nx) & (v >= 0) & (v < grid.ny)
    return np.where(
        inside, np.where(inside, v, 0).astype(int) * grid.nx + np.where(inside, u, 0).astype(int), -1
    )


def pillars(xyz, intensity, W, b, grid, z_min, z_max):
    """The canvas (C + 1, ny, nx) float64 and the counts."""
    finite = np.isfinite(xyz).all(1) & np.isfinite(intensity)
    z = xyz[:, 2]
    cell = np.where(
        (z >= np.float32(z_min)) & (z < np.float32(z_max)), cell_of(grid, xyz[:, 0], xyz[:, 1]), -1
    )
    used = finite & (cell >= 0)
    out = np.zeros((W.shape[1] + 1, grid.ny * grid.nx))
    x, y = centres(grid)
    occupied = np.unique(cell[used])
    for c in occupied:
        points = xyz[used & (cell == c)].astype(np.float64)
        bright = np.clip(intensity[used & (cell == c)], 0, 1)
        offset = points[:, :2] - [x[c % grid.nx], y[c // grid.nx]]
        crowd = np.log1p(len(points)) / 5
        features = np.column_stack(
            [
                offset / grid.cell_m,
                points[:, 2],
                bright,
                points - points.mean(0),
                np.full(len(points), crowd),
            ]
        )
        out[:-1, c] = np.maximum((features @ W + b).max(0), 0)
        out[-1, c] = crowd
    counts = {
        "points_in": int(used.sum()),
        "pillars": len(occupied),
        "not_finite": int((~finite).sum()),
        "outside": int((finite & ~used).sum()),
    }
    return out.reshape(-1, grid.ny, grid.nx), counts


# --- canvas ------------------------------------------------------------------------------------------------


def lift(features, P, grid, z_levels):
    """Mean of the samples of all cameras and heights that see a cell's centre, and of their depths."""
    cameras, channels, h, w = features.shape
    X, Y = np.meshgrid(*centres(grid))
    total, seen = np.zeros((grid.ny, grid.nx, channels)), np.zeros((grid.ny, grid.nx), int)
    depth = np.zeros((grid.ny, grid.nx))
    for k in range(cameras):
        padded = np.pad(
            features[k].transpose(1, 2, 0).astype(np.float64), ((1, 1), (1, 1), (0, 0)), mode="edge"
        )
        for z in np.asarray(z_levels, np.float32):
            with np.errstate(all="ignore"):
                d = P[k, 2, 0] * X + P[k, 2, 1] * Y + P[k, 2, 2] * z + P[k, 2, 3]
                u = (P[k, 0, 0] * X + P[k, 0, 1] * Y + P[k, 0, 2] * z + P[k, 0, 3]) / d
                v = (P[k, 1, 0] * X + P[k, 1, 1] * Y + P[k, 1, 2] * z + P[k, 1, 3]) / d
                inside = (d > np.float32(0.1)) & (u >= 0) & (u < w) & (v >= 0) & (v < h)
            sampled = bilinear(padded, np.where(inside, u, 0) + 0.5, np.where(inside, v, 0) + 0.5)
            total += np.where(inside[..., None], sampled, 0)
            depth += np.where(inside, d, 0)
            seen += inside
    return (total / np.maximum(seen, 1)[..., None]).transpose(2, 0, 1), depth / np.maximum(seen, 1)


def sample(planes, grid, x, y):
    """planes (C, ny, nx) at points x, y (m), bilinear between centres, 0 outside -> (n, C)."""
    padded = np.pad(planes.transpose(1, 2, 0).astype(np.float64), ((2, 2), (2, 2), (0, 0)))
    u = (x - grid.x_min) / grid.cell_m + 1.5
    v = (y - grid.y_min) / grid.cell_m + 1.5
    reach = (u > 0) & (u < grid.nx + 3) & (v > 0) & (v < grid.ny + 3)
    return np.where(reach[:, None], bilinear(padded, np.where(reach, u, 0), np.where(reach, v, 0)), 0)


def bev_warp(state, T_prev_now, grid):
    X, Y = (a.ravel().astype(np.float64) for a in np.meshgrid(*centres(grid)))
    x, y = T_prev_now.astype(np.float64) @ [X, Y, np.ones_like(X)]
    return sample(state, grid, x, y).T.reshape(state.shape)


def roi_sample(features, boxes, grid):
    """(n, 5 C): the centre, front, back, left and right of each box."""
    out = []
    for x, y, _, length, width, _, yaw in boxes.astype(np.float64):
        ahead = np.array([np.cos(yaw), np.sin(yaw)]) * length / 2
        left = np.array([-np.sin(yaw), np.cos(yaw)]) * width / 2
        points = np.array([x, y]) + [np.zeros(2), ahead, -ahead, left, -left]
        out.append(sample(features, grid, points[:, 0], points[:, 1]).ravel())
    return np.array(out).reshape(len(boxes), 5 * len(features))


def view_sample(features, P, boxes):
    """(n, 9 C): the mean, over cameras (V, C, h, w), (V, 3, 4), of 3 x 3 samples in each box's outline."""
    _, channels, h, w = features.shape
    corners = np.array(list(itertools.product((-0.5, 0.5), repeat=3)))
    out = np.zeros((len(boxes), 9, channels))
    for i, (x, y, z, *size, yaw) in enumerate(boxes.astype(np.float64)):
        turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
        points = np.array([x, y, z]) + (corners * size) @ turn.T
        seen = 0
        for planes, m in zip(features, P.astype(np.float64)):
            uvd = points @ m[:, :3].T + m[:, 3]
            uv = uvd[:, :2] / np.maximum(uvd[:, 2:], 0.1)
            left, top = np.clip(uv.min(0), 0, [w, h])
            right, bottom = np.clip(uv.max(0), 0, [w, h])
            if m[2, :3] @ [x, y, z] + m[2, 3] <= 0.1 or right <= left or bottom <= top:
                continue
            padded = np.pad(
                planes.transpose(1, 2, 0).astype(np.float64), ((1, 1), (1, 1), (0, 0)), mode="edge"
            )
            v, u = np.divmod(np.arange(9), 3)
            at_u, at_v = left + (u + 0.5) / 3 * (right - left), top + (v + 0.5) / 3 * (bottom - top)
            out[i] += bilinear(padded, at_u + 0.5, at_v + 0.5)
            seen += 1
        out[i] /= max(seen, 1)
    return out.reshape(len(boxes), 9 * channels)


def lots(offsets):
    """0..65535 of where points lie in their cells (N, 3), m."""
    out = []
    for offset in np.floor(offsets.astype(np.float64) * 1024).astype(int).tolist():
        h = 0
        for value in offset:
            h = ((h ^ (value & 0xFFFFFFFF)) * 0x9E3779B1) & 0xFFFFFFFF
        h = ((h ^ (h >> 15)) * 0x85EBCA77) & 0xFFFFFFFF
        out.append(h >> 16)
    return np.array(out, np.int64)


def roi_points(xyz, lot, rows, margin_m, most, at, size, kind, second, bias):
    """(n, C + 1) float64 of points (N, 3), their lots (N,) and rows (n, 16)."""
    out = []
    for row in rows.astype(np.float64):
        half, cos, sin = row[3:6] / 2, np.cos(row[6]), np.sin(row[6])
        d = xyz - row[:3]
        local = np.column_stack([cos * d[:, 0] + sin * d[:, 1], cos * d[:, 1] - sin * d[:, 0], d[:, 2]])
        inside = (np.abs(local) <= half + margin_m).all(1)
        found = int(inside.sum())
        if found > most:
            inside &= lot < int(65536 * np.float32(most) / np.float32(found))
        local = local[inside]
        hidden = np.maximum(local @ at + half @ size + kind[int(row[10])], 0)
        values = np.maximum(hidden @ second + bias, 0)
        out.append([*values.max(0, initial=0), np.log1p(found) / 5])
    return np.array(out).reshape(len(rows), len(bias) + 1)


# --- boxes -------------------------------------------------------------------------------------------------


def decode(heatmap, regression, grid, threshold, k, slack=0.0):
    """Rows (<= k, 16) float64, best first, and the counts."""
    logit = np.float32(np.log(threshold / (1 - threshold)))
    found, broken = [], 0
    for label, plane in enumerate(heatmap):
        for iy, ix in np.argwhere(plane > logit):
            value = plane[iy, ix]
            around = [
                (y, x)
                for y in range(max(iy - 1, 0), min(iy + 2, grid.ny))
                for x in range(max(ix - 1, 0), min(ix + 2, grid.nx))
            ]
            if any(
                plane[c] > value + np.float32(slack) or (plane[c] == value and c < (iy, ix)) for c in around
            ):
                continue
            if np.isfinite(value) and (np.abs(regression[:, iy, ix]) <= 1e6).all():
                found.append((-float(value), label, int(iy), int(ix)))
            else:
                broken += 1
    found.sort()
    rows = []
    for negative, label, iy, ix in found[:k]:
        r = regression[:, iy, ix].astype(np.float64)
        rows.append(
            [
                grid.x_min + (ix + 0.5 + r[0]) * grid.cell_m,
                grid.y_min + (iy + 0.5 + r[1]) * grid.cell_m,
                r[2],
                *np.exp(np.clip(r[3:6], -2, 3)),
                np.arctan2(r[6], r[7]) / 2,
                *r[8:10],
                1 / (1 + np.exp(negative)),
                label,
                *np.exp(np.clip(r[10:15], -6, 4)),
            ]
        )
    counts = {"peaks": len(found), "overflow": max(len(found) - k, 0), "broken": broken}
    return np.array(rows).reshape(-1, 16), counts


def corners(box):
    """(4, 2), counter-clockwise, of x y z l w h yaw."""
    x, y, _, length, width, _, yaw = (float(v) for v in box)
    turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
    return np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * [length / 2, width / 2] @ turn.T + [x, y]


def area(polygon):
    x, y = np.asarray(polygon).T
    return 0.5 * abs(np.dot(x, np.roll(y, -1)) - np.dot(np.roll(x, -1), y))


def iou(a, b):
    """Seen from above: a's corners, cut by the line of each edge of b."""
    polygon, clip = list(corners(a)), corners(b)
    for start, end in zip(clip, np.roll(clip, -1, axis=0)):
        side = [_cross(end - start, p - start) for p in polygon]
        cut = []
        for p, q, s, t in zip(polygon, polygon[1:] + polygon[:1], side, side[1:] + side[:1]):
            if s >= 0:
                cut.append(p)
            if s * t < 0:
                cut.append(p + (q - p) * s / (s - t))
        polygon = cut
        if not polygon:
            return 0.0
    common = area(polygon)
    union = float(a[3]) * float(a[4]) + float(b[3]) * float(b[4]) - common
    return common / union if union > 0 else 0.0


def _cross(a, b):
    return a[0] * b[1] - a[1] * b[0]


def nms(boxes, classes, threshold):
    keep = []
    for i in range(len(boxes)):
        if all(classes[i] != classes[k] or iou(boxes[k], boxes[i]) <= threshold for k in keep):
            keep.append(i)
    return keep


def logit(p):
    p = np.clip(p, 1e-4, 1 - 1e-4)
    return np.log(p / (1 - p))


def box_context(rows):
    rows = rows.astype(np.float64)
    return np.column_stack(
        [
            rows[:, :3] / (70, 35, 2),
            np.log(rows[:, 3:6]),
            np.sin(rows[:, 6]),
            np.cos(rows[:, 6]),
            rows[:, 7:9] / 10,
            logit(rows[:, 9]) / 4,
            rows[:, 10, None] == (0, 1, 2),
            np.log(rows[:, [11, 15]]) / 4,
        ]
    )


def box_refine(rows, fits, score, deltas, facing, log_sigma):
    out = rows.astype(np.float64)
    cos, sin = np.cos(rows[:, 6]), np.sin(rows[:, 6])
    out[:, 0] += cos * deltas[:, 0] - sin * deltas[:, 1]
    out[:, 1] += sin * deltas[:, 0] + cos * deltas[:, 1]
    out[:, 2] += deltas[:, 2]
    out[:, 3:6] *= np.exp(np.clip(deltas[:, 3:6], -1, 1))
    yaw = rows[:, 6] + np.arctan2(deltas[:, 6], 1 + deltas[:, 7]) / 2 + np.pi * (facing[:, 0] > 0)
    out[:, 6] = np.remainder(yaw + np.pi, 2 * np.pi) - np.pi
    gain, offset = fits[rows[:, 10].astype(int)].T
    out[:, 9] = 1 / (1 + np.exp(-(gain * (logit(rows[:, 9]) + score[:, 0]) + offset)))
    out[:, 11:] = np.exp(np.clip(np.log(rows[:, 11:]) + log_sigma, -6, 4))
    return out
