// From the head's canvas to boxes: peaks, the best k, and the suppression of doubles.
#include "frt.h"

#define FRT_BOX_CHANNELS 15
#define FRT_ROW 16
#define FRT_MAX_REGRESSION 1e6f  // beyond it an output is broken, not large

enum { PEAKS = 0, BROKEN = 1, DECODE_COUNTERS = 2 };

// A cell is a peak of its class where no neighbour is higher by more than the slack, a logit: people who walk side by
// side lie in cells side by side, and what of one object is told twice, suppression ends. Of equal neighbours the
// first is taken. Peaks whose box is not finite are counted apart.
FRT_KERNEL(decode_peaks)(const float* heatmap, const float* regression, int classes, Grid g, float threshold_logit,
                         float slack, int* candidate, int* counters) {
  const int cells = g.nx * g.ny;
  FRT_FOR(i, classes * cells) {
    const float value = heatmap[i];
    if (!(value > threshold_logit)) continue;  // NaN is no peak
    const float* plane = heatmap + (i / cells) * cells;
    const int cell = i % cells, col = cell % g.nx, row = cell / g.nx;
    bool peak = true;
    for (int dy = -1; dy <= 1 && peak; ++dy)
      for (int dx = -1; dx <= 1; ++dx) {
        const int x = col + dx, y = row + dy;
        if ((dx == 0 && dy == 0) || x < 0 || x >= g.nx || y < 0 || y >= g.ny) continue;
        const float other = plane[y * g.nx + x];
        const bool earlier = dy < 0 || (dy == 0 && dx < 0);
        if (other > value + slack || (earlier && other == value)) {
          peak = false;
          break;
        }
      }
    if (!peak) continue;
    bool sound = frt_finite(value);
    for (int c = 0; c < FRT_BOX_CHANNELS; ++c)
      sound = sound && fabsf(regression[cell * FRT_BOX_CHANNELS + c]) <= FRT_MAX_REGRESSION;  // NaN is not
    if (sound)
      candidate[frt_add_shared(&counters[PEAKS], 1)] = i;
    else
      frt_add_shared(&counters[BROKEN], 1);
  }
}

// The rank of a candidate is the number of better ones: no order of arrival matters, and ties go to the first cell.
FRT_KERNEL(decode_boxes)(const float* heatmap, const float* regression, Grid g, const int* candidate,
                         const int* candidates, int k, float* rows) {
  const int cells = g.nx * g.ny, n = *candidates;
  FRT_FOR(a, n) {
    const int i = candidate[a];
    const float value = heatmap[i];
    int rank = 0;
    for (int b = 0; b < n; ++b) {
      const float other = heatmap[candidate[b]];
      rank += other > value || (other == value && candidate[b] < i);
    }
    if (rank >= k) continue;
    const int cell = i % cells;
    float r[FRT_BOX_CHANNELS];
    for (int c = 0; c < FRT_BOX_CHANNELS; ++c) r[c] = regression[cell * FRT_BOX_CHANNELS + c];
    float* out = rows + rank * FRT_ROW;
    out[0] = g.x_min + (float(cell % g.nx) + 0.5f + r[0]) * g.cell;
    out[1] = g.y_min + (float(cell / g.nx) + 0.5f + r[1]) * g.cell;
    out[2] = r[2];
    for (int c = 3; c < 6; ++c) out[c] = expf(fminf(fmaxf(r[c], -2.0f), 3.0f));
    out[6] = 0.5f * atan2f(r[6], r[7]);  // of twice the yaw: front and back are told apart later
    out[7] = r[8];
    out[8] = r[9];
    out[9] = 1.0f / (1.0f + expf(-value));
    out[10] = float(i / cells);
    for (int c = 10; c < FRT_BOX_CHANNELS; ++c) out[c + 1] = expf(fminf(fmaxf(r[c], -6.0f), 4.0f));
  }
}

// Area in which two rotated rectangles overlap: the second, seen from the first, clipped at its four edges.
FRT_DEVICE float overlap_area(const float* a, const float* b) {
  const float ca = cosf(a[6]), sa = sinf(a[6]);
  const float dx = b[0] - a[0], dy = b[1] - a[1];
  const float bx = ca * dx + sa * dy, by = ca * dy - sa * dx;
  const float c = cosf(b[6] - a[6]), s = sinf(b[6] - a[6]);
  // A clip emits each inner corner and two points for each run of them: at most 1.5 times the corners, whatever
  // rounding does to their order; 4, 6, 9, 13, 19.
  float px[20], py[20], qx[20], qy[20];
  int n = 4;
  for (int k = 0; k < 4; ++k) {
    const float u = (k == 0 || k == 3 ? 0.5f : -0.5f) * b[3], v = (k < 2 ? 0.5f : -0.5f) * b[4];
    px[k] = bx + c * u - s * v;
    py[k] = by + s * u + c * v;
  }
  for (int edge = 0; edge < 4 && n > 0; ++edge) {  // Sutherland and Hodgman, 1974
    const float limit = 0.5f * (edge < 2 ? a[3] : a[4]), sign = edge % 2 ? -1.0f : 1.0f;
    int m = 0;
    for (int k = 0; k < n; ++k) {
      const int next = k + 1 == n ? 0 : k + 1;
      const float d0 = limit - sign * (edge < 2 ? px[k] : py[k]);
      const float d1 = limit - sign * (edge < 2 ? px[next] : py[next]);
      if (d0 >= 0.0f) {
        qx[m] = px[k];
        qy[m++] = py[k];
      }
      if ((d0 >= 0.0f) != (d1 >= 0.0f)) {
        const float t = d0 / (d0 - d1);
        qx[m] = px[k] + t * (px[next] - px[k]);
        qy[m++] = py[k] + t * (py[next] - py[k]);
      }
    }
    n = m;
    for (int k = 0; k < n; ++k) {
      px[k] = qx[k];
      py[k] = qy[k];
    }
  }
  float twice = 0.0f;
  for (int k = 0; k < n; ++k) {
    const int next = k + 1 == n ? 0 : k + 1;
    twice += px[k] * py[next] - px[next] * py[k];
  }
  return 0.5f * fabsf(twice);
}

// Two negative sizes would make an area again.
FRT_DEVICE bool has_area(const float* box) {
  return box[3] > 0.0f && box[4] > 0.0f && frt_finite(box[3]) && frt_finite(box[4]);
}

// overlap (n, n) bytes: whether the earlier (row) box suppresses the later (column) one.
FRT_KERNEL(nms_overlap)(const float* boxes, const int* classes, const int* rows, int room, const float* limits,
                        unsigned char* overlap) {
  const int n = frt_held(rows, room);
  FRT_FOR(i, n * n) {
    const int a = i / n, b = i % n;
    bool hit = false;
    const float *p = boxes + 7 * a, *q = boxes + 7 * b;
    if (a < b && classes[a] == classes[b] && has_area(p) && has_area(q)) {
      const float reach = 0.5f * (hypotf(p[3], p[4]) + hypotf(q[3], q[4]));
      const float dx = p[0] - q[0], dy = p[1] - q[1];
      if (dx * dx + dy * dy < reach * reach) {
        const float common = overlap_area(p, q);
        hit = common > limits[classes[a]] * (p[3] * p[4] + q[3] * q[4] - common);
      }
    }
    overlap[i] = hit;
  }
}

// Greedy, best first: boxes come ordered. One team, which marks together what each kept box suppresses; `gone` has a
// byte for each box.
FRT_KERNEL(nms_keep)(const unsigned char* overlap, const int* rows, int room, unsigned char* gone, int* keep,
                     int* counters) {
  const int n = frt_held(rows, room);
  FRT_FOR_TEAM(once, 1) {
    int kept = 0;
    FRT_LANES(b, 0, n) gone[b] = 0;
    FRT_SYNC();
    for (int a = 0; a < n; ++a) {
      if (gone[a]) continue;  // what a lane sees here, no lane writes before all have seen it
      FRT_LANES(only, 0, 1) keep[kept] = a;
      ++kept;
      const unsigned char* mine = overlap + (long long)a * n;
      FRT_LANES(b, a + 1, n) gone[b] |= mine[b];
      FRT_SYNC();
    }
    FRT_LANES(last, 0, 1) counters[0] = kept;
  }
}
