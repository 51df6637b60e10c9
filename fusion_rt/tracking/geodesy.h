// From a local map to WGS-84. `LocalMap` of ego/geodesy.py has the same from PROJ, whose call from Python takes longer
// than all else that is said of the objects.
#pragma once

#include <cmath>

class Geodesy {
 public:
  // The map's origin, degrees and metres.
  Geodesy(double latitude_deg, double longitude_deg, double altitude_m) {
    const double sp = std::sin(latitude_deg * RAD), cp = std::cos(latitude_deg * RAD);
    const double sl = std::sin(longitude_deg * RAD), cl = std::cos(longitude_deg * RAD);
    const double n = A / std::sqrt(1 - E2 * sp * sp);
    const double origin[] = {(n + altitude_m) * cp * cl, (n + altitude_m) * cp * sl, (n * (1 - E2) + altitude_m) * sp};
    const double axes[3][3] = {{-sl, -sp * cl, cp * cl}, {cl, -sp * sl, cp * sl}, {0, cp, sp}};
    for (int i = 0; i < 3; ++i) {
      origin_[i] = origin[i];
      for (int j = 0; j < 3; ++j) axes_[i][j] = axes[i][j];
    }
  }

  // Degrees, of metres east, north and up of the origin. Bowring (1976): the error is below a nanometre within 10 km
  // of the ellipsoid.
  void place(double east, double north, double up, double* latitude_longitude) const {
    double p[3];
    for (int i = 0; i < 3; ++i) p[i] = origin_[i] + axes_[i][0] * east + axes_[i][1] * north + axes_[i][2] * up;
    const double x = p[0], y = p[1], z = p[2], r = std::hypot(x, y), b = A * std::sqrt(1 - E2);
    const double length = std::hypot(z * A, r * b), s = z * A / length, c = r * b / length;  // the reduced latitude's
    latitude_longitude[0] = std::atan2(z + E2 / (1 - E2) * b * s * s * s, r - E2 * A * c * c * c) / RAD;
    latitude_longitude[1] = std::atan2(y, x) / RAD;
  }

 private:
  static constexpr double RAD = 3.14159265358979323846 / 180;
  static constexpr double F = 1 / 298.257223563, A = 6378137, E2 = F * (2 - F);

  double origin_[3], axes_[3][3];
};
