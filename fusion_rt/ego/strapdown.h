// Dead reckoning, as strapdown.py does it and to the same bits: the filter's own steps come a few at a time there, here
// whole runs of them.
#pragma once
#include <cmath>

constexpr int ROW = 16, SAMPLE = 6;
enum { POSITION = 0, VELOCITY = 3, QUATERNION = 6, FORCE = 10, RATE = 13 };  // of a row

struct Vec3 {
  double x, y, z;
};

struct Quaternion {
  double x, y, z, w;
};

inline Vec3 vec3(const double* v) { return {v[0], v[1], v[2]}; }
inline void put(Vec3 v, double* out) { out[0] = v.x, out[1] = v.y, out[2] = v.z; }

struct Biases {
  double gyro[3], accel[3], gravity[3];
};

// q v q*
inline Vec3 rotated(Quaternion q, Vec3 v) {
  const double s = 2.0 * (q.y * v.z - q.z * v.y), t = 2.0 * (q.z * v.x - q.x * v.z), r = 2.0 * (q.x * v.y - q.y * v.x);
  return {v.x + q.w * s + q.y * r - q.z * t, v.y + q.w * t + q.z * s - q.x * r, v.z + q.w * r + q.x * t - q.y * s};
}

inline Quaternion turned(Quaternion q, double a, double b, double c) {
  const double angle = std::sqrt(a * a + b * b + c * c);
  const double s = angle > 1e-8 ? std::sin(0.5 * angle) / angle : 0.5, k = std::cos(0.5 * angle);
  a = a * s, b = b * s, c = c * s;
  const double i = q.x * k + q.w * a + q.y * c - q.z * b, j = q.y * k + q.w * b + q.z * a - q.x * c;
  const double l = q.z * k + q.w * c + q.x * b - q.y * a, r = q.w * k - q.x * a - q.y * b - q.z * c;
  const double n = 1.0 / std::sqrt(i * i + j * j + l * l + r * r);
  return {i * n, j * n, l * n, r * n};
}

// The row dt seconds later, when the sample was taken; in place.
inline void step(double* row, const double* sample, double dt, const Biases& by) {
  const double w[3] = {sample[3] - by.gyro[0], sample[4] - by.gyro[1], sample[5] - by.gyro[2]};
  const double *u = row + RATE, *f = row + FORCE;
  const Quaternion before{row[QUATERNION], row[QUATERNION + 1], row[QUATERNION + 2], row[QUATERNION + 3]};
  const Quaternion q = turned(before, 0.5 * (u[0] + w[0]) * dt, 0.5 * (u[1] + w[1]) * dt, 0.5 * (u[2] + w[2]) * dt);
  double e[3];
  put(rotated(q, {sample[0] - by.accel[0], sample[1] - by.accel[1], sample[2] - by.accel[2]}), e);
  const double h = 0.5 * dt, k = dt * dt / 6.0;
  for (int a = 0; a < 3; ++a) {
    row[POSITION + a] = row[POSITION + a] + row[VELOCITY + a] * dt + k * (2.0 * f[a] + e[a] + 3.0 * by.gravity[a]);
    row[VELOCITY + a] = row[VELOCITY + a] + h * (f[a] + e[a] + 2.0 * by.gravity[a]);
  }
  row[QUATERNION] = q.x, row[QUATERNION + 1] = q.y, row[QUATERNION + 2] = q.z, row[QUATERNION + 3] = q.w;
  for (int a = 0; a < 3; ++a) row[FORCE + a] = e[a], row[RATE + a] = w[a];
}

// The row dt seconds later (or earlier) without samples; in place.
inline void coast(double* row, double dt) {
  const Quaternion before{row[QUATERNION], row[QUATERNION + 1], row[QUATERNION + 2], row[QUATERNION + 3]};
  const double* w = row + RATE;
  const Vec3 forward = rotated({-before.x, -before.y, -before.z, before.w}, vec3(row + VELOCITY));
  const Vec3 v = rotated(turned(before, 0.5 * w[0] * dt, 0.5 * w[1] * dt, 0.5 * w[2] * dt), forward);
  const Quaternion q = turned(before, w[0] * dt, w[1] * dt, w[2] * dt);
  put({row[0] + v.x * dt, row[1] + v.y * dt, row[2] + v.z * dt}, row + POSITION);
  put(rotated(q, forward), row + VELOCITY);
  row[QUATERNION] = q.x, row[QUATERNION + 1] = q.y, row[QUATERNION + 2] = q.z, row[QUATERNION + 3] = q.w;
}
