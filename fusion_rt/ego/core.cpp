// What core.py calls: matrices of fifteen rows, where numpy's calls take longer than their arithmetic. Rows, error state
// and formulas are those of strapdown.py and error_state.py. On one thread, in double.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "strapdown.h"

#define FRT_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

constexpr int STATES = 15;
enum { P = 0, V = 3, THETA = 6, BG = 9, BA = 12 };                           // of the error state

// Row by row.
struct Mat3 {
  double m[9] = {};
  const double& operator()(int i, int j) const { return m[3 * i + j]; }
  double& operator()(int i, int j) { return m[3 * i + j]; }
};

Mat3 skew(Vec3 v) { return {{0.0, -v.z, v.y, v.z, 0.0, -v.x, -v.y, v.x, 0.0}}; }

Mat3 transposed(const Mat3& a) { return {{a.m[0], a.m[3], a.m[6], a.m[1], a.m[4], a.m[7], a.m[2], a.m[5], a.m[8]}}; }

Mat3 operator*(const Mat3& a, const Mat3& b) {
  Mat3 out;
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j)
      for (int k = 0; k < 3; ++k) out(i, j) += a(i, k) * b(k, j);
  return out;
}

Vec3 operator*(const Mat3& a, Vec3 v) {
  return {a(0, 0) * v.x + a(0, 1) * v.y + a(0, 2) * v.z, a(1, 0) * v.x + a(1, 1) * v.y + a(1, 2) * v.z,
          a(2, 0) * v.x + a(2, 1) * v.y + a(2, 2) * v.z};
}

Mat3 scaled(const Mat3& a, double by) {
  Mat3 out;
  for (int i = 0; i < 9; ++i) out.m[i] = a.m[i] * by;
  return out;
}

// Of a row's quaternion x y z w, map <- ego.
Mat3 rotation(const double* row) {
  const double x = row[QUATERNION], y = row[QUATERNION + 1], z = row[QUATERNION + 2], w = row[QUATERNION + 3];
  return {{1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w),  //
           2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w),  //
           2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)}};
}

// A block of three rows and columns of a matrix `wide` across.
void put(const Mat3& a, double* out, int wide, int row, int column) {
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) out[(row + i) * wide + column + j] = a(i, j);
}

const Mat3 I3{{1, 0, 0, 0, 1, 0, 0, 0, 1}};

// out = H C H^T, H (rows, 15).
void carry(const double* H, const double* C, int rows, double* out) {
  double HC[STATES * STATES];
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < STATES; ++j) {
      double sum = 0.0;
      for (int k = 0; k < STATES; ++k) sum += H[i * STATES + k] * C[k * STATES + j];
      HC[i * STATES + j] = sum;
    }
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < rows; ++j) {
      double sum = 0.0;
      for (int k = 0; k < STATES; ++k) sum += HC[i * STATES + k] * H[j * STATES + k];
      out[i * rows + j] = sum;
    }
}

// F (15, 15) over a run of k steps. Per step: theta -= R dt bg; v -= [f dt]x theta + R dt ba; p += v dt.
void transition(const double* rows, const double* dt, int k, double* F) {
  double total = 0.0;
  for (int i = 0; i < k; ++i) total += dt[i];
  // The integrals A of R, S of f, and B of [f]x A at the end, and their integrals: what a step adds lasts from its
  // middle on.
  Mat3 A, B, A2, B2;
  Vec3 S{0, 0, 0}, S2{0, 0, 0};
  double passed = 0.0;
  Mat3 R = rotation(rows);
  for (int i = 0; i < k; ++i) {
    const double* after = rows + ROW * (i + 1);
    const Mat3 R_after = rotation(after);
    const double half = 0.5 * dt[i], lasts = total - passed - half;
    const double* f = rows + ROW * i + FORCE;
    const Vec3 s{(f[0] + after[FORCE]) * half, (f[1] + after[FORCE + 1]) * half, (f[2] + after[FORCE + 2]) * half};
    Mat3 a, middle;
    for (int j = 0; j < 9; ++j) {
      a.m[j] = (R.m[j] + R_after.m[j]) * half;
      middle.m[j] = A.m[j] + 0.5 * a.m[j];
    }
    const Mat3 b = skew(s) * middle;
    for (int j = 0; j < 9; ++j) {
      A.m[j] += a.m[j], A2.m[j] += lasts * a.m[j];
      B.m[j] += b.m[j], B2.m[j] += lasts * b.m[j];
    }
    S = {S.x + s.x, S.y + s.y, S.z + s.z};
    S2 = {S2.x + lasts * s.x, S2.y + lasts * s.y, S2.z + lasts * s.z};
    passed += dt[i];
    R = R_after;
  }
  for (int i = 0; i < STATES * STATES; ++i) F[i] = i % (STATES + 1) == 0 ? 1.0 : 0.0;
  put(scaled(I3, total), F, STATES, P, V);
  put(scaled(skew(S2), -1), F, STATES, P, THETA);
  put(B2, F, STATES, P, BG);
  put(scaled(A2, -1), F, STATES, P, BA);
  put(scaled(skew(S), -1), F, STATES, V, THETA);
  put(B, F, STATES, V, BG);
  put(scaled(A, -1), F, STATES, V, BA);
  put(scaled(A, -1), F, STATES, THETA, BG);
}

// A stretch of the history: samples (m, 6) at rising stamps (m,), of which the first is not after `first` and the last
// not before `last`, between which there are poses.
struct Stretch {
  const int64_t* stamps;
  const double* samples;
  int m;
  int64_t first, last;

  // The index of the first stamp after a stamp.
  int after(int64_t stamp) const { return int(std::upper_bound(stamps, stamps + m, stamp) - stamps); }

  // The sample at a stamp before that with index i, straight between its neighbours.
  void between(int64_t stamp, int i, double* out) const {
    const double u = double(stamp - stamps[i - 1]) / double(stamps[i] - stamps[i - 1]);
    const double *a = samples + SAMPLE * (i - 1), *b = a + SAMPLE;
    for (int k = 0; k < SAMPLE; ++k) out[k] = a[k] + u * (b[k] - a[k]);
  }

  // The row of the stamp `here`, carried on to `until`.
  void carry_on(double* row, int64_t here, int64_t until, const Biases& by) const {
    int i = after(here);
    while (here < until) {
      const int64_t next = std::min(stamps[i], until);
      double drawn[SAMPLE];
      const double* sample = samples + SAMPLE * i;
      if (next != stamps[i]) between(next, i, drawn), sample = drawn;
      step(row, sample, double(next - here) / 1e9, by);
      here = next;
      i += here == stamps[i];
    }
  }
};

// T (n, 4, 4), T_ego(end)_ego(start) of each of n rows (n + 1, 16) but the last, which is the end.
void moved(const double* rows, int n, const double* arm, double* T) {
  const double* end = rows + ROW * n;
  const Mat3 R_end_map = transposed(rotation(end));
  const Vec3 at = vec3(arm);
  for (int i = 0; i < n; ++i) {
    const double* start = rows + ROW * i;
    double* out = T + 16 * i;
    const Mat3 R = R_end_map * rotation(start);
    const Vec3 way = R_end_map * Vec3{start[0] - end[0], start[1] - end[1], start[2] - end[2]}, turned = R * at;
    put(R, out, 4, 0, 0);
    out[3] = way.x + at.x - turned.x, out[7] = way.y + at.y - turned.y, out[11] = way.z + at.z - turned.z;
    out[12] = out[13] = out[14] = 0.0, out[15] = 1.0;
  }
}

}  // namespace

// C (15, 15) at the first of rows (k + 1, 16) -> out (15, 15) at the last; dt (k,) s between them; noise (15,) variance
// a second, of which half is added before and half after: second order in the length of the run.
FRT_EXPORT void frt_ego_propagate(const double* C, const double* rows, const double* dt, int k, const double* noise,
                                  double* out) {
  double F[STATES * STATES], before[STATES * STATES], total = 0.0;
  for (int i = 0; i < k; ++i) total += dt[i];
  transition(rows, dt, k, F);
  for (int i = 0; i < STATES * STATES; ++i) before[i] = C[i];
  for (int i = 0; i < STATES; ++i) before[i * (STATES + 1)] += 0.5 * total * noise[i];
  carry(F, before, STATES, out);
  for (int i = 0; i < STATES; ++i) {
    out[i * (STATES + 1)] += 0.5 * total * noise[i];
    for (int j = 0; j < i; ++j)
      out[i * STATES + j] = out[j * STATES + i] = 0.5 * (out[i * STATES + j] + out[j * STATES + i]);
  }
}

// rows (n + 1, 16) -> T (n, 4, 4), T_ego(end)_ego(start) of each but the last, which is the end; arm (3,): the rows'
// point in the ego frame, m.
FRT_EXPORT void frt_ego_moved(const double* rows, int n, const double* arm, double* T) { moved(rows, n, arm, T); }

// The same for rows that are reckoned by the samples alone, each from the one before it: at n + 1 stamps `wanted`, of
// which the last is the end. row (16): at stamps[0], taken to `first` by biases[0], and from there by biases[1];
// outside of `first` to `last` the motion goes on as it was.
FRT_EXPORT void frt_ego_relative(const int64_t* stamps, const double* samples, int m, const double* row,
                                 const Biases* biases, const int64_t* wanted, int n, int64_t first,
                                 int64_t last, const double* arm, double* T) {
  const Stretch stretch{stamps, samples, m, first, last};
  std::vector<int> order(size_t(n) + 1);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [wanted](int a, int b) { return wanted[a] < wanted[b]; });
  double here[ROW];
  std::copy(row, row + ROW, here);
  stretch.carry_on(here, stamps[0], first, biases[0]);
  int64_t here_ns = first;
  std::vector<double> rows(size_t(ROW) * order.size());
  for (int k : order) {
    const int64_t until = std::clamp(wanted[k], first, last);
    stretch.carry_on(here, here_ns, until, biases[1]);
    here_ns = until;
    double* mine = rows.data() + ROW * k;
    std::copy(here, here + ROW, mine);
    if (until != wanted[k]) coast(mine, double(wanted[k] - until) / 1e9);
  }
  moved(rows.data(), n, arm, T);
}

// A row of the point `arm` (3,) of the ego frame, m, and its C (15, 15) -> the ego frame's position and velocity (6,) and
// the covariances of position and orientation (6, 6) and of velocity (3, 3), one after the other.
FRT_EXPORT void frt_ego_state(const double* row, const double* C, const double* arm, double* out) {
  const Mat3 R = rotation(row), lever = skew(vec3(arm));
  const Vec3 away = R * vec3(arm), swing = R * (lever * vec3(row + RATE));
  const Vec3 to_origin{-away.x, -away.y, -away.z};
  put(Vec3{row[0] + to_origin.x, row[1] + to_origin.y, row[2] + to_origin.z}, out);
  put(Vec3{row[3] + swing.x, row[4] + swing.y, row[5] + swing.z}, out + 3);
  double H[9 * STATES] = {};
  put(I3, H, STATES, 0, P);
  put(I3, H, STATES, 3, THETA);
  put(I3, H, STATES, 6, V);
  put(scaled(skew(to_origin), -1), H, STATES, 0, THETA);
  put(scaled(skew(swing), -1), H, STATES, 6, THETA);
  put(scaled(R * lever, -1), H, STATES, 6, BG);
  double covariance[9 * 9];
  carry(H, C, 9, covariance);
  out += 6;
  for (int i = 0; i < 6; ++i) out = std::copy_n(covariance + 9 * i, 6, out);
  for (int i = 6; i < 9; ++i) out = std::copy_n(covariance + 9 * i + 6, 3, out);
}
