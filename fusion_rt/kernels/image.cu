// Camera image to network input: undistort, resize with antialiasing, RGB, normalise, planes.
#include "frt.h"

struct Lens {
  float fx, fy, cx, cy;        // of the source, px
  float k1, k2, p1, p2, k3;    // Brown-Conrady
  float dfx, dfy, dcx, dcy;    // of the destination, px
};

// The part of [centre - half, centre + half] inside [0, size), and the pixels that it touches.
struct Span {
  float low, high;
  int first, last;
};

// Clamped before the conversion: a bound far outside has no integer. NaN gives a span inside the image.
FRT_DEVICE Span span_of(float centre, float half, int size) {
  const float low = fminf(fmaxf(centre - half, 0.0f), float(size));
  const float high = fmaxf(fminf(centre + half, float(size)), low);
  return Span{low, high, int(floorf(low)), int(ceilf(high))};
}

// Without distortion, the mapping is separable. Rows first: each destination row is a mean over the source rows
// that its footprint covers (box filter); of a footprint that leaves the source, the inner part counts.
// tmp (dst_h, src_w, 3) float.
FRT_KERNEL(image_rows)(const unsigned char* src, int src_h, int src_w, Lens lens, int dst_h, float* tmp) {
  const float ratio = lens.fy / lens.dfy, half = ratio > 1.0f ? 0.5f * ratio : 0.5f;
  FRT_FOR(y, dst_h) {
    const float centre = (float(y) + 0.5f - lens.dcy) * ratio + lens.cy;
    const Span span = span_of(centre, half, src_h);
    float* row = tmp + (long long)y * src_w * 3;
    for (int x = 0; x < 3 * src_w; ++x) row[x] = 0.0f;
    for (int v = span.first; v < span.last; ++v) {
      const float cover = fminf(span.high, float(v + 1)) - fmaxf(span.low, float(v));
      const float w = cover / (span.high - span.low);
      const unsigned char* line = src + (long long)v * src_w * 3;
      for (int x = 0; x < 3 * src_w; ++x) row[x] = frt_mad(w, float(line[x]), row[x]);
    }
  }
}

// Then columns. Pixels whose centre lies outside the source are zero after normalising: the mean colour.
FRT_KERNEL(image_columns)(const float* tmp, int src_h, int src_w, Lens lens, int dst_h, int dst_w, int bgr,
                          const float* mean, const float* std, float* out) {
  const float ratio = lens.fx / lens.dfx, half = ratio > 1.0f ? 0.5f * ratio : 0.5f;
  const float vratio = lens.fy / lens.dfy;
  const int plane = dst_h * dst_w;
  FRT_FOR(y, dst_h) {
    const float v = (float(y) + 0.5f - lens.dcy) * vratio + lens.cy;
    const bool row_inside = v >= 0.0f && v < float(src_h);
    const float* row = tmp + (long long)y * src_w * 3;
    for (int x = 0; x < dst_w; ++x) {
      const float u = (float(x) + 0.5f - lens.dcx) * ratio + lens.cx;
      float sum[3] = {0.0f, 0.0f, 0.0f};
      const bool inside = row_inside && u >= 0.0f && u < float(src_w);
      if (inside) {
        const Span span = span_of(u, half, src_w);
        for (int s = span.first; s < span.last; ++s) {
          const float cover = fminf(span.high, float(s + 1)) - fmaxf(span.low, float(s));
          const float w = cover / (span.high - span.low);
          for (int c = 0; c < 3; ++c) sum[c] = frt_mad(w, row[3 * s + c], sum[c]);
        }
      }
      for (int c = 0; c < 3; ++c) {
        const float value = (sum[bgr ? 2 - c : c] - mean[c]) / std[c];
        out[c * plane + y * dst_w + x] = inside ? value : 0.0f;
      }
    }
  }
}

FRT_DEVICE void image_tap(const unsigned char* src, int src_h, int src_w, float u, float v, float* sum) {
  const Taps t = taps_at(u, v);
  for (int j = 0; j < 2; ++j)
    for (int i = 0; i < 2; ++i) {
      const int x = t.x + i < 0 ? 0 : (t.x + i >= src_w ? src_w - 1 : t.x + i);
      const int y = t.y + j < 0 ? 0 : (t.y + j >= src_h ? src_h - 1 : t.y + j);
      const float w = (i ? t.fx : 1.0f - t.fx) * (j ? t.fy : 1.0f - t.fy);
      const unsigned char* p = src + 3 * ((long long)y * src_w + x);
      for (int c = 0; c < 3; ++c) sum[c] = frt_mad(w, float(p[c]), sum[c]);
    }
}

// With distortion every destination pixel looks up where its rays fall: `taps` x `taps` bilinear samples.
FRT_KERNEL(image_undistort)(const unsigned char* src, int src_h, int src_w, Lens lens, int taps, int dst_h,
                            int dst_w, int bgr, const float* mean, const float* std, float* out) {
  const int plane = dst_h * dst_w;
  FRT_FOR(i, plane) {
    const int px = i % dst_w, py = i / dst_w;
    float sum[3] = {0.0f, 0.0f, 0.0f};
    bool inside = true;
    for (int k = 0; k < taps * taps; ++k) {
      const float x = (float(px) + (float(k % taps) + 0.5f) / float(taps) - lens.dcx) / lens.dfx;
      const float y = (float(py) + (float(k / taps) + 0.5f) / float(taps) - lens.dcy) / lens.dfy;
      const float r2 = frt_mad(x, x, frt_mul(y, y));
      const float radial = 1.0f + r2 * (lens.k1 + r2 * (lens.k2 + r2 * lens.k3));
      const float xd = x * radial + 2.0f * lens.p1 * x * y + lens.p2 * (r2 + 2.0f * x * x);
      const float yd = y * radial + lens.p1 * (r2 + 2.0f * y * y) + 2.0f * lens.p2 * x * y;
      const float u = lens.fx * xd + lens.cx, v = lens.fy * yd + lens.cy;
      if (!(u >= 0.0f && u < float(src_w) && v >= 0.0f && v < float(src_h))) {
        inside = false;
        break;
      }
      image_tap(src, src_h, src_w, u, v, sum);
    }
    const float share = 1.0f / float(taps * taps);
    for (int c = 0; c < 3; ++c) {
      const float value = (sum[bgr ? 2 - c : c] * share - mean[c]) / std[c];
      out[c * plane + i] = inside ? value : 0.0f;
    }
  }
}
