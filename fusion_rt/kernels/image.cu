// Camera image to network input: undistort, resize with antialiasing, RGB, normalise, planes.
#include "frt.h"

struct Lens {
  float fx, fy, cx, cy;        // of the source, px
  float k1, k2, p1, p2, k3;    // Brown-Conrady
  float dfx, dfy, dcx, dcy;    // of the destination, px
};

// Along one axis, the source pixels [first, end) that a destination pixel covers (box filter) and the share of
// each: the outer two may be covered in part. Where there are fewer than three, the other shares are 0; where the
// destination pixel's centre is outside the source, there are none.
struct Footprint {
  int first, end;
  float w_first, w_inner, w_last;
};

FRT_DEVICE Footprint footprint_of(int i, float f_src, float f_dst, float c_src, float c_dst, int size) {
  const float ratio = f_src / f_dst, half = ratio > 1.0f ? 0.5f * ratio : 0.5f;
  const float centre = (float(i) + 0.5f - c_dst) * ratio + c_src;
  // Tested in float, and before the conversion: a bound far outside has no integer.
  if (!(centre >= 0.0f && centre < float(size))) return Footprint{0, 0, 0.0f, 0.0f, 0.0f};
  const float low = fmaxf(centre - half, 0.0f), high = fminf(centre + half, float(size));
  const int first = int(floorf(low)), end = int(ceilf(high));
  const float share = 1.0f / (high - low);
  const float w_first = (fminf(high, float(first + 1)) - low) * share;
  const float w_last = (high - fmaxf(low, float(end - 1))) * share;
  return Footprint{first, end, w_first, end - first > 2 ? share : 0.0f, end - first > 1 ? w_last : 0.0f};
}

FRT_DEVICE float footprint_weight(Footprint f, int s) {
  return s >= f.end ? 0.0f : (s == f.first ? f.w_first : (s == f.end - 1 ? f.w_last : f.w_inner));
}

// Without distortion, the mapping is separable, and every row has the same columns: (dst_w,) of them.
FRT_KERNEL(image_columns)(int src_w, Lens lens, int dst_w, Footprint* columns) {
  FRT_FOR(x, dst_w) columns[x] = footprint_of(x, lens.fx, lens.dfx, lens.cx, lens.dcx, src_w);
}

// A destination row: first the mean over its source rows, in the columns [first, end) that are looked at, then over
// the columns of each pixel. Pixels whose centre the source does not show are zero: the mean colour.
// tmp: src_w x 3 floats for each team.
FRT_KERNEL(image_resize)(const unsigned char* src, int src_h, int src_w, Lens lens, const Footprint* columns,
                         int first, int end, int dst_h, int dst_w, int bgr, const float* mean, const float* std,
                         float* tmp, float* out) {
  const long long stride = 3LL * src_w, plane = (long long)dst_h * dst_w;
  float* row = tmp + FRT_TEAM * stride;
  float offset[3], scale[3];
  for (int c = 0; c < 3; ++c) {
    offset[bgr ? 2 - c : c] = mean[c];
    scale[bgr ? 2 - c : c] = 1.0f / std[c];
  }
  FRT_FOR_TEAM(y, dst_h) {
    const Footprint rows = footprint_of(y, lens.fy, lens.dfy, lens.cy, lens.dcy, src_h);
    // By threes: an image shrunk by up to two has no more.
    for (int v = rows.first; v < rows.end; v += 3) {
      const unsigned char* a = src + v * stride;
      const unsigned char* b = v + 1 < rows.end ? a + stride : a;
      const unsigned char* c = v + 2 < rows.end ? b + stride : a;
      const float wa = footprint_weight(rows, v), wb = footprint_weight(rows, v + 1);
      const float wc = footprint_weight(rows, v + 2);
      const bool more = v > rows.first;
      FRT_LANES(i, 3 * first, 3 * end) {
        const float sum = frt_mad(wb, float(b[i]), frt_mad(wa, float(a[i]), more ? row[i] : 0.0f));
        row[i] = frt_mad(wc, float(c[i]), sum);
      }
    }
    FRT_SYNC();
    float* first_plane = out + (bgr ? 2 * plane : 0) + (long long)y * dst_w;
    const long long step = bgr ? -plane : plane;
    FRT_LANES(x, 0, dst_w) {
      const Footprint f = columns[x];
      const bool seen = rows.first < rows.end && f.first < f.end;
      const int last = f.end - 1, inner = f.first + 1 < last ? f.first + 1 : last;
      float sum[3] = {0.0f, 0.0f, 0.0f};
      if (seen) {
        for (int c = 0; c < 3; ++c) {
          const float two = frt_mad(f.w_inner, row[3 * inner + c], frt_mul(f.w_first, row[3 * f.first + c]));
          sum[c] = frt_mad(f.w_last, row[3 * last + c], two);
        }
        for (int s = inner + 1; s < last; ++s)
          for (int c = 0; c < 3; ++c) sum[c] = frt_mad(f.w_inner, row[3 * s + c], sum[c]);
        for (int c = 0; c < 3; ++c) sum[c] = (sum[c] - offset[c]) * scale[c];
      }
      for (int c = 0; c < 3; ++c) first_plane[c * step + x] = sum[c];
    }
    FRT_SYNC();
  }
}

// Adds the bilinear sample at u, v, which lies inside the source; the border's pixels go on beyond it.
FRT_DEVICE void image_tap(const unsigned char* src, int src_h, int src_w, float u, float v, float* sum) {
  const float x = u - 0.5f, y = v - 0.5f;  // at least -0.5: the cast rounds towards 0, floorf is a call
  const int x0 = int(x) - (x < 0.0f), y0 = int(y) - (y < 0.0f);
  const float fx = x - float(x0), fy = y - float(y0);
  const int left = x0 < 0 ? 0 : x0, right = x0 + 1 < src_w ? x0 + 1 : src_w - 1;
  const int top = y0 < 0 ? 0 : y0, bottom = y0 + 1 < src_h ? y0 + 1 : src_h - 1;
  const unsigned char *above = src + 3LL * top * src_w, *below = src + 3LL * bottom * src_w;
  for (int c = 0; c < 3; ++c) {
    const float a = float(above[3 * left + c]), b = float(above[3 * right + c]);
    const float d = float(below[3 * left + c]), e = float(below[3 * right + c]);
    const float high = frt_mad(fx, b - a, a), low = frt_mad(fx, e - d, d);
    sum[c] = frt_sum(sum[c], frt_mad(fy, low - high, high));
  }
}

// With distortion every destination pixel looks up where its rays fall: `taps` x `taps` bilinear samples.
// tmp: dst_w x 5 floats for each team.
FRT_KERNEL(image_undistort)(const unsigned char* src, int src_h, int src_w, Lens lens, int taps, int dst_h,
                            int dst_w, int bgr, const float* mean, const float* std, float* tmp, float* out) {
  const long long plane = (long long)dst_h * dst_w;
  float *us = tmp + FRT_TEAM * 5LL * dst_w, *vs = us + dst_w, *sums = vs + dst_w;
  const float share = 1.0f / float(taps * taps);
  float offset[3], scale[3];
  for (int c = 0; c < 3; ++c) {
    offset[c] = mean[c];
    scale[c] = 1.0f / std[c];
  }
  FRT_FOR_TEAM(py, dst_h) {
    for (int k = 0; k < taps * taps; ++k) {
      const float right = (float(k % taps) + 0.5f) / float(taps), down = (float(k / taps) + 0.5f) / float(taps);
      const float y = (float(py) + down - lens.dcy) / lens.dfy;
      FRT_LANES(px, 0, dst_w) {
        const float x = (float(px) + right - lens.dcx) / lens.dfx;
        const float r2 = frt_mad(x, x, frt_mul(y, y));
        const float radial = 1.0f + r2 * (lens.k1 + r2 * (lens.k2 + r2 * lens.k3));
        const float xd = x * radial + 2.0f * lens.p1 * x * y + lens.p2 * (r2 + 2.0f * x * x);
        const float yd = y * radial + lens.p1 * (r2 + 2.0f * y * y) + 2.0f * lens.p2 * x * y;
        us[px] = lens.fx * xd + lens.cx;
        vs[px] = lens.fy * yd + lens.cy;
      }
      FRT_SYNC();
      FRT_LANES(px, 0, dst_w) {
        const float u = us[px], v = vs[px];
        float* sum = sums + 3 * px;
        if (k == 0) sum[0] = sum[1] = sum[2] = 0.0f;
        if (!(u >= 0.0f && u < float(src_w) && v >= 0.0f && v < float(src_h)))
          sum[0] = -1.0f;  // unseen; a seen sum is not negative
        else if (sum[0] >= 0.0f)
          image_tap(src, src_h, src_w, u, v, sum);
      }
      FRT_SYNC();
    }
    FRT_LANES(px, 0, dst_w) {
      const float* sum = sums + 3 * px;
      for (int c = 0; c < 3; ++c) {
        const float value = (sum[bgr ? 2 - c : c] * share - offset[c]) * scale[c];
        out[c * plane + (long long)py * dst_w + px] = sum[0] >= 0.0f ? value : 0.0f;
      }
    }
    FRT_SYNC();
  }
}
