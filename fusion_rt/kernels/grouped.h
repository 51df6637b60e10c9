// Points that lie side by side by the cell they are in, as pillars.cu leaves them: x, y from the cell's centre, z
// (m), intensity. `count` and `start` have a layer of all cells for each worker that counted; afterwards `start` is
// one past the points of a layer, and a cell's last layer ends them.
#pragma once
#include "frt.h"

FRT_DEVICE int points_of(const int* count, int layers, int cells, int c) {
  int n = 0;
  for (int k = 0; k < layers; ++k) n += count[(long long)k * cells + c];
  return n;
}

FRT_DEVICE const float* first_of(const float* grouped, const int* start, int layers, int cells, int c, int n) {
  return grouped + 4 * (long long)(start[(long long)(layers - 1) * cells + c] - n);
}
