// The steps of an update: see `Tracker.update` of tracker.py for their order.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "assignment.h"
#include "motion.h"
#include "tracks.h"

constexpr double REACH_M = 8;         // however uncertain a track is, its box is not farther away
constexpr double HEIGHT_STD_M = 0.1;  // floor of a box's height noise
constexpr double REVERSING_MPS = 1;   // nobody drives backwards faster, and what is slower is told from its boxes
constexpr double FACING_KEPT = 0.9;   // of what older boxes said of a front, after each box

inline int likeliest(const double* values, int n) { return int(std::max_element(values, values + n) - values); }

inline double squared(double a) { return a * a; }

// No single box decides a class.
inline double no_certainty(double score) { return std::min(std::max(score, 0.02), 0.98); }

// The probability after a box of that score: the odds of being there, times how much likelier such a score is for an
// object than for clutter.
inline double believed(double existence, double score) {
  const double odds = existence / (1 - existence) * (score + 0.15) / (1.15 - score) * 2.0;
  return std::min(odds / (1 + odds), 0.999);
}

// Whether all numbers are finite and the sizes positive; more: of those after the struct.
inline bool finite(const Box& box, const double* after, int more) {
  const auto is_finite = [](double a) { return std::isfinite(a); };
  const double* first = &box.x;
  return std::all_of(first, first + sizeof(Box) / sizeof(double), is_finite) &&
         std::all_of(after, after + more, is_finite) &&
         std::all_of(box.size, box.size + 3, [](double a) { return a > 0; });
}

// Whether the offset of a middle from another's lies in its rectangle.
inline bool inside(double dx, double dy, double yaw, double length, double width) {
  const double half_l = length / 2, half_w = width / 2, reach = half_l + half_w;
  if (!(std::fabs(dx) < reach && std::fabs(dy) < reach)) return false;  // spares most the angles
  const double c = std::cos(yaw), s = std::sin(yaw);
  return std::fabs(dx * c + dy * s) < half_l && std::fabs(dy * c - dx * s) < half_w;
}

class Update {
 public:
  Update(const Settings& settings, void* tracks, int n)
      : settings_(settings), tracks_(tracks, settings.classes, settings.modalities), n_(n) {}

  int count() const { return n_; }

  // Without those that nothing has shown for too long.
  void forget(int64_t stamp_ns) {
    n_ = tracks_.keep(n_, [&](int i) {
      return double(since_ns(stamp_ns, tracks_[i].witnessed_ns)) <= settings_.max_coast_s * 1e9;
    });
  }

  void predict_all(double dt) {
    const double survival = std::exp(-dt / settings_.survival_s);
    for (int i = 0; i < n_; ++i) {
      Track& track = tracks_[i];
      const Motion& motion = settings_.motions[kind(i)];
      predict(track.state, track.covariance, dt, motion.accel, motion.turn_accel);
      track.z_variance += 0.01 * dt;
      track.existence *= survival;
    }
  }

  // The m boxes, in the ego frame: they are moved to the map. After the last track there is room for one a box, and
  // new ones are numbered from next_id on. detection: probability that an object that is there gives a box.
  void take(Boxes boxes, int m, const double* T_map_ego, int64_t stamp_ns, double detection, int64_t next_id) {
    to_map(boxes, m, T_map_ego);
    std::vector<double> best(m);
    for (int j = 0; j < m; ++j) best[j] = boxes.classes(j)[int(boxes[j].label)];
    const std::vector<Pair> pairs = candidates(boxes, m);
    std::vector<char> strong(m), asked(m);
    for (int j = 0; j < m; ++j) asked[j] = strong[j] = best[j] >= settings_.motions[int(boxes[j].label)].birth;
    for (const Pair& p : pairs) asked[p.column] = true;  // no other box is of use
    const std::vector<char> out = hidden(boxes, m, best, asked);
    // First the strong boxes, then the weak ones for tracks still alone (ByteTrack, Zhang et al. 2022).
    std::vector<int> partner(n_, -1);
    for (const bool now : {true, false}) {
      std::vector<Pair> chosen;
      for (const Pair& p : pairs)
        if (partner[p.row] < 0 && !out[p.column] && bool(strong[p.column]) == now) chosen.push_back(p);
      assign(chosen, partner);
    }
    std::vector<char> taken(m);
    for (int i = 0; i < n_; ++i) {
      const int j = partner[i];
      if (j < 0) {
        double& existence = tracks_[i].existence;
        const double missed = existence * detection;
        existence = (existence - missed) / (1 - missed);
        continue;
      }
      take_box(i, boxes, j, best[j], stamp_ns);
      taken[j] = true;
    }
    std::vector<int> fresh;
    for (int j = 0; j < m; ++j)
      if (strong[j] && !out[j] && !taken[j]) fresh.push_back(j);
    std::stable_sort(fresh.begin(), fresh.end(), [&](int a, int b) {
      if (best[a] != best[b]) return best[a] > best[b];
      const double *p = &boxes[a].x, *q = &boxes[b].x;  // seven numbers, x to yaw
      return std::lexicographical_compare(p, p + 7, q, q + 7);
    });
    for (int j : fresh) born(boxes, j, best[j], stamp_ns, next_id++);
  }

  // What an image showed of each track: one of its scores, by number, or -1 for nothing.
  void witness(const int* shows, const double* scores, int64_t stamp_ns) {
    for (int i = 0; i < n_; ++i) {
      if (shows[i] < 0) continue;
      tracks_[i].existence = believed(tracks_[i].existence, scores[shows[i]]);
      tracks_[i].witnessed_ns = stamp_ns;
    }
  }

  // Without tracks that were not seen now and whose middle lies in the box of one that was: two things are never in
  // one place, and the unseen one is a track that its object has outrun.
  void drop_ghosts(int64_t stamp_ns) {
    std::vector<char> ghost(n_);
    for (int i = 0; i < n_; ++i) {
      const double* middle = tracks_[i].state;
      if (tracks_[i].seen_ns == stamp_ns) continue;
      for (int j = 0; j < n_ && !ghost[i]; ++j) {
        const Track& other = tracks_[j];
        ghost[i] = other.seen_ns == stamp_ns && inside(middle[X] - other.state[X], middle[Y] - other.state[Y],
                                                       other.state[YAW], other.size[0], other.size[1]);
      }
    }
    n_ = tracks_.keep(n_, [&](int i) { return !ghost[i]; });
  }

  void drop_unlikely() {
    n_ = tracks_.keep(n_, [&](int i) { return tracks_[i].existence >= settings_.drop; });
  }

  // Copies of the confirmed ones, likeliest first; returns how many. With what their boxes have in common in their
  // covariances: a car of which only the back is seen is boxed too long by every one of them, and no filter averages
  // that away.
  int show(void* rows) {
    Tracks shown(rows, settings_.classes, settings_.modalities);
    std::vector<int> order;
    for (int i = 0; i < n_; ++i)
      if (tracks_[i].hits >= settings_.confirm_hits && tracks_[i].existence >= settings_.confirm) order.push_back(i);
    std::sort(order.begin(), order.end(), [&](int a, int b) {
      const Track &p = tracks_[a], &q = tracks_[b];
      return p.existence != q.existence ? p.existence > q.existence : p.track_id < q.track_id;
    });
    for (size_t k = 0; k < order.size(); ++k) {
      tracks_.copy(order[k], shown, int(k));
      Track& track = shown[int(k)];
      for (int row : {X, Y, YAW}) track.covariance[row][row] += settings_.common_error * track.noise[row];
      track.z_variance += settings_.common_error * track.noise[3];
    }
    return int(order.size());
  }

 private:
  int kind(int i) { return likeliest(tracks_.classes(i), settings_.classes); }

  double position_std(double std) const { return std::max(std, settings_.position_std_m); }

  static void to_map(Boxes& boxes, int m, const double* T) {
    const double turn = std::atan2(T[4], T[0]), c = std::cos(turn), s = std::sin(turn);
    for (int j = 0; j < m; ++j) {
      Box& box = boxes[j];
      const double x = box.x, y = box.y, z = box.z, vx = box.velocity[0], vy = box.velocity[1];
      box.x = T[0] * x + T[1] * y + T[2] * z + T[3];
      box.y = T[4] * x + T[5] * y + T[6] * z + T[7];
      box.z = T[8] * x + T[9] * y + T[10] * z + T[11];
      box.yaw = wrap_angle(box.yaw + turn);
      box.velocity[0] = vx * c - vy * s;
      box.velocity[1] = vx * s + vy * c;
      // The axes of the noise turn with the frame; their covariance is left out, the two differ little.
      const double xx = squared(box.std[0]), yy = squared(box.std[1]);
      box.std[0] = std::sqrt(xx * (c * c) + yy * (s * s));
      box.std[1] = std::sqrt(xx * (s * s) + yy * (c * c));
    }
  }

  // Tracks and boxes in reach, at minus twice their log-likelihoods up to a constant.
  std::vector<Pair> candidates(Boxes& boxes, int m) {
    std::vector<Pair> pairs;
    const double smallest = squared(squared(settings_.position_std_m));
    for (int i = 0; i < n_; ++i) {
      const Track& track = tracks_[i];
      const int its = kind(i);
      for (int j = 0; j < m; ++j) {
        const Box& box = boxes[j];
        const double dx = track.state[X] - box.x, dy = track.state[Y] - box.y;
        if (!(dx * dx + dy * dy < REACH_M * REACH_M)) continue;
        const double sxx = track.covariance[X][X] + squared(position_std(box.std[0]));
        const double syy = track.covariance[Y][Y] + squared(position_std(box.std[1]));
        const double sxy = track.covariance[X][Y], det = sxx * syy - sxy * sxy;
        double away = (syy * dx * dx - 2 * sxy * dx * dy + sxx * dy * dy) / det;
        if (its != int(box.label)) away += settings_.other_class;
        const double cost = away + std::log(det / smallest);
        if (away < settings_.gate && std::isfinite(cost)) pairs.push_back({i, j, cost});
      }
    }
    return pairs;
  }

  // Of the boxes asked for, those whose middle lies in a better and larger box of another class, seen from above: the
  // network judges its classes apart, and a car's tail light may look like a pedestrian to it.
  static std::vector<char> hidden(Boxes& boxes, int m, const std::vector<double>& best,
                                  const std::vector<char>& asked) {
    std::vector<char> hidden(m);
    for (int i = 0; i < m; ++i) {
      if (!asked[i]) continue;
      const Box& box = boxes[i];
      for (int j = 0; j < m && !hidden[i]; ++j) {
        const Box& other = boxes[j];
        // The place first: it is nearly always another, which a processor foresees.
        hidden[i] = inside(box.x - other.x, box.y - other.y, other.yaw, other.size[0], other.size[1]) &&
                    box.label != other.label && best[i] < best[j] &&
                    box.size[0] * box.size[1] < other.size[0] * other.size[1];
      }
    }
    return hidden;
  }

  // The track i takes the box j.
  void take_box(int i, Boxes& boxes, int j, double best, int64_t stamp_ns) {
    Track& track = tracks_[i];
    const Box& box = boxes[j];
    const Motion& motion = settings_.motions[int(box.label)];
    double *state = track.state, (*P)[STATE] = track.covariance;
    const double c = std::cos(state[YAW]), s = std::sin(state[YAW]);
    const int measured[] = {X, Y, YAW, SPEED}, n = box.velocity_known ? 4 : 3;
    // Front and back are easily confused: the track knows better.
    const double turned = modulo(box.yaw - state[YAW] + PI / 2, PI) - PI / 2;
    const double residuals[] = {
        box.x - state[X], box.y - state[Y], turned,
        box.velocity[0] * c + box.velocity[1] * s - state[SPEED]};
    const double variances[] = {squared(position_std(box.std[0])), squared(position_std(box.std[1])),
                                squared(std::max(box.std[4], motion.yaw_std)), squared(settings_.velocity_std)};
    correct(state, P, n, measured, residuals, variances);
    state[TURN] = std::max(std::min(state[TURN], motion.max_turn), -motion.max_turn);
    // What moves shows its front; of what stands, most boxes know it.
    const double speed = state[SPEED], agrees = std::cos(box.yaw - state[YAW]);
    const bool moving = std::max(REVERSING_MPS, 2 * std::sqrt(P[SPEED][SPEED])) < std::fabs(speed);
    track.facing = FACING_KEPT * track.facing + ((agrees > 0) - (agrees < 0));
    if (moving && speed > 0) track.facing = 1 / (1 - FACING_KEPT);
    if ((moving ? speed : track.facing) < 0) {
      state[SPEED] *= -1;
      state[YAW] += PI;
      for (int k = 0; k < STATE; ++k) P[SPEED][k] *= -1;
      for (int k = 0; k < STATE; ++k) P[k][SPEED] *= -1;
      track.facing *= -1;
    }
    state[YAW] = wrap_angle(state[YAW]);
    const double weight = std::max(0.1, 1.0 / double(track.hits + 1)) * (0.5 + best / 2);
    for (int k = 0; k < 3; ++k) track.size[k] += weight * (box.size[k] - track.size[k]);
    const double *scores = boxes.classes(j), *shares = boxes.contributions(j);
    double *log_classes = tracks_.classes(i), *contributions = tracks_.contributions(i);
    for (int k = 0; k < settings_.classes; ++k)
      log_classes[k] = log_classes[k] * 0.9 + std::log(no_certainty(scores[k]));
    for (int k = 0; k < settings_.modalities; ++k) contributions[k] = (contributions[k] + shares[k]) * 0.5;
    const double height = squared(std::max(box.std[2], HEIGHT_STD_M));
    const double gain = track.z_variance / (track.z_variance + height);
    std::copy(variances, variances + 3, track.noise);
    track.noise[3] = height;
    track.z += gain * (box.z - track.z);
    track.z_variance *= 1 - gain;
    track.existence = believed(track.existence, best);
    ++track.hits;
    track.score = best;
    track.seen_ns = track.witnessed_ns = stamp_ns;
  }

  // A new track, after the last one, of the box j.
  void born(Boxes& boxes, int j, double best, int64_t stamp_ns, int64_t track_id) {
    const Box& box = boxes[j];
    const Motion& motion = settings_.motions[int(box.label)];
    double speed = 0, speed_std = motion.speed_std, heading = box.yaw;
    if (box.velocity_known) {
      speed = std::cos(heading) * box.velocity[0] + std::sin(heading) * box.velocity[1];
      speed_std = std::min(speed_std, 2.5);
    }
    if (speed < -1.5) {
      speed = -speed;
      heading += PI;
    }
    const int i = n_++;
    Track& track = tracks_[i] = Track{};
    track.track_id = track_id;
    const double state[] = {box.x, box.y, wrap_angle(heading), speed, 0};
    const double variances[] = {squared(position_std(box.std[0])), squared(position_std(box.std[1])),
                                squared(std::max(box.std[4], motion.yaw_std)), squared(speed_std), squared(0.3)};
    for (int k = 0; k < STATE; ++k) {
      track.state[k] = state[k];
      track.covariance[k][k] = variances[k];
    }
    track.z = box.z;
    track.z_variance = squared(std::max(box.std[2], HEIGHT_STD_M));
    std::copy(variances, variances + 3, track.noise);
    track.noise[3] = track.z_variance;
    std::copy(box.size, box.size + 3, track.size);
    for (int k = 0; k < settings_.classes; ++k)
      tracks_.classes(i)[k] = std::log(no_certainty(boxes.classes(j)[k]));
    std::copy_n(boxes.contributions(j), settings_.modalities, tracks_.contributions(i));
    track.existence = std::min(std::max(best, 0.05), 0.95);
    track.born_ns = track.seen_ns = track.witnessed_ns = stamp_ns;
    track.hits = 1;
    track.score = best;
    track.facing = 1;
  }

  const Settings& settings_;
  Tracks tracks_;
  int n_;
};
