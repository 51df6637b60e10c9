// Tracks as messages: in the ego frame, with forecast and time to collision. Written as msgpack, from which Python
// makes them in one step.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include "geodesy.h"
#include "motion.h"
#include "msgpack.h"
#include "tracks.h"

constexpr double STEP_S = 0.1;  // of a forecast
constexpr double FADING = 0.9;  // what is left of a turn after each step
constexpr double FORECAST_S[] = {0.5, 1, 1.5, 2, 3};
constexpr int FORECAST_STEPS[] = {5, 10, 15, 20, 30};  // of STEP_S, until there
constexpr int AHEAD = 5;

constexpr double HORIZON_S = 6, COLLISION_STEP_S = 0.05;
constexpr int COLLISION_STEPS = 120;

// Who sees the objects: a vehicle, its velocity in the map (m/s), and where on Earth the map's origin is (degrees, m).
struct Ego {
  double T_map_ego[4][4], velocity[2], front_m, rear_m, width_m, origin[3];
  double placed;  // whether the origin is known
};

struct Pose {
  double x, y, z, yaw;
};

// Of a track: where it is and where it will be at each of FORECAST_S, in the map. A turn does not last: it fades
// within a second.
inline void way(const Track& track, Pose* poses) {
  const double *state = track.state, step = state[SPEED] * STEP_S;
  double x = 0, y = 0, turned = 0, left = 1;  // in steps; turned and left of a turn of 1 rad/s
  poses[0] = {state[X], state[Y], track.z, state[YAW]};
  for (int k = 0, next = 0; next < AHEAD; ++k) {
    const double middle = state[YAW] + state[TURN] * ((turned + 0.5 * left) * STEP_S);  // as `predict` takes it
    x += std::cos(middle);
    y += std::sin(middle);
    turned += left;
    left *= FADING;
    if (k + 1 == FORECAST_STEPS[next]) {
      ++next;
      poses[next] = {state[X] + step * x, state[Y] + step * y, track.z, state[YAW] + state[TURN] * (turned * STEP_S)};
    }
  }
}

// Whether two rectangles touch, ours along the axes: they are apart where one of their four axes separates them.
// dx, dy: from our middle to the other's, whose half sides are l and w, turned by an angle of cosine c and sine s.
inline bool touch(double dx, double dy, double c, double s, double l, double w, double our_l, double our_w) {
  const double ac = std::fabs(c), as = std::fabs(s);
  return std::fabs(dx) <= our_l + l * ac + w * as && std::fabs(dy) <= our_w + l * as + w * ac &&
         std::fabs(dx * c + dy * s) <= l + our_l * ac + our_w * as &&
         std::fabs(dy * c - dx * s) <= w + our_l * as + our_w * ac;
}

// Seconds until the footprints touch if both go on as they do, in steps of 0.05; -1: not within 6 s. An object at x, y
// in the ego frame, its heading's cosine and sine, its velocity relative to ours.
inline double time_to_collision(const Ego& ego, double x, double y, double c, double s, const double* size, double vx,
                                double vy) {
  const double dx = x - (ego.front_m - ego.rear_m) / 2, our_l = (ego.front_m + ego.rear_m) / 2;
  const double our_w = ego.width_m / 2, l = size[0] / 2, w = size[1] / 2;
  // Most never come near.
  const double closest = -(dx * vx + y * vy) / std::max(vx * vx + vy * vy, 1e-12);
  const double then = std::min(std::max(closest, 0.0), HORIZON_S);
  const double radii = std::hypot(our_l, our_w) + std::hypot(l, w);
  if (!(std::hypot(dx + vx * then, y + vy * then) <= 1.001 * radii)) return -1;  // rounding loses none
  for (int k = 0; k <= COLLISION_STEPS; ++k) {
    const double t = k * COLLISION_STEP_S;
    if (touch(dx + vx * t, y + vy * t, c, s, l, w, our_l, our_w)) return t;
  }
  return -1;
}

// Writes `TrackedObject` of messages.py, field by field.
class Objects {
 public:
  // names: of the classes, then of the modalities.
  Objects(const Ego& ego, const std::vector<std::string>& names, int classes, int64_t stamp_ns)
      : ego_(ego), names_(names), classes_(classes), modalities_(int(names.size()) - classes), stamp_ns_(stamp_ns),
        earth_(ego.origin[0], ego.origin[1], ego.origin[2]),
        turn_(-std::atan2(ego.T_map_ego[1][0], ego.T_map_ego[0][0])), c_(std::cos(turn_)), s_(std::sin(turn_)) {}

  void write(Tracks& tracks, int n, Msgpack& out) const {
    out.array(uint32_t(n));
    for (int i = 0; i < n; ++i) write(tracks[i], tracks.classes(i), tracks.contributions(i), out);
  }

 private:
  void write(const Track& track, const double* log_classes, const double* contributions, Msgpack& out) const {
    double place[2] = {};
    if (ego_.placed) earth_.place(track.state[X], track.state[Y], track.z, place);
    Pose poses[1 + AHEAD];
    way(track, poses);
    for (Pose& pose : poses) pose = to_ego(pose);
    const Pose& now = poses[0];
    const double c = std::cos(now.yaw), s = std::sin(now.yaw), speed = track.state[SPEED];
    const double center[] = {now.x, now.y, now.z}, velocity[] = {speed * c, speed * s};
    const std::vector<double> probabilities = class_probabilities(log_classes);
    const auto likeliest = std::max_element(probabilities.begin(), probabilities.end()) - probabilities.begin();
    const double ours_x = c_ * ego_.velocity[0] - s_ * ego_.velocity[1];
    const double ours_y = s_ * ego_.velocity[0] + c_ * ego_.velocity[1];
    const double meets_s =
        time_to_collision(ego_, now.x, now.y, c, s, track.size, velocity[0] - ours_x, velocity[1] - ours_y);
    double box_covariance[16], velocity_covariance[4];
    covariance_of_box(track, box_covariance);
    covariance_of_velocity(track, c, s, velocity_covariance);

    out.map(19);
    key("track_id", out).integer(track.track_id);
    key("label", out).text(names_[size_t(likeliest)]);
    key("class_probabilities", out);
    named(0, probabilities.data(), classes_, out);
    key("existence", out).number(track.existence);
    key("center", out).numbers(center, 3);
    key("size", out).numbers(track.size, 3);
    key("yaw", out).number(now.yaw);
    key("box_covariance", out).numbers(box_covariance, 16);
    key("velocity", out).numbers(velocity, 2);
    key("velocity_covariance", out).numbers(velocity_covariance, 4);
    key("yaw_rate", out).number(track.state[TURN]);
    key("age_s", out).number(double(since_ns(stamp_ns_, track.born_ns)) / 1e9);
    key("hits", out).integer(track.hits);
    key("coasting_s", out).number(double(since_ns(stamp_ns_, track.seen_ns)) / 1e9);
    key("contributions", out);
    named(classes_, shares(contributions).data(), modalities_, out);
    maybe(key("latitude_deg", out), ego_.placed != 0, place[0]);
    maybe(key("longitude_deg", out), ego_.placed != 0, place[1]);
    key("forecast", out);
    forecast(track, poses + 1, out);
    maybe(key("time_to_collision_s", out), meets_s >= 0, meets_s);
  }

  static Msgpack& key(std::string_view name, Msgpack& out) {
    out.text(name);
    return out;
  }

  static void maybe(Msgpack& out, bool known, double value) {
    if (known)
      out.number(value);
    else
      out.nothing();
  }

  void named(int first, const double* values, int n, Msgpack& out) const {
    out.map(uint32_t(n));
    for (int k = 0; k < n; ++k) key(names_[size_t(first + k)], out).number(values[k]);
  }

  // `ForecastPoint`s, in today's ego frame.
  static void forecast(const Track& track, const Pose* poses, Msgpack& out) {
    const double(*P)[STATE] = track.covariance;
    const double start = std::sqrt(std::max((P[X][X] + P[Y][Y]) / 2, 0.0));
    const double growth = std::sqrt(std::max(P[SPEED][SPEED], 0.0));
    out.array(AHEAD);
    for (int k = 0; k < AHEAD; ++k) {
      const double t = FORECAST_S[k];
      const double point[] = {t, poses[k].x, poses[k].y, poses[k].yaw, std::hypot(start, growth * t + 0.25 * t * t)};
      out.numbers(point, 5);
    }
  }

  Pose to_ego(const Pose& p) const {
    const auto& T = ego_.T_map_ego;  // rigid: its inverse turns by the transpose
    const double d[] = {p.x - T[0][3], p.y - T[1][3], p.z - T[2][3]};
    double q[3];
    for (int k = 0; k < 3; ++k) q[k] = T[0][k] * d[0] + T[1][k] * d[1] + T[2][k] * d[2];
    return {q[0], q[1], q[2], wrap_angle(p.yaw + turn_)};
  }

  // Summing to 1, of logarithms up to a constant.
  std::vector<double> class_probabilities(const double* log_classes) const {
    std::vector<double> p(log_classes, log_classes + classes_);
    const double most = *std::max_element(p.begin(), p.end());
    double sum = 0;
    for (double& value : p) sum += value = std::exp(value - most);
    for (double& value : p) value /= sum;
    return p;
  }

  std::vector<double> shares(const double* contributions) const {
    std::vector<double> p(contributions, contributions + modalities_);
    double sum = 0;
    for (const double value : p) sum += value;
    for (double& value : p) value /= std::max(sum, 1e-9);
    return p;
  }

  // (4, 4) over x, y, z, yaw along ego axes.
  void covariance_of_box(const Track& track, double* out) const {
    const double(*P)[STATE] = track.covariance;
    const double R[2][2] = {{c_, -s_}, {s_, c_}};
    std::fill(out, out + 16, 0.0);
    for (int i = 0; i < 2; ++i) {
      for (int j = 0; j < 2; ++j)
        out[4 * i + j] = R[i][0] * (P[X][X] * R[j][0] + P[X][Y] * R[j][1]) +
                         R[i][1] * (P[Y][X] * R[j][0] + P[Y][Y] * R[j][1]);
      out[4 * i + 3] = out[12 + i] = R[i][0] * P[X][YAW] + R[i][1] * P[Y][YAW];
    }
    out[10] = track.z_variance;
    out[15] = P[YAW][YAW];
  }

  // (2, 2) along ego axes: J P J' of v (cos yaw, sin yaw).
  static void covariance_of_velocity(const Track& track, double c, double s, double* out) {
    const double(*P)[STATE] = track.covariance;
    const double v = track.state[SPEED], J[2][2] = {{-s * v, c}, {c * v, s}};  // by yaw, speed
    for (int i = 0; i < 2; ++i)
      for (int j = 0; j < 2; ++j)
        out[2 * i + j] = J[i][0] * (P[YAW][YAW] * J[j][0] + P[YAW][SPEED] * J[j][1]) +
                         J[i][1] * (P[SPEED][YAW] * J[j][0] + P[SPEED][SPEED] * J[j][1]);
  }

  const Ego& ego_;
  const std::vector<std::string>& names_;
  int classes_, modalities_;
  int64_t stamp_ns_;
  Geodesy earth_;
  double turn_, c_, s_;
};
