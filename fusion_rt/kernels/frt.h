// One source for GPU and CPU. A kernel is written once:
//
//   FRT_KERNEL(scale)(const float* x, int n, float k, float* y) { FRT_FOR(i, n) { y[i] = k * x[i]; } }
//
// On the GPU, FRT_FOR is a grid-stride loop. On the CPU every worker runs the whole kernel function, and
// FRT_FOR gives it one contiguous slice. No kernel may depend on the order of the iterations.
//
// How many rows, points or peaks there are is often known to the device alone: a kernel takes such a number by its
// address, so that no one waits for it.
#pragma once

#ifdef __CUDACC__

#define FRT_DEVICE __device__ __forceinline__
#define FRT_KERNEL(name) extern "C" __global__ void name
#define FRT_FOR(i, n) \
  for (int i = blockIdx.x * blockDim.x + threadIdx.x, frt_end_##i = (n); i < frt_end_##i; i += gridDim.x * blockDim.x)
// Where neighbours share work: [i, end) is a worker's whole slice, on the GPU one iteration.
#define FRT_FOR_SLICE(i, end, n)                                                                    \
  for (int i = blockIdx.x * blockDim.x + threadIdx.x, end = i + 1; i < (n); \
       i += gridDim.x * blockDim.x, end = i + 1)
// A team takes an iteration together and has a number for its scratch memory: a block on the GPU, a worker on the
// CPU. Inside, FRT_LANES shares a loop among the team; what one lane wrote, another may read after FRT_SYNC.
#define FRT_FOR_TEAM(i, n) for (int i = blockIdx.x; i < (n); i += gridDim.x)
#define FRT_TEAM int(blockIdx.x)
#define FRT_LANES(i, first, end) for (int i = (first) + int(threadIdx.x); i < (end); i += blockDim.x)
#define FRT_SYNC() __syncthreads()
// Arrays of which each CPU worker has its own layer have one on the GPU, where frt_add is atomic.
#define FRT_LAYER 0
// A few independent lanes, side by side in registers. (Unrolled, GCC no longer sees a vector in them.)
#define FRT_VECTOR(j, n) _Pragma("unroll") for (int j = 0; j < (n); ++j)

#define FRT_UNROLL(n) _Pragma("unroll")

FRT_DEVICE int frt_add(int* p, int v) { return atomicAdd(p, v); }         // on its own layer
FRT_DEVICE int frt_add_shared(int* p, int v) { return atomicAdd(p, v); }  // on what all share
// The larger of both, of a team's lanes: numbers that are not negative have the order of their bits.
FRT_DEVICE void frt_max(float* p, float v) {
  if (v > *p) atomicMax((int*)p, __float_as_int(v));
}
FRT_DEVICE float frt_mul(float a, float b) { return __fmul_rn(a, b); }
FRT_DEVICE float frt_sum(float a, float b) { return __fadd_rn(a, b); }
FRT_DEVICE bool frt_finite(float a) { return fabsf(a) <= 3.402823466e38f; }

#else

#include <math.h>

#define FRT_DEVICE static inline
#define FRT_KERNEL(name) static void name

struct FrtWorker {
  int index, count;
};
static thread_local FrtWorker frt_worker = {0, 1};

FRT_DEVICE int frt_slice(int n, int k) { return int((long long)n * k / frt_worker.count); }

#define FRT_FOR(i, n)                                                                                      \
  for (int i = frt_slice((n), frt_worker.index), frt_end_##i = frt_slice((n), frt_worker.index + 1); \
       i < frt_end_##i; ++i)
#define FRT_FOR_SLICE(i, end, n) \
  for (int i = frt_slice((n), frt_worker.index), end = frt_slice((n), frt_worker.index + 1); i < end; i = end)
#define FRT_FOR_TEAM(i, n) FRT_FOR(i, n)
#define FRT_TEAM frt_worker.index
#define FRT_LANES(i, first, end) for (int i = (first); i < (end); ++i)
#define FRT_SYNC() static_cast<void>(0)
#ifndef FRT_LAYER
#define FRT_LAYER frt_worker.index
#endif
#define FRT_PRAGMA(words) _Pragma(#words)
#define FRT_UNROLL(n) FRT_PRAGMA(GCC unroll n)
#define FRT_VECTOR(j, n) _Pragma("GCC unroll 1") for (int j = 0; j < (n); ++j)

FRT_DEVICE int frt_add(int* p, int v) {
  const int before = *p;
  *p = before + v;
  return before;
}
FRT_DEVICE int frt_add_shared(int* p, int v) { return __atomic_fetch_add(p, v, __ATOMIC_RELAXED); }
FRT_DEVICE void frt_max(float* p, float v) { *p = v > *p ? v : *p; }
FRT_DEVICE float frt_mul(float a, float b) { return a * b; }  // built with -ffp-contract=off
FRT_DEVICE float frt_sum(float a, float b) { return a + b; }
FRT_DEVICE bool frt_finite(float a) { return fabsf(a) <= 3.402823466e38f; }

#endif

// a * b + c, rounded twice: the same bits with and without a fused unit.
FRT_DEVICE float frt_mad(float a, float b, float c) { return frt_sum(frt_mul(a, b), c); }

// x held between two numbers; the lower for what is no number. (fminf and fmaxf are calls on a CPU.)
FRT_DEVICE float frt_hold(float x, float low, float high) { return x > low ? (x < high ? x : high) : low; }

// How many of `room` rows are there, where more may have been counted.
FRT_DEVICE int frt_held(const int* n, int room) { return *n < room ? *n : room; }

// A canvas over the ground: cell (iy, ix) covers [min + i * cell, min + (i + 1) * cell).
struct Grid {
  float x_min, y_min, cell;
  int nx, ny;
};

// Whether the canvas holds x, y, and in which cell. Tested in float: int(NaN) is INT_MIN on x86 and 0 on a GPU; and
// rounding may carry a point just below the border onto it, so the cell number is compared, not the metres.
struct Place {
  int inside, cell;
};

FRT_DEVICE Place grid_place(Grid g, float x, float y) {
  const float u = (x - g.x_min) / g.cell, v = (y - g.y_min) / g.cell;
  const int inside = (u >= 0.0f) & (u < float(g.nx)) & (v >= 0.0f) & (v < float(g.ny));
  return Place{inside, int(inside ? v : 0.0f) * g.nx + int(inside ? u : 0.0f)};
}

// Bilinear taps around continuous pixel coordinates (pixel i's centre at i + 0.5).
struct Taps {
  int x, y;         // the upper left tap; may be -1
  float fx, fy;     // weight of the right and lower taps
};

FRT_DEVICE Taps taps_at(float u, float v) {
  const float x = u - 0.5f, y = v - 0.5f;
  const float x0 = floorf(x), y0 = floorf(y);
  return Taps{int(x0), int(y0), x - x0, y - y0};
}
