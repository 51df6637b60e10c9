// Onto and off the canvas: lift camera features, warp the memory, look at the features around a box.
#include "frt.h"

#define FRT_MAX_FEATURES 256

// (planes, cells) -> (cells, planes): the features of one place side by side.
FRT_KERNEL(interleave)(const float* in, int planes, int cells, float* out) {
  FRT_FOR(i, cells) {
    for (int c = 0; c < planes; ++c) out[(long long)i * planes + c] = in[(long long)c * cells + i];
  }
}

FRT_DEVICE void add_pixel(const float* map, int h, int w, int channels, int x, int y, float weight, float* sum) {
  // Border pixels repeat: a sample in the outer half pixel belongs to the image.
  x = x < 0 ? 0 : (x >= w ? w - 1 : x);
  y = y < 0 ? 0 : (y >= h ? h - 1 : y);
  const float* p = map + ((long long)y * w + x) * channels;
  for (int c = 0; c < channels; ++c) sum[c] = frt_mad(weight, p[c], sum[c]);
}

// Mean of the bilinear samples of every camera and height in which a cell is seen.
// features (cameras, h, w, channels); P (cameras, 3, 4) ego -> feature px; out (channels, ny, nx); valid (ny, nx).
FRT_KERNEL(lift)(const float* features, int cameras, int channels, int h, int w, const float* P, Grid g,
                 const float* z, int levels, float* out, float* valid) {
  const int cells = g.nx * g.ny;
  FRT_FOR(i, cells) {
    const float x = g.x_min + (float(i % g.nx) + 0.5f) * g.cell, y = g.y_min + (float(i / g.nx) + 0.5f) * g.cell;
    float sum[FRT_MAX_FEATURES];
    for (int c = 0; c < channels; ++c) sum[c] = 0.0f;
    int seen = 0;
    for (int k = 0; k < cameras; ++k) {
      const float* m = P + 12 * k;
      const float* map = features + (long long)k * h * w * channels;
      for (int l = 0; l < levels; ++l) {
        const float d = m[8] * x + m[9] * y + m[10] * z[l] + m[11];
        if (!(d > 0.1f)) continue;
        const float u = (m[0] * x + m[1] * y + m[2] * z[l] + m[3]) / d;
        const float v = (m[4] * x + m[5] * y + m[6] * z[l] + m[7]) / d;
        if (!(u >= 0.0f && u < float(w) && v >= 0.0f && v < float(h))) continue;
        const Taps t = taps_at(u, v);
        add_pixel(map, h, w, channels, t.x, t.y, (1.0f - t.fx) * (1.0f - t.fy), sum);
        add_pixel(map, h, w, channels, t.x + 1, t.y, t.fx * (1.0f - t.fy), sum);
        add_pixel(map, h, w, channels, t.x, t.y + 1, (1.0f - t.fx) * t.fy, sum);
        add_pixel(map, h, w, channels, t.x + 1, t.y + 1, t.fx * t.fy, sum);
        ++seen;
      }
    }
    const float share = seen ? 1.0f / float(seen) : 0.0f;
    for (int c = 0; c < channels; ++c) out[(long long)c * cells + i] = sum[c] * share;
    valid[i] = seen ? 1.0f : 0.0f;
  }
}

// Weights of the four cells around x, y (m); cells outside the canvas get none.
struct CellTaps {
  int cell[4];
  float weight[4];
};

FRT_DEVICE CellTaps cell_taps(Grid g, float x, float y) {
  const float u = (x - g.x_min) / g.cell, v = (y - g.y_min) / g.cell;
  CellTaps out;
  // Beyond one cell outside nothing is sampled; this also refuses NaN before it becomes an integer.
  const bool near = u > -1.0f && u < float(g.nx) + 1.0f && v > -1.0f && v < float(g.ny) + 1.0f;
  const Taps t = near ? taps_at(u, v) : Taps{-2, -2, 0.0f, 0.0f};
  for (int k = 0; k < 4; ++k) {
    const int ix = t.x + k % 2, iy = t.y + k / 2;
    const bool inside = ix >= 0 && ix < g.nx && iy >= 0 && iy < g.ny;
    out.cell[k] = inside ? iy * g.nx + ix : 0;
    out.weight[k] = inside ? (k % 2 ? t.fx : 1.0f - t.fx) * (k / 2 ? t.fy : 1.0f - t.fy) : 0.0f;
  }
  return out;
}

// A tap without weight is not read: what lies there may be NaN.
FRT_DEVICE float sample(const float* plane, const CellTaps& t) {
  float sum = 0.0f;
  for (int k = 0; k < 4; ++k)
    if (t.weight[k] > 0.0f) sum = frt_mad(t.weight[k], plane[t.cell[k]], sum);
  return sum;
}

// The previous canvas seen from the present ego frame. T (2, 3): present x, y -> previous x, y.
FRT_KERNEL(bev_warp)(const float* state, int channels, const float* T, Grid g, float* out) {
  const int cells = g.nx * g.ny;
  FRT_FOR(row, g.ny) {
    for (int col = 0; col < g.nx; ++col) {
      const int i = row * g.nx + col;
      const float x = g.x_min + (float(col) + 0.5f) * g.cell, y = g.y_min + (float(row) + 0.5f) * g.cell;
      const CellTaps t = cell_taps(g, T[0] * x + T[1] * y + T[2], T[3] * x + T[4] * y + T[5]);
      for (int c = 0; c < channels; ++c)
        out[(long long)c * cells + i] = sample(state + (long long)c * cells, t);
    }
  }
}

// Features at a box's centre and the mid-points of its front, back, left and right edges: (n, 5, channels).
FRT_KERNEL(roi_sample)(const float* features, int channels, const float* boxes, int n, Grid g, float* out) {
  const int cells = g.nx * g.ny;
  FRT_FOR(i, 5 * n) {
    const float* box = boxes + 7 * (i / 5);
    const int which = i % 5;
    const float along = which == 1 ? 0.5f : (which == 2 ? -0.5f : 0.0f);
    const float across = which == 3 ? 0.5f : (which == 4 ? -0.5f : 0.0f);
    const float s = sinf(box[6]), c0 = cosf(box[6]), l = along * box[3], w = across * box[4];
    const CellTaps t = cell_taps(g, box[0] + c0 * l - s * w, box[1] + s * l + c0 * w);
    for (int c = 0; c < channels; ++c)
      out[(long long)i * channels + c] = sample(features + (long long)c * cells, t);
  }
}
