// Points to a canvas: for each occupied cell the largest response of a linear layer over its points. No cap on
// points or pillars. Sums are integers and maxima have no order, so the result has none either.
#include "grouped.h"

// What became of each point; the counters are shared.
enum { NOT_FINITE = 0, OUTSIDE = 1, PILLARS = 2, CURSOR = 3, COUNTERS = 4 };

// The cells of points [first, last), -1 outside. `dropped` counts by cause. Without a branch and with nothing that
// could overlap, so that a CPU takes several points at once.
FRT_DEVICE void cells_of(const float* __restrict__ xyz, const float* __restrict__ intensity, int first, int last,
                         Grid g, float z_min, float z_max, int* __restrict__ cell, int* dropped) {
  int not_finite = 0, outside = 0;
  for (int i = first; i < last; ++i) {
    const float x = xyz[3 * i], y = xyz[3 * i + 1], z = xyz[3 * i + 2];
    const int finite = (x - x) + (y - y) + (z - z) + (intensity[i] - intensity[i]) == 0.0f;
    const Place at = grid_place(g, x, y);
    const int inside = at.inside & (z >= z_min) & (z < z_max) & finite;
    cell[i] = inside ? at.cell : -1;
    not_finite += 1 - finite;
    outside += finite - inside;
  }
  dropped[NOT_FINITE] += not_finite;
  dropped[OUTSIDE] += outside;
}

// The cell of each point, how many points each has, and a list of those that have one: `count`, `start` and `touched`
// have a layer of `cells` for each worker and `fresh` a number, so that all count at once. What a worker counted here
// it also groups below: both loops are the same.
FRT_KERNEL(pillars_cells)(const float* xyz, const float* intensity, int n, Grid g, float z_min, float z_max,
                          int* cell, int* count, int* touched, int* fresh, int* counters) {
  int dropped[2] = {0, 0};
  const long long layer = (long long)FRT_LAYER * g.nx * g.ny;
  FRT_FOR_SLICE(first, end, n) {
    for (int i = first, next; i < end; i = next) {  // in pieces that stay in the nearest cache
      next = i + 4096 < end ? i + 4096 : end;
      cells_of(xyz, intensity, i, next, g, z_min, z_max, cell, dropped);
      for (int k = i; k < next; ++k) {
        if (cell[k] < 0 || frt_add(&count[layer + cell[k]], 1) > 0) continue;
        touched[layer + frt_add(&fresh[FRT_LAYER], 1)] = cell[k];
      }
    }
  }
  if (dropped[NOT_FINITE]) frt_add_shared(&counters[NOT_FINITE], dropped[NOT_FINITE]);
  if (dropped[OUTSIDE]) frt_add_shared(&counters[OUTSIDE], dropped[OUTSIDE]);
}

// Gives each occupied cell a place in the list of pillars and in the list of points, in `start`: a worker counts its own
// first, so that all ask the shared counters only once. Of the layers that touched a cell the first one lists it.
FRT_KERNEL(pillars_place)(const int* count, const int* touched, const int* fresh, int layers, int cells, int* start,
                          int* pillar, int* counters) {
  int points = 0, pillars = 0;
  for (int given = 0; given < 2; ++given) {
    for (int k = 0; k < layers; ++k) {
      FRT_FOR(i, fresh[k]) {
        const int c = touched[(long long)k * cells + i];
        if (points_of(count, k, cells, c) > 0) continue;
        if (!given) {
          points += points_of(count, layers, cells, c);
          ++pillars;
          continue;
        }
        pillar[pillars++] = c;
        for (int l = k; l < layers; ++l) {
          start[(long long)l * cells + c] = points;
          points += count[(long long)l * cells + c];
        }
      }
    }
    if (given || pillars == 0) return;
    points = frt_add_shared(&counters[CURSOR], points);
    pillars = frt_add_shared(&counters[PILLARS], pillars);
  }
}

// Lays the points of a cell side by side: x, y from its centre, z (m), intensity held to 0..1 (one absurd value
// would fill the network's memory with infinities). Afterwards `start` is one past the points of a layer.
FRT_KERNEL(pillars_group)(const float* xyz, const float* intensity, const int* cell, int n, Grid g, int* start,
                          float* grouped) {
  int* mine = start + (long long)FRT_LAYER * g.nx * g.ny;
  const double rows = 1.0 / g.nx;
  FRT_FOR(i, n) {
    const int c = cell[i];
    if (c < 0) continue;
    const int row = int((c + 0.5) * rows);  // c / nx, five times as fast: half a cell is more than any rounding
    float* point = grouped + 4 * (long long)frt_add(&mine[c], 1);
    point[0] = xyz[3 * i] - (g.x_min + (float(c - row * g.nx) + 0.5f) * g.cell);
    point[1] = xyz[3 * i + 1] - (g.y_min + (float(row) + 0.5f) * g.cell);
    point[2] = xyz[3 * i + 2];
    point[3] = frt_hold(intensity[i], 0.0f, 1.0f);
  }
}

#define FRT_CROWDS 64  // fewer points than that are in nearly every pillar

FRT_DEVICE float crowd_of(int points) { return log1pf(float(points)) / 5.0f; }

// The layer as its products are made: nine rows, of x, y, z and intensity of a point, of the pillar's mean (3), of its
// crowd, and the bias. The layer sees a point's offsets from the cell's centre and from the pillar's mean, which differ
// by a constant: both are one product. `merged` (9, wide) is as wide as the channels, rounded up to sixteens.
FRT_KERNEL(pillars_merge)(const float* W, const float* b, int channels, float cell, int wide, float* merged,
                          float* crowds) {
  FRT_FOR(n, FRT_CROWDS) crowds[n] = crowd_of(n);
  FRT_FOR(j, wide) {
    const bool one = j < channels;
    for (int a = 0; a < 3; ++a) {
      const float own = one ? W[a * channels + j] : 0.0f, apart = one ? W[(4 + a) * channels + j] : 0.0f;
      merged[a * wide + j] = (a < 2 ? own / cell : own) + apart;
      merged[(4 + a) * wide + j] = apart;
    }
    merged[3 * wide + j] = one ? W[3 * channels + j] : 0.0f;
    merged[7 * wide + j] = one ? W[7 * channels + j] : 0.0f;
    merged[8 * wide + j] = one ? b[j] : 0.0f;
  }
}

// The largest response of each of N channels over the points of a pillar, at least 0. `layer` points at the first of
// them in the merged rows.
template <int N>
FRT_DEVICE void respond(const float* points, int n, const float* mean, float crowd, const float* layer, int wide,
                        float* out) {
  float base[N], best[N];
  FRT_VECTOR(j, N) {
    base[j] = frt_mad(crowd, layer[7 * wide + j], layer[8 * wide + j]);
    for (int a = 0; a < 3; ++a) base[j] = frt_mad(-mean[a], layer[(4 + a) * wide + j], base[j]);
    best[j] = 0.0f;  // ReLU
  }
  for (int k = 0; k < n; ++k) {
    const float* p = points + 4 * k;
    FRT_VECTOR(j, N) {
      const float y = frt_mad(
          p[3], layer[3 * wide + j],
          frt_mad(p[2], layer[2 * wide + j], frt_mad(p[1], layer[wide + j], frt_mad(p[0], layer[j], base[j]))));
      best[j] = y > best[j] ? y : best[j];
    }
  }
  FRT_VECTOR(j, N) out[j] = best[j];
}

// merged as pillars_merge leaves it, out (ny, nx, channels + 1).
FRT_KERNEL(pillars_encode)(const float* grouped, const int* start, const int* count, int layers, int cells,
                           const int* pillar, const int* counters, const float* merged, int wide, int channels,
                           const float* crowds, float* out) {
  const double quantum = 1.0 / 65536.0;  // m: sums of positions are exact integers
  FRT_FOR(p, counters[PILLARS]) {
    const int c = pillar[p], n = points_of(count, layers, cells, c);
    const float* points = first_of(grouped, start, layers, cells, c, n);
    long long sum[3] = {0, 0, 0};
    for (int k = 0; k < n; ++k)
      for (int a = 0; a < 3; ++a) sum[a] += (long long)(points[4 * k + a] * 65536.0f);
    float mean[3];
    for (int a = 0; a < 3; ++a) mean[a] = float(double(sum[a]) / n * quantum);
    const float crowd = n < FRT_CROWDS ? crowds[n] : crowd_of(n);
    float* mine = out + (long long)c * (channels + 1);
    int j = 0;
    // The plane after the channels is written last.
    for (; j + 16 <= channels + 1; j += 16) respond<16>(points, n, mean, crowd, merged + j, wide, mine + j);
    for (; j + 4 <= channels + 1; j += 4) respond<4>(points, n, mean, crowd, merged + j, wide, mine + j);
    for (; j < channels; ++j) respond<1>(points, n, mean, crowd, merged + j, wide, mine + j);
    mine[channels] = crowd;
  }
}

// Undoes a call: only its own pillars are touched.
FRT_KERNEL(pillars_clear)(const int* pillar, const int* counters, int planes, int layers, int cells, float* out,
                          int* count) {
  FRT_FOR(p, counters[PILLARS]) {
    float* mine = out + (long long)pillar[p] * planes;
    for (int j = 0; j < planes; ++j) mine[j] = 0.0f;
    for (int k = 0; k < layers; ++k) count[(long long)k * cells + pillar[p]] = 0;
  }
}
