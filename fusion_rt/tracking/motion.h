// Constant turn rate and velocity: an extended Kalman filter's two steps, for one object.
//
// State: x, y (m), yaw (rad), v (m/s, along yaw), w (rad/s). The turn is taken at its middle, which is exact to the
// second order in dt: x += v dt cos(yaw + w dt / 2).
#pragma once

#include <cmath>

enum { X, Y, YAW, SPEED, TURN, STATE };

constexpr double PI = 3.14159265358979323846;

// The remainder with the divisor's sign, as Python's %.
inline double modulo(double a, double b) {
  const double r = std::fmod(a, b);
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

// The same angle in [-pi, pi), rad.
inline double wrap_angle(double angle) { return modulo(angle + PI, 2 * PI) - PI; }

// The state and its covariance dt s later; accel (m/s^2) and turn_accel (rad/s^2) are what an object may do
// unannounced, one standard deviation.
inline void predict(double* state, double (*P)[STATE], double dt, double accel, double turn_accel) {
  const double middle = state[YAW] + 0.5 * dt * state[TURN], c = std::cos(middle), s = std::sin(middle);
  const double step = state[SPEED] * dt;
  // The Jacobian F is the identity and this, in the rows x, y and yaw.
  const double Fx[] = {-s * step, dt * c, 0.5 * dt * (-s * step)};  // by yaw, v, w
  const double Fy[] = {c * step, dt * s, 0.5 * dt * (c * step)};
  state[X] += c * step;
  state[Y] += s * step;
  state[YAW] = wrap_angle(state[YAW] + dt * state[TURN]);

  double FP[STATE][STATE];
  for (int j = 0; j < STATE; ++j) {
    FP[X][j] = P[X][j] + Fx[0] * P[YAW][j] + Fx[1] * P[SPEED][j] + Fx[2] * P[TURN][j];
    FP[Y][j] = P[Y][j] + Fy[0] * P[YAW][j] + Fy[1] * P[SPEED][j] + Fy[2] * P[TURN][j];
    FP[YAW][j] = P[YAW][j] + dt * P[TURN][j];
    FP[SPEED][j] = P[SPEED][j];
    FP[TURN][j] = P[TURN][j];
  }
  // G: how an unannounced acceleration, and one of the turn, move the state.
  const double Ga[] = {0.5 * dt * dt * accel * c, 0.5 * dt * dt * accel * s, 0, dt * accel, 0};
  const double Gw[] = {0, 0, 0.5 * dt * dt * turn_accel, 0, dt * turn_accel};
  for (int i = 0; i < STATE; ++i) {
    double row[STATE];  // of F P F' + G G'
    row[X] = FP[i][X] + FP[i][YAW] * Fx[0] + FP[i][SPEED] * Fx[1] + FP[i][TURN] * Fx[2];
    row[Y] = FP[i][Y] + FP[i][YAW] * Fy[0] + FP[i][SPEED] * Fy[1] + FP[i][TURN] * Fy[2];
    row[YAW] = FP[i][YAW] + FP[i][TURN] * dt;
    row[SPEED] = FP[i][SPEED];
    row[TURN] = FP[i][TURN];
    for (int j = 0; j <= i; ++j) P[i][j] = P[j][i] = row[j] + Ga[i] * Ga[j] + Gw[i] * Gw[j];
  }
  // Drift that the model does not know (pedestrians, boxes that settle): a quarter of the acceleration.
  const double drift = (0.25 * dt * accel) * (0.25 * dt * accel) * dt + 1e-6;
  P[X][X] += drift;
  P[Y][Y] += drift;
  P[YAW][YAW] += (0.1 * dt) * (0.1 * dt);
}

// The state and its covariance after measuring n of its entries: residuals, measurement minus state; variances of
// their noise, positive. One number after the other, which is the same where their noise is independent, and needs no
// inverse.
inline void correct(double* state, double (*P)[STATE], int n, const int* measured, const double* residuals,
                    const double* variances) {
  double moved[STATE] = {};
  for (int k = 0; k < n; ++k) {
    const int row = measured[k];
    double column[STATE], K[STATE];
    for (int i = 0; i < STATE; ++i) column[i] = P[i][row];
    for (int i = 0; i < STATE; ++i) K[i] = column[i] / (column[row] + variances[k]);
    const double surprise = residuals[k] - moved[row];
    for (int i = 0; i < STATE; ++i) {
      moved[i] += K[i] * surprise;
      for (int j = 0; j < STATE; ++j) P[i][j] -= K[i] * column[j];
    }
  }
  for (int i = 0; i < STATE; ++i) {
    state[i] += moved[i];
    // Rounding must not make it lopsided.
    for (int j = 0; j < i; ++j) P[i][j] = P[j][i] = 0.5 * (P[i][j] + P[j][i]);
  }
}
