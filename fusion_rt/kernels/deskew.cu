// Points moved to one time: each by the lidar's pose at the point's own time.
#include "frt.h"

// knots_t (knots,) increasing; knots_T (knots, 3, 4) = T_out_lidar at each. Between two knots the matrices are
// mixed linearly: for the 0.02 rad of a fast turn between knots that is 3 mm at 60 m. Before the first knot and
// after the last the nearest holds; a point whose time is NaN becomes NaN where there is more than one.
FRT_KERNEL(deskew)(const float* xyz, const float* t, int n, const float* knots_t, const float* knots_T, int knots,
                   float* out) {
  FRT_FOR(i, n) {
    int k = 0;
    while (k + 2 < knots && t[i] >= knots_t[k + 1]) ++k;
    float u = 0.0f;
    if (knots > 1) {
      u = (t[i] - knots_t[k]) / (knots_t[k + 1] - knots_t[k]);
      u = u < 0.0f ? 0.0f : (u > 1.0f ? 1.0f : u);
    }
    const float* A = knots_T + 12 * k;
    const float* B = knots > 1 ? A + 12 : A;
    const float x = xyz[3 * i], y = xyz[3 * i + 1], z = xyz[3 * i + 2];
    for (int r = 0; r < 3; ++r) {
      float m[4];
      for (int c = 0; c < 4; ++c) m[c] = frt_mad(u, B[4 * r + c] - A[4 * r + c], A[4 * r + c]);
      out[3 * i + r] = frt_mad(m[0], x, frt_mad(m[1], y, frt_mad(m[2], z, m[3])));
    }
  }
}
