// The points in and around a box, for the second look at it: two linear layers over each, the largest response of
// all. A maximum has no order, so the result has none either.
#include "grouped.h"

#define FRT_ROI_HIDDEN 16
#define FRT_ROI_BLOCK 64

// The first cell of a canvas that a coordinate may lie in; NaN is the first one of all.
FRT_DEVICE int cell_at(float u, int n) { return int(frt_hold(u, 0.0f, float(n - 1))); }

// Four wide vectors of channels side by side: alone, each would wait for its own last sum.
FRT_DEVICE void respond(const float* hidden, const float* second, const float* bias, int channels, float* largest) {
  float y[4][16];
  FRT_UNROLL(4)
  for (int k = 0; k < 4; ++k) FRT_VECTOR(j, 16) y[k][j] = bias[16 * k + j];
  for (int a = 0; a < FRT_ROI_HIDDEN; ++a) {
    const float* w = second + a * channels;
    const float h = hidden[a];
    FRT_UNROLL(4)
    for (int k = 0; k < 4; ++k) FRT_VECTOR(j, 16) y[k][j] = frt_mad(h, w[16 * k + j], y[k][j]);
  }
  FRT_UNROLL(4)
  for (int k = 0; k < 4; ++k) FRT_VECTOR(j, 16) frt_max(&largest[16 * k + j], y[k][j]);
}

// Where a box is, and which cells may hold its points: those of the upright rectangle around it.
struct Reach {
  float half[3], limit[3];
  float c, s;
  int left, low, width, area;
};

FRT_DEVICE Reach reach_of(const float* row, float margin, Grid g) {
  Reach r;
  for (int a = 0; a < 3; ++a) {
    r.half[a] = 0.5f * row[3 + a];
    r.limit[a] = r.half[a] + margin;
  }
  r.c = cosf(row[6]);
  r.s = sinf(row[6]);
  // Broken sizes must not turn the rectangle inside out.
  const float dx = fmaxf(fabsf(r.c) * r.limit[0] + fabsf(r.s) * r.limit[1], 0.0f);
  const float dy = fmaxf(fabsf(r.s) * r.limit[0] + fabsf(r.c) * r.limit[1], 0.0f);
  const float x = row[0] - g.x_min, y = row[1] - g.y_min;
  r.left = cell_at((x - dx) / g.cell, g.nx);
  r.low = cell_at((y - dy) / g.cell, g.ny);
  r.width = cell_at((x + dx) / g.cell, g.nx) - r.left + 1;
  r.area = r.width * (cell_at((y + dy) / g.cell, g.ny) - r.low + 1);
  return r;
}

// A point x, y from the box's centre and at z, in the box's frame; false outside of its limits. Whatever is not a
// number is outside.
FRT_DEVICE bool place(const Reach& r, float x, float y, float up, float* along, float* across) {
  *along = frt_mad(r.c, x, frt_mul(r.s, y));
  *across = frt_mad(r.c, y, -frt_mul(r.s, x));
  // Without a branch, so that a CPU takes several points at once.
  return (fabsf(*along) <= r.limit[0]) & (fabsf(*across) <= r.limit[1]) & (fabsf(up) <= r.limit[2]);
}

// A number from 0 to 65535 that follows from where a point lies in its cell, to the millimetre or so, and else looks
// drawn by lot: which points of a crowd are looked at must not depend on their order.
FRT_DEVICE unsigned lot(const float* point) {
  unsigned h = 0;
  for (int a = 0; a < 3; ++a) h = (h ^ unsigned(int(floorf(point[a] * 1024.0f)))) * 0x9E3779B1u;
  h ^= h >> 15;
  h *= 0x85EBCA77u;
  return h >> 16;
}

// rows (n, 16): x y z l w h yaw .. class; points count up to `margin` outside of the faces, and of a box with more
// than `most` about so many are looked at. `at` (3, hidden) is for along, across and up from the centre; `size`
// (3, hidden) for half the length, width and height; `kind` (classes, hidden) holds the first bias; `second`
// (hidden, channels) and `bias` (channels). out (n, channels + 1), last log(1 + count) / 5; `inside` has room for n
// counts.
FRT_KERNEL(roi_points)(const float* grouped, const int* start, const int* count, int layers, Grid g, const float* rows,
                       const int* held, int room, float margin, int most, const float* at, const float* size, const float* kind,
                       const float* second, const float* bias, int channels, int* inside, float* out) {
  const int cells = g.nx * g.ny, n = frt_held(held, room);
  FRT_FOR_TEAM(turn, n) {
    // The best boxes come first, and many of them are near and crowded: neighbours go to different workers.
    const int half = (n + 1) / 2, i = turn < half ? 2 * turn : 2 * (turn - half) + 1;
    const float* row = rows + 16 * (long long)i;
    float* mine = out + (long long)(channels + 1) * i;
    FRT_LANES(j, 0, channels) mine[j] = 0.0f;
    FRT_LANES(once, 0, 1) inside[i] = 0;
    FRT_SYNC();

    const Reach r = reach_of(row, margin, g);
    float base[FRT_ROI_HIDDEN];
    FRT_VECTOR(j, FRT_ROI_HIDDEN) {
      base[j] = kind[FRT_ROI_HIDDEN * int(row[10]) + j];
      for (int a = 0; a < 3; ++a) base[j] = frt_mad(r.half[a], size[FRT_ROI_HIDDEN * a + j], base[j]);
    }
    unsigned share = 65536;  // of the points, those whose lot is below it
    for (int counted = 0; counted < 2; ++counted) {
      int found = 0;
      FRT_LANES(k, 0, r.area) {
        const int col = r.left + k % r.width, line = r.low + k / r.width, cell = line * g.nx + col;
        const int m = points_of(count, layers, cells, cell);
        const float* points = first_of(grouped, start, layers, cells, cell, m);
        const float x = g.x_min + (float(col) + 0.5f) * g.cell - row[0];
        const float y = g.y_min + (float(line) + 0.5f) * g.cell - row[1];
        float along, across;
        for (int p = 0; p < (counted ? 0 : m); ++p)
          found += place(r, x + points[4 * p], y + points[4 * p + 1], points[4 * p + 2] - row[2], &along, &across);
        for (int p = 0; p < (counted ? m : 0); ++p) {
          const float* point = points + 4 * p;
          if (share < 65536 && lot(point) >= share) continue;
          const float up = point[2] - row[2];
          if (!place(r, x + point[0], y + point[1], up, &along, &across)) continue;
          float hidden[FRT_ROI_HIDDEN];
          FRT_VECTOR(j, FRT_ROI_HIDDEN) {
            const float* w = at + j;
            const float h = frt_mad(
                up, w[2 * FRT_ROI_HIDDEN], frt_mad(across, w[FRT_ROI_HIDDEN], frt_mad(along, w[0], base[j])));
            hidden[j] = h > 0.0f ? h : 0.0f;
          }
          for (int b = 0; b < channels; b += FRT_ROI_BLOCK) respond(hidden, second + b, bias + b, channels, mine + b);
        }
      }
      if (counted) break;
      if (found) frt_add_shared(&inside[i], found);
      FRT_SYNC();
      found = inside[i];
      FRT_LANES(last, 0, 1) mine[channels] = log1pf(float(found)) / 5.0f;
      if (found == 0) break;
      if (found > most) share = unsigned(65536.0f * float(most) / float(found));
    }
  }
}
