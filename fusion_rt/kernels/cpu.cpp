// The CPU twin: the kernels as C functions, each stage run by all workers before the next begins.
// Callers check every shape; see launchers.py.
#include <algorithm>
#include <array>
#include <cmath>

#include "answer.cu"
#include "boxes.cu"
#include "canvas.cu"
#include "deskew.cu"
#include "image.cu"
#include "pillars.cu"
#include "pool.h"
#include "refine.cu"
#include "roi_points.cu"

namespace {

class Launch {
 public:
  explicit Launch(int threads) : lock_(Pool::mutex()), pool_(Pool::of(threads)) {}

  template <typename Kernel>
  Launch& operator()(Kernel kernel) {
    pool_.run(kernel);
    return *this;
  }

  // The same in more slices than there are threads, for a kernel that has no layer for each.
  template <typename Kernel>
  Launch& shared(Kernel kernel) {
    pool_.run(kernel, 4);
    return *this;
  }

  // Beside the kernels that are launched next, on one thread, until `wait`. Returns a number to wait for.
  template <typename Kernel>
  int beside(Kernel kernel) {
    return pool_.post(kernel);
  }

  void wait(int job) { pool_.wait(job); }

  // For some ten microseconds of work: to wake another thread would take longer.
  template <typename Kernel>
  Launch& alone(Kernel kernel) {
    kernel();
    return *this;
  }

 private:
  std::lock_guard<std::mutex> lock_;
  Pool& pool_;
};

int decode(Launch& launch, const float* heatmap, const float* regression, int classes, Grid grid,
           float threshold_logit, float slack, int k, int* candidate, int* counters, float* rows) {
  std::fill(counters, counters + DECODE_COUNTERS, 0);
  launch([&] { decode_peaks(heatmap, regression, classes, grid, threshold_logit, slack, candidate, counters); });
  const int peaks = counters[PEAKS], n = std::min(peaks, k);
  // Ranking is quadratic: a noisy heatmap with thousands of peaks must not cost seconds.
  if (peaks > k) {
    std::nth_element(candidate, candidate + k, candidate + peaks, [heatmap](int a, int b) {
      return heatmap[a] > heatmap[b] || (heatmap[a] == heatmap[b] && a < b);
    });
  }
  launch.alone([&] { decode_boxes(heatmap, regression, grid, candidate, &n, k, rows); });
  return n;
}

int nms(Launch& launch, const float* boxes, const int* classes, int n, const float* limits, unsigned char* overlap,
        unsigned char* gone, int* keep, int* counters) {
  const auto overlaps = [&] { nms_overlap(boxes, classes, &n, n, limits, overlap); };
  if (n < 64)
    launch.alone(overlaps);
  else
    launch(overlaps);
  launch.alone([&] { nms_keep(overlap, &n, n, gone, keep, counters); });
  return counters[0];
}

}  // namespace

#define FRT_EXPORT extern "C" __attribute__((visibility("default")))

// tmp has for each thread src_w x 3 or dst_w x 5 floats, whichever are more; columns has dst_w.
FRT_EXPORT void frt_image(int threads, const unsigned char* src, int src_h, int src_w, const float* lens13, int dst_h,
                          int dst_w, int bgr, const float* mean, const float* std, Footprint* columns, float* tmp,
                          float* out) {
  Lens lens;
  static_assert(sizeof(Lens) == 13 * sizeof(float), "thirteen floats");
  std::copy(lens13, lens13 + 13, reinterpret_cast<float*>(&lens));
  Launch launch(threads);
  const bool distorted = lens.k1 || lens.k2 || lens.p1 || lens.p2 || lens.k3;
  if (distorted) {
    const float ratio = std::max(lens.fx / lens.dfx, lens.fy / lens.dfy);
    const int taps = ratio <= 1.2f ? 1 : (ratio <= 2.5f ? 2 : 3);
    launch([&] { image_undistort(src, src_h, src_w, lens, taps, dst_h, dst_w, bgr, mean, std, tmp, out); });
    return;
  }
  launch([&] { image_columns(src_w, lens, dst_w, columns); });
  int first = src_w, end = 0;
  for (const Footprint* f = columns; f < columns + dst_w; ++f) {
    if (f->first == f->end) continue;
    first = std::min(first, f->first);
    end = std::max(end, f->end);
  }
  launch([&] {
    image_resize(src, src_h, src_w, lens, columns, first, end, dst_h, dst_w, bgr, mean, std, tmp, out);
  });
}

// The smallest and the largest of n times that are not beyond the limit, of each worker's share: low_high (threads, 2);
// infinite where there is none.
FRT_EXPORT void frt_span(int threads, const float* t, int n, float limit, float* low_high) {
  constexpr int LANES = 16;
  Launch launch(threads);
  launch([&] {
    float low[LANES], high[LANES];
    std::fill(low, low + LANES, INFINITY);
    std::fill(high, high + LANES, -INFINITY);
    const auto look = [&](float v, int j) {
      const bool sound = fabsf(v) <= limit;  // NaN is not
      low[j] = sound && v < low[j] ? v : low[j];
      high[j] = sound && v > high[j] ? v : high[j];
    };
    FRT_FOR_SLICE(i, end, n) {
      for (; i + LANES <= end; i += LANES) FRT_VECTOR(j, LANES) look(t[i + j], j);
      for (; i < end; ++i) look(t[i], 0);
    }
    float* mine = low_high + 2 * FRT_LAYER;
    mine[0] = *std::min_element(low, low + LANES);
    mine[1] = *std::max_element(high, high + LANES);
  });
}

FRT_EXPORT void frt_deskew(int threads, const float* xyz, const float* t, int n, const float* knots_t,
                           const float* knots_T, int knots, float* out) {
  Launch launch(threads);
  launch.shared([&] { deskew(xyz, t, n, knots_t, knots_T, knots, out); });
}

// What the last call left, beside what comes next: frt_pillars, given the number that this returns, waits for it.
FRT_EXPORT int frt_pillars_clear(int threads, const int* pillar, const int* counters, int planes, int cells, float* out,
                                 int* count) {
  return Launch(threads).beside([=] { pillars_clear(pillar, counters, planes, threads, cells, out, count); });
}

// count, start and touched are (threads, cells). count and out are all zero outside the cells of the
// last call, which `pillar` and `counters` still hold; merged has 9 rows of the channels rounded up to sixteens, and
// counters a number more for each thread. clearing: the number that frt_pillars_clear gave since the last call, or 0.
// Returns the pillars.
FRT_EXPORT int frt_pillars(int threads, int clearing, const float* xyz, const float* intensity, int n, const float* W,
                           const float* b, int channels, Grid grid, float z_min, float z_max, int* cell, float* grouped, int* count,
                           int* start, int* touched, int* pillar, int* counters, float* merged, float* out) {
  const int cells = grid.nx * grid.ny, wide = (channels + 15) / 16 * 16;
  Launch launch(threads);
  if (clearing)
    launch.wait(clearing);
  else
    launch([&] { pillars_clear(pillar, counters, channels + 1, threads, cells, out, count); });
  int* fresh = counters + COUNTERS;
  std::fill(counters, fresh + threads, 0);
  launch([&] { pillars_cells(xyz, intensity, n, grid, z_min, z_max, cell, count, touched, fresh, counters); });
  launch([&] { pillars_place(count, touched, fresh, threads, cells, start, pillar, counters); });
  launch([&] { pillars_group(xyz, intensity, cell, n, grid, start, grouped); });
  float crowds[FRT_CROWDS];
  launch.alone([&] { pillars_merge(W, b, channels, grid.cell, wide, merged, crowds); });
  launch.shared([&] {
    pillars_encode(grouped, start, count, threads, cells, pillar, counters, merged, wide, channels, crowds, out);
  });
  return counters[PILLARS];
}

FRT_EXPORT void frt_lift(int threads, const float* features, int cameras, int channels, int h, int w, const float* P,
                         Grid grid, const float* z, int levels, float* out, float* depth) {
  Launch launch(threads);
  launch([&] { lift(features, cameras, channels, h, w, P, grid, z, levels, out, depth); });
}

// Beside what comes next: frt_wait, given the number that this returns, ends it. Until then nobody may touch state or
// out.
FRT_EXPORT int frt_bev_warp(int threads, const float* state, int channels, const float* T, Grid grid, float* out) {
  std::array<float, 6> T_prev_now;
  std::copy_n(T, 6, T_prev_now.begin());
  return Launch(threads).beside([=] { bev_warp(state, channels, T_prev_now.data(), grid, out); });
}

FRT_EXPORT void frt_wait(int threads, int job) { Launch(threads).wait(job); }

// candidate has a place for every cell of the heatmap.
FRT_EXPORT int frt_decode(int threads, const float* heatmap, const float* regression, int classes, Grid grid,
                          float threshold_logit, float slack, int k, int* candidate, int* counters, float* rows) {
  Launch launch(threads);
  return decode(launch, heatmap, regression, classes, grid, threshold_logit, slack, k, candidate, counters, rows);
}

FRT_EXPORT int frt_nms(int threads, const float* boxes, const int* classes, int n, const float* limits,
                       unsigned char* overlap, unsigned char* gone, int* keep, int* counters) {
  Launch launch(threads);
  return nms(launch, boxes, classes, n, limits, overlap, gone, keep, counters);
}

// grouped, start and count (layers, cells) as frt_pillars left them.
FRT_EXPORT void frt_roi_points(int threads, const float* grouped, const int* start, const int* count, int layers,
                               Grid grid, const float* rows, int n, float margin, int most, const float* at,
                               const float* size, const float* kind, const float* second, const float* bias, int channels, int* inside,
                               float* out) {
  Launch launch(threads);
  launch.shared([&] {
    roi_points(grouped, start, count, layers, grid, rows, &n, n, margin, most, at, size, kind, second, bias, channels, inside,
               out);
  });
}

FRT_EXPORT void frt_roi_sample(int threads, const float* features, int channels, const float* boxes, int n, Grid grid,
                               float* out) {
  Launch launch(threads);
  launch.alone([&] { roi_sample(features, channels, boxes, 7, &n, n, grid, out); });
}

FRT_EXPORT void frt_view_sample(int threads, const float* features, int cameras, int channels, int h, int w,
                                const float* P, const float* boxes, int n, float* out) {
  Launch launch(threads);
  launch([&] { view_sample(features, cameras, channels, h, w, P, boxes, 7, &n, n, out); });
}

FRT_EXPORT void frt_box_context(int threads, const float* rows, int n, float* out) {
  Launch launch(threads);
  launch.alone([&] { box_context(rows, &n, n, out); });
}

FRT_EXPORT void frt_box_refine(int threads, const float* rows, int n, const float* fits, const float* score,
                               const float* deltas, const float* facing, const float* log_sigma, float* out) {
  Launch launch(threads);
  launch.alone([&] { box_refine(rows, &n, n, fits, score, deltas, facing, log_sigma, out); });
}

// What a look works on; see looks.py. All memory stays where it is from call to call.
struct FirstLook {
  // of the fusing part
  const float *heatmap, *regression, *features;
  int classes, feature_channels;
  // of the cameras' part, and where they look
  const float *views, *where;
  int cameras, view_rows, view_columns, camera_channels;
  Grid head;
  float threshold_logit, slack;
  int room, *candidate, *counters;
  float* rows;  // (room, 16)
  // the points by cell, and the layers that look at them
  const float* grouped;
  const int *start, *count;
  int layers;
  Grid cells;
  float margin;
  int most;
  const float *at, *size, *kind, *second, *bias;
  int channels, *inside;
  // for the refining part, room rows each
  float *roi, *view, *points, *box;
};

// Peaks as rows, and what a second look at each is given; of those that are no rows nothing is left. Returns the rows.
FRT_EXPORT int frt_first_look(int threads, const FirstLook* look) {
  const FirstLook& l = *look;
  Launch launch(threads);
  const int n = decode(launch, l.heatmap, l.regression, l.classes, l.head, l.threshold_logit, l.slack, l.room,
                       l.candidate, l.counters, l.rows);
  if (n == 0) return 0;
  launch.shared([&] {
    roi_points(l.grouped, l.start, l.count, l.layers, l.cells, l.rows, &n, n, l.margin, l.most, l.at, l.size, l.kind,
               l.second, l.bias, l.channels, l.inside, l.points);
    roi_sample(l.features, l.feature_channels, l.rows, FRT_ROW, &n, n, l.head, l.roi);
    view_sample(l.views, l.cameras, l.camera_channels, l.view_rows, l.view_columns, l.where, l.rows, FRT_ROW, &n, n,
                l.view);
    box_context(l.rows, &n, n, l.box);
  });
  const auto end = [&](float* given, int width) { std::fill(given + n * width, given + l.room * width, 0.0f); };
  end(l.roi, 5 * l.feature_channels);
  end(l.view, 9 * l.camera_channels);
  end(l.points, l.channels + 1);
  end(l.box, FRT_ROW);
  return n;
}

struct SecondLook {
  const float* rows;  // of the first look
  // of the refining part
  const float *fits, *score, *deltas, *facing, *log_sigma;
  float *refined, *ordered, *boxes;
  int* kinds;
  const float* limits;  // of each class, how far boxes may overlap
  unsigned char *overlap, *gone;
  int *keep, *counters;
  // of the fusing part
  const float *heatmap, *contribution;
  int classes, shares, step;
  Grid head;
  float* told;  // (room, 16 + classes + shares)
};

// The rows corrected, best first, without doubles, and all that is told of them. Returns how many stay.
FRT_EXPORT int frt_second_look(int threads, const SecondLook* look, int n) {
  const SecondLook& l = *look;
  Launch launch(threads);
  launch.alone([&] { box_refine(l.rows, &n, n, l.fits, l.score, l.deltas, l.facing, l.log_sigma, l.refined); });
  launch.alone([&] { rows_order(l.refined, &n, n, l.ordered, l.boxes, l.kinds); });
  const int kept = nms(launch, l.boxes, l.kinds, n, l.limits, l.overlap, l.gone, l.keep, l.counters);
  launch.alone([&] {
    rows_tell(l.ordered, l.keep, &kept, n, l.heatmap, l.classes, l.contribution, l.shares, l.step, l.head, l.told);
  });
  return kept;
}
