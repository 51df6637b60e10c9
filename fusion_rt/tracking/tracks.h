// Tracks and boxes as they lie in numpy's memory: a row each, of what is in the struct, then a double a class and one
// a modality.
#pragma once

#include <cstdint>
#include <cstring>

// `track_dtype` of tracks.py says what each means. Map frame.
struct Track {
  int64_t track_id;
  double state[5], covariance[5][5];
  double z, z_variance, size[3], existence;
  int64_t born_ns, seen_ns, witnessed_ns, hits;
  double score, noise[4], facing;
  // log_classes, contributions
};

// `Detections.pack` of detections.py: std is of x, y, z, size, yaw. Comes in the ego frame.
struct Box {
  double x, y, z, size[3], yaw, velocity[2], std[5], velocity_known, label;
  // scores, contributions
};

static_assert(sizeof(Track) == 47 * sizeof(double) && sizeof(Box) == 16 * sizeof(double), "no gaps");

// Of a class: `ClassMotion` of config.py, and the score from which a box begins a track.
struct Motion {
  double accel, turn_accel, yaw_std, speed_std, max_turn, birth;
};

// What `TrackerConfig` says of all classes.
struct Settings {
  int classes, modalities, confirm_hits;
  const Motion* motions;
  double gate, other_class, confirm, drop, survival_s, max_coast_s, position_std_m, common_error, velocity_std;
};

// Stamps are any 64 bits: the difference of two that are centuries apart wraps round, and is no undefined step.
inline int64_t since_ns(int64_t now, int64_t then) {
  return static_cast<int64_t>(static_cast<uint64_t>(now) - static_cast<uint64_t>(then));
}

template <typename Row>
class Rows {
 public:
  Rows(void* rows, int classes, int modalities)
      : rows_(static_cast<char*>(rows)), classes_(classes), bytes_(row_bytes(classes, modalities)) {}

  Row& operator[](int i) { return *reinterpret_cast<Row*>(rows_ + i * bytes_); }
  // One number a class: log_classes of a track, scores of a box.
  double* classes(int i) { return reinterpret_cast<double*>(rows_ + i * bytes_ + sizeof(Row)); }
  double* contributions(int i) { return classes(i) + classes_; }

  void copy(int from, Rows& others, int to) { std::memcpy(others.rows_ + to * bytes_, rows_ + from * bytes_, bytes_); }

  // Keeps the rows that a test of (row number) is true for, in order; returns how many.
  template <typename Test>
  int keep(int n, Test test) {
    int kept = 0;
    for (int i = 0; i < n; ++i) {
      if (!test(i)) continue;
      if (kept < i) copy(i, *this, kept);
      ++kept;
    }
    return kept;
  }

 private:
  static int64_t row_bytes(int classes, int modalities) {
    return sizeof(Row) + (classes + modalities) * static_cast<int64_t>(sizeof(double));
  }

  char* rows_;
  int classes_;
  int64_t bytes_;
};

using Tracks = Rows<Track>;
using Boxes = Rows<Box>;
