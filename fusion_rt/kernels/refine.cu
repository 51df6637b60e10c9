// Before and after the second look at a decoded row: x y z l w h yaw vx vy score class, then one standard deviation of
// x, y, z (m), size (share) and yaw (rad).
#include "frt.h"

#define FRT_PI 3.14159265358979f

// Of a probability; 0 and 1 are taken for nearly so.
FRT_DEVICE float logit_of(float p) {
  const float held = fminf(fmaxf(p, 1e-4f), 1.0f - 1e-4f);
  return logf(held / (1.0f - held));
}

// out (n, 16): scaled box, score and class, as model.yaml's `box_context` lists them.
FRT_KERNEL(box_context)(const float* rows, const int* n, int room, float* out) {
  FRT_FOR(i, frt_held(n, room)) {
    const float* row = rows + 16 * (long long)i;
    float* told = out + 16 * (long long)i;
    told[0] = row[0] / 70.0f;
    told[1] = row[1] / 35.0f;
    told[2] = row[2] / 2.0f;
    for (int a = 3; a < 6; ++a) told[a] = logf(row[a]);
    told[6] = sinf(row[6]);
    told[7] = cosf(row[6]);
    told[8] = row[7] / 10.0f;
    told[9] = row[8] / 10.0f;
    told[10] = logit_of(row[9]) / 4.0f;
    for (int c = 0; c < 3; ++c) told[11 + c] = row[10] == float(c) ? 1.0f : 0.0f;
    told[14] = logf(row[11]) / 4.0f;
    told[15] = logf(row[15]) / 4.0f;
  }
}

// The rows with the answer applied. score (n): on the logit, of which `fits` (classes, 2), gain and offset, make a
// probability. deltas (n, 8): along and across the box, up (m), log length, width, height, and of twice the turn the
// sine and the cosine less one. facing (n): above 0 where the box is turned round. log_sigma (n, 5): on the logs of
// the standard deviations.
FRT_KERNEL(box_refine)(const float* rows, const int* n, int room, const float* fits, const float* score,
                       const float* deltas, const float* facing, const float* log_sigma, float* out) {
  FRT_FOR(i, frt_held(n, room)) {
    const float* row = rows + 16 * (long long)i;
    const float* d = deltas + 8 * (long long)i;
    float* better = out + 16 * (long long)i;
    const float c = cosf(row[6]), s = sinf(row[6]);
    better[0] = row[0] + frt_mad(c, d[0], -frt_mul(s, d[1]));
    better[1] = row[1] + frt_mad(s, d[0], frt_mul(c, d[1]));
    better[2] = row[2] + d[2];
    for (int a = 3; a < 6; ++a) better[a] = row[a] * expf(fminf(fmaxf(d[a], -1.0f), 1.0f));
    const float yaw = row[6] + 0.5f * atan2f(d[6], 1.0f + d[7]) + (facing[i] > 0.0f ? FRT_PI : 0.0f);
    better[6] = yaw - 2.0f * FRT_PI * floorf((yaw + FRT_PI) / (2.0f * FRT_PI));
    better[7] = row[7];
    better[8] = row[8];
    const float* fit = fits + 2 * int(row[10]);
    better[9] = 1.0f / (1.0f + expf(-frt_mad(fit[0], logit_of(row[9]) + score[i], fit[1])));
    better[10] = row[10];
    for (int a = 0; a < 5; ++a)
      better[11 + a] = expf(fminf(fmaxf(logf(row[11 + a]) + log_sigma[5 * (long long)i + a], -6.0f), 4.0f));
  }
}
