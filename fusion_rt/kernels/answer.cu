// The last steps before an answer leaves the device: refined rows in order, and all that is told of those that stay.
#include "frt.h"

#define FRT_ROW 16
#define FRT_SCORE 9
#define FRT_CLASS 10

// Whether the score of row j comes before that of row i: falling, of equal ones the first, and what is no number last.
FRT_DEVICE bool comes_before(float of_j, float of_i, int j, int i) {
  const bool sound_j = of_j == of_j, sound_i = of_i == of_i;
  if (sound_j != sound_i) return sound_j;
  return (sound_j && of_j > of_i) || ((!sound_j || of_j == of_i) && j < i);
}

// rows (n, 16) by score -> ordered (n, 16), and of each its box (n, 7) and class (n), for the suppression of doubles.
FRT_KERNEL(rows_order)(const float* rows, const int* n, int room, float* ordered, float* boxes, int* classes) {
  const int held = frt_held(n, room);
  FRT_FOR(i, held) {
    const float* row = rows + FRT_ROW * (long long)i;
    int rank = 0;
    for (int j = 0; j < held; ++j)
      rank += comes_before(rows[FRT_ROW * (long long)j + FRT_SCORE], row[FRT_SCORE], j, i);
    for (int c = 0; c < FRT_ROW; ++c) ordered[FRT_ROW * (long long)rank + c] = row[c];
    for (int c = 0; c < 7; ++c) boxes[7 * (long long)rank + c] = row[c];
    classes[rank] = int(row[FRT_CLASS]);
  }
}

// The cell of a canvas under a coordinate; the nearest for one outside.
FRT_DEVICE int cell_under(float x, float first, float cell, int n) {
  return int(fminf(fmaxf((x - first) / cell, 0.0f), float(n - 1)));
}

// Of each row that stays: the row (16), the logits of all classes at the cell under it, and what each of `shares`
// modalities contributes there, on a canvas (ceil(ny / step), ceil(nx / step), shares) that may be coarser.
FRT_KERNEL(rows_tell)(const float* ordered, const int* keep, const int* kept, int room, const float* heatmap,
                      int classes, const float* contribution, int shares, int step, Grid g, float* told) {
  const int wide = FRT_ROW + classes + shares, coarse = (g.nx + step - 1) / step;
  FRT_FOR(i, frt_held(kept, room)) {
    const float* row = ordered + FRT_ROW * (long long)keep[i];
    float* mine = told + wide * (long long)i;
    const int x = cell_under(row[0], g.x_min, g.cell, g.nx), y = cell_under(row[1], g.y_min, g.cell, g.ny);
    for (int c = 0; c < FRT_ROW; ++c) mine[c] = row[c];
    for (int c = 0; c < classes; ++c) mine[FRT_ROW + c] = heatmap[((long long)c * g.ny + y) * g.nx + x];
    const float* share = contribution + shares * ((long long)(y / step) * coarse + x / step);
    for (int m = 0; m < shares; ++m) mine[FRT_ROW + classes + m] = share[m];
  }
}

// How many of n values are not finite, added to *broken.
FRT_KERNEL(count_broken)(const float* values, int n, int* broken) {
  int mine = 0;
  FRT_FOR(i, n) mine += !frt_finite(values[i]);
  if (mine) frt_add_shared(broken, mine);
}
