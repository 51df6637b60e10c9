// Points moved to one time: each by the lidar's pose at the point's own time.
#include "frt.h"

// Points [first, last), all between the same two knots: out = (A + u (B - A)) p. Without a time (dt = 0), u is 0.
FRT_DEVICE void deskew_run(const float* xyz, const float* t, int first, int last, float t0, float dt, const float* A,
                           const float* B, float* out) {
  float M[12], D[12];
  for (int j = 0; j < 12; ++j) {
    M[j] = A[j];
    D[j] = B[j] - A[j];
  }
  for (int i = first; i < last; ++i) {
    float u = (t[i] - t0) / dt;
    u = u < 0.0f ? 0.0f : (u > 1.0f ? 1.0f : u);
    u = dt > 0.0f ? u : 0.0f;
    const float x = xyz[3 * i], y = xyz[3 * i + 1], z = xyz[3 * i + 2];
    for (int r = 0; r < 3; ++r) {
      float m[4];
      for (int c = 0; c < 4; ++c) m[c] = frt_mad(u, D[4 * r + c], M[4 * r + c]);
      out[3 * i + r] = frt_mad(m[0], x, frt_mad(m[1], y, frt_mad(m[2], z, m[3])));
    }
  }
}

// knots_t (knots,) increasing; knots_T (knots, 3, 4) = T_out_lidar at each. Between two knots the matrices are
// mixed linearly: for the 0.02 rad of a fast turn between knots that is 3 mm at 60 m. Before the first knot and
// after the last the nearest holds; a point whose time is NaN becomes NaN where there is more than one.
FRT_KERNEL(deskew)(const float* xyz, const float* t, int n, const float* knots_t, const float* knots_T, int knots,
                   float* out) {
  FRT_FOR_SLICE(begin, end, n) {
    if (knots == 1) {
      deskew_run(xyz, t, begin, end, 0.0f, 0.0f, knots_T, knots_T, out);
      continue;
    }
    // Points come ring by ring or as they were fired: neighbours mostly lie between the same two knots.
    for (int first = begin, last; first < end; first = last) {
      int k = 0;
      while (k + 2 < knots && t[first] >= knots_t[k + 1]) ++k;
      const bool from_start = k == 0, to_end = k + 2 >= knots;
      last = first + 1;
      while (last < end && (from_start || t[last] >= knots_t[k]) && (to_end || t[last] < knots_t[k + 1])) ++last;
      const float* T = knots_T + 12 * k;
      deskew_run(xyz, t, first, last, knots_t[k], knots_t[k + 1] - knots_t[k], T, T + 12, out);
    }
  }
}
