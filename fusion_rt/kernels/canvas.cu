// Onto and off the canvas: lift camera features, warp the memory, look at the features around a box and at what
// cameras see of it.
#include "frt.h"

#define FRT_NEAREST 0.1f  // m along the optical axis: what is nearer is not seen

// The features of up to four places and their weights.
struct FourTaps {
  const float* at[4];
  float weight[4];
};

// sum += the weighted features, each lane of the team its own. A tap without weight is not read: what lies there may
// be NaN.
FRT_DEVICE void add_taps(const FourTaps& t, int channels, float* __restrict__ sum) {
  const float *a = t.at[0], *b = t.at[1], *c = t.at[2], *d = t.at[3];
  const float u = t.weight[0], v = t.weight[1], w = t.weight[2], x = t.weight[3];
  if (u > 0.0f && v > 0.0f && w > 0.0f && x > 0.0f) {  // nearly always: the sum is read and written once
    FRT_LANES(i, 0, channels)
      sum[i] = frt_mad(x, d[i], frt_mad(w, c[i], frt_mad(v, b[i], frt_mad(u, a[i], sum[i]))));
    return;
  }
  for (int k = 0; k < 4; ++k)
    if (t.weight[k] > 0.0f)
      FRT_LANES(i, 0, channels) sum[i] = frt_mad(t.weight[k], t.at[k][i], sum[i]);
}

// Border pixels repeat: a sample in the outer half pixel belongs to the image.
FRT_DEVICE FourTaps image_taps(const float* map, int h, int w, int channels, float u, float v) {
  const Taps t = taps_at(u, v);
  const int left = t.x < 0 ? 0 : t.x, right = t.x + 1 >= w ? w - 1 : t.x + 1;
  const int top = t.y < 0 ? 0 : t.y, bottom = t.y + 1 >= h ? h - 1 : t.y + 1;
  const float* above = map + (long long)top * w * channels;
  const float* below = map + (long long)bottom * w * channels;
  return FourTaps{{above + left * channels, above + right * channels, below + left * channels, below + right * channels},
                  {(1.0f - t.fx) * (1.0f - t.fy), t.fx * (1.0f - t.fy), (1.0f - t.fx) * t.fy, t.fx * t.fy}};
}

// Mean of the bilinear samples of every camera and height in which a cell is seen, and of their depths (m).
// A team takes a cell, its lanes the channels: neighbours in memory.
// features (cameras, h, w, channels); P (cameras, 3, 4) ego -> feature px; out (ny, nx, channels); depth (ny, nx).
FRT_KERNEL(lift)(const float* features, int cameras, int channels, int h, int w, const float* P, Grid g,
                 const float* z, int levels, float* out, float* depth) {
  const int cells = g.nx * g.ny;
  FRT_FOR_TEAM(i, cells) {
    const float x = g.x_min + (float(i % g.nx) + 0.5f) * g.cell, y = g.y_min + (float(i / g.nx) + 0.5f) * g.cell;
    float* sum = out + (long long)i * channels;
    float far = 0.0f;
    FRT_LANES(c, 0, channels) sum[c] = 0.0f;
    int seen = 0;
    for (int k = 0; k < cameras; ++k) {
      const float* m = P + 12 * k;
      const float* map = features + (long long)k * h * w * channels;
      for (int l = 0; l < levels; ++l) {
        const float d = m[8] * x + m[9] * y + m[10] * z[l] + m[11];
        if (!(d > FRT_NEAREST)) continue;
        const float u = (m[0] * x + m[1] * y + m[2] * z[l] + m[3]) / d;
        const float v = (m[4] * x + m[5] * y + m[6] * z[l] + m[7]) / d;
        if (!(u >= 0.0f && u < float(w) && v >= 0.0f && v < float(h))) continue;
        add_taps(image_taps(map, h, w, channels, u, v), channels, sum);
        far += d;
        ++seen;
      }
    }
    const float share = seen ? 1.0f / float(seen) : 0.0f;
    FRT_LANES(c, 0, channels) sum[c] *= share;
    FRT_LANES(once, 0, 1) depth[i] = far * share;
  }
}

// The four cells of a canvas (ny, nx, channels) around x, y (m); those outside have no weight.
FRT_DEVICE FourTaps cell_taps(const float* canvas, int channels, Grid g, float x, float y) {
  const float u = (x - g.x_min) / g.cell, v = (y - g.y_min) / g.cell;
  // Beyond one cell outside nothing is sampled; this also refuses NaN before it becomes an integer.
  const bool near = u > -1.0f && u < float(g.nx) + 1.0f && v > -1.0f && v < float(g.ny) + 1.0f;
  const Taps t = near ? taps_at(u, v) : Taps{-2, -2, 0.0f, 0.0f};
  FourTaps out;
  for (int k = 0; k < 4; ++k) {
    const int ix = t.x + k % 2, iy = t.y + k / 2;
    const bool inside = ix >= 0 && ix < g.nx && iy >= 0 && iy < g.ny;
    out.at[k] = canvas + (inside ? (long long)(iy * g.nx + ix) * channels : 0);
    out.weight[k] = inside ? (k % 2 ? t.fx : 1.0f - t.fx) * (k / 2 ? t.fy : 1.0f - t.fy) : 0.0f;
  }
  return out;
}

FRT_DEVICE void sample(const float* canvas, int channels, Grid g, float x, float y, float* out) {
  FRT_LANES(c, 0, channels) out[c] = 0.0f;
  add_taps(cell_taps(canvas, channels, g, x, y), channels, out);
}

// The previous canvas seen from the present ego frame. T (2, 3): present x, y -> previous x, y.
FRT_KERNEL(bev_warp)(const float* state, int channels, const float* T, Grid g, float* out) {
  FRT_FOR_TEAM(i, g.nx * g.ny) {
    const float x = g.x_min + (float(i % g.nx) + 0.5f) * g.cell, y = g.y_min + (float(i / g.nx) + 0.5f) * g.cell;
    sample(state, channels, g, T[0] * x + T[1] * y + T[2], T[3] * x + T[4] * y + T[5], out + (long long)i * channels);
  }
}

// Features at a box's centre and the mid-points of its front, back, left and right edges: (n, 5, channels).
// A box lies `stride` floats after the one before.
FRT_KERNEL(roi_sample)(const float* features, int channels, const float* boxes, int stride, const int* rows, int room,
                       Grid g, float* out) {
  FRT_FOR_TEAM(i, 5 * frt_held(rows, room)) {
    const float* box = boxes + (long long)stride * (i / 5);
    const int which = i % 5;
    const float along = which == 1 ? 0.5f : (which == 2 ? -0.5f : 0.0f);
    const float across = which == 3 ? 0.5f : (which == 4 ? -0.5f : 0.0f);
    const float s = sinf(box[6]), c0 = cosf(box[6]), l = along * box[3], w = across * box[4];
    sample(features, channels, g, box[0] + c0 * l - s * w, box[1] + s * l + c0 * w, out + (long long)i * channels);
  }
}

// Of a box in an image of h x w feature pixels, the upright rectangle around its eight corners, as far as it lies in
// the image. Not seen: the box's centre is not before the camera, or nothing of it is in the image, or it is not finite.
struct Outline {
  bool seen;
  float left, top, right, bottom;
};

FRT_DEVICE Outline outline_of(const float* box, const float* m, int h, int w) {
  constexpr float FAR = 3e38f;  // beyond any pixel
  const float c = cosf(box[6]), s = sinf(box[6]);
  Outline o = {m[8] * box[0] + m[9] * box[1] + m[10] * box[2] + m[11] > FRT_NEAREST, FAR, FAR, -FAR, -FAR};
  for (int k = 0; k < 8; ++k) {
    const float along = (k & 1 ? 0.5f : -0.5f) * box[3], across = (k & 2 ? 0.5f : -0.5f) * box[4];
    const float x = box[0] + c * along - s * across, y = box[1] + s * along + c * across;
    const float z = box[2] + (k & 4 ? 0.5f : -0.5f) * box[5];
    const float d = m[8] * x + m[9] * y + m[10] * z + m[11];
    const float scale = 1.0f / (d > FRT_NEAREST ? d : FRT_NEAREST);
    const float u = (m[0] * x + m[1] * y + m[2] * z + m[3]) * scale;
    const float v = (m[4] * x + m[5] * y + m[6] * z + m[7]) * scale;
    o.left = u < o.left ? u : o.left;
    o.right = u > o.right ? u : o.right;
    o.top = v < o.top ? v : o.top;
    o.bottom = v > o.bottom ? v : o.bottom;
  }
  o.left = frt_hold(o.left, 0.0f, float(w));
  o.right = frt_hold(o.right, 0.0f, float(w));
  o.top = frt_hold(o.top, 0.0f, float(h));
  o.bottom = frt_hold(o.bottom, 0.0f, float(h));
  o.seen = o.seen && o.right > o.left && o.bottom > o.top;
  return o;
}

// Image features in the middles of 3 x 3 equal parts of a box's outline, bilinear; the mean over the cameras that see
// it, zero where none does: (n, 9, channels), rows of parts from above. features and P as those of lift; a camera
// whose P is zero sees nothing.
FRT_KERNEL(view_sample)(const float* features, int cameras, int channels, int h, int w, const float* P,
                        const float* boxes, int stride, const int* rows, int room, float* out) {
  constexpr int SIDE = 3, PARTS = SIDE * SIDE;
  FRT_FOR_TEAM(i, frt_held(rows, room)) {
    const float* box = boxes + (long long)stride * i;
    float* told = out + (long long)i * PARTS * channels;
    FRT_LANES(c, 0, channels)
      for (int part = 0; part < PARTS; ++part) told[part * channels + c] = 0.0f;
    int seen = 0;
    for (int k = 0; k < cameras; ++k) {
      const Outline o = outline_of(box, P + 12 * k, h, w);
      if (!o.seen) continue;
      const float* map = features + (long long)k * h * w * channels;
      for (int part = 0; part < PARTS; ++part) {
        const float u = o.left + (float(part % SIDE) + 0.5f) / SIDE * (o.right - o.left);
        const float v = o.top + (float(part / SIDE) + 0.5f) / SIDE * (o.bottom - o.top);
        add_taps(image_taps(map, h, w, channels, u, v), channels, told + part * channels);
      }
      ++seen;
    }
    const float share = seen ? 1.0f / float(seen) : 0.0f;
    FRT_LANES(c, 0, channels)
      for (int part = 0; part < PARTS; ++part) told[part * channels + c] *= share;
  }
}
