// Points to a canvas: for each occupied cell the largest response of a linear layer over its points. No cap on
// points or pillars. Sums are integers and maxima have no order, so the result has none either.
#include "frt.h"

#define FRT_MAX_CHANNELS 128

// What became of each point; the counters are shared.
enum { NOT_FINITE = 0, OUTSIDE = 1, PILLARS = 2, CURSOR = 3, COUNTERS = 4 };

FRT_KERNEL(pillars_cells)(const float* xyz, const float* intensity, int n, Grid g, float z_min, float z_max,
                          int* cell, int* counters) {
  int not_finite = 0, outside = 0;
  FRT_FOR(i, n) {
    const float x = xyz[3 * i], y = xyz[3 * i + 1], z = xyz[3 * i + 2];
    int where = -1;
    if (!(frt_finite(x) && frt_finite(y) && frt_finite(z) && frt_finite(intensity[i]))) {
      ++not_finite;
    } else {
      if (z >= z_min && z < z_max) where = grid_cell(g, x, y);
      if (where < 0) ++outside;
    }
    cell[i] = where;
  }
  if (not_finite) frt_add_shared(&counters[NOT_FINITE], not_finite);
  if (outside) frt_add_shared(&counters[OUTSIDE], outside);
}

FRT_KERNEL(pillars_count)(const int* cell, int n, int* count) {
  FRT_FOR_OWNED(i, n, cell[i]) { frt_add(&count[cell[i]], 1); }
}

// Gives each occupied cell a place in the list of pillars and in the list of points.
FRT_KERNEL(pillars_place)(const int* count, int cells, int* start, int* pillar, int* counters) {
  FRT_FOR(c, cells) {
    if (count[c] > 0) {
      start[c] = frt_add_shared(&counters[CURSOR], count[c]);
      pillar[frt_add_shared(&counters[PILLARS], 1)] = c;
    }
  }
}

FRT_KERNEL(pillars_group)(const int* cell, int n, int* start, int* grouped) {
  FRT_FOR_OWNED(i, n, cell[i]) { grouped[frt_add(&start[cell[i]], 1)] = i; }
}

// After grouping, start[c] is one past the cell's last point. W is (8, channels), out (channels + 1, ny, nx).
// Intensity is held to 0..1: one absurd value would fill the network's memory with infinities.
FRT_KERNEL(pillars_encode)(const float* xyz, const float* intensity, const int* grouped, const int* start,
                           const int* count, const int* pillar, int pillars, const float* W, const float* b,
                           int channels, Grid g, float* out) {
  const float quantum = 1.0f / 65536.0f;  // m: sums of positions are exact integers
  const int cells = g.nx * g.ny;
  FRT_FOR(p, pillars) {
    const int c = pillar[p], n = count[c];
    const int* mine = grouped + (start[c] - n);
    const float cx = g.x_min + (float(c % g.nx) + 0.5f) * g.cell, cy = g.y_min + (float(c / g.nx) + 0.5f) * g.cell;
    long long sx = 0, sy = 0, sz = 0;
    for (int k = 0; k < n; ++k) {
      const float* point = xyz + 3 * mine[k];
      sx += (long long)((point[0] - cx) * 65536.0f);
      sy += (long long)((point[1] - cy) * 65536.0f);
      sz += (long long)(point[2] * 65536.0f);
    }
    const float mx = float(double(sx) / n) * quantum, my = float(double(sy) / n) * quantum;
    const float mz = float(double(sz) / n) * quantum;
    const float crowd = log1pf(float(n)) / 5.0f;
    float best[FRT_MAX_CHANNELS];
    for (int j = 0; j < channels; ++j) best[j] = 0.0f;  // ReLU
    for (int k = 0; k < n; ++k) {
      const float* point = xyz + 3 * mine[k];
      const float dx = point[0] - cx, dy = point[1] - cy;
      const float bright = fminf(fmaxf(intensity[mine[k]], 0.0f), 1.0f);
      const float f[8] = {dx / g.cell, dy / g.cell, point[2], bright, dx - mx, dy - my, point[2] - mz, crowd};
      float y[FRT_MAX_CHANNELS];
      for (int j = 0; j < channels; ++j) y[j] = b[j];
      for (int i = 0; i < 8; ++i)
        for (int j = 0; j < channels; ++j) y[j] = frt_mad(f[i], W[i * channels + j], y[j]);
      for (int j = 0; j < channels; ++j) best[j] = y[j] > best[j] ? y[j] : best[j];
    }
    for (int j = 0; j < channels; ++j) out[j * cells + c] = best[j];
    out[channels * cells + c] = crowd;
  }
}

// Undoes a call: only its own pillars are touched.
FRT_KERNEL(pillars_clear)(const int* pillar, int pillars, int planes, int cells, float* out, int* count) {
  FRT_FOR(p, pillars) {
    for (int j = 0; j < planes; ++j) out[j * cells + pillar[p]] = 0.0f;
    count[pillar[p]] = 0;
  }
}
