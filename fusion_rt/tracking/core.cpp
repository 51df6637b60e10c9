// What core.py calls. It checks every shape; here is only arithmetic, on one thread: for some ten microseconds of work,
// to wake another would take longer.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "assignment.h"
#include "objects.h"
#include "tracker.h"
#include "tracks.h"

#define FRT_EXPORT extern "C" __attribute__((visibility("default")))

// Of m boxes that each have `more` numbers after those of the struct.
FRT_EXPORT void frt_boxes_finite(void* boxes, int m, int more, unsigned char* good) {
  Boxes rows(boxes, more, 0);
  for (int j = 0; j < m; ++j) good[j] = finite(rows[j], rows.classes(j), more);
}

// The tracks at the stamp, dt s later: those that are left, in place; returns how many.
FRT_EXPORT int frt_tracks_predict(const Settings* settings, void* tracks, int n, int64_t stamp_ns, double dt) {
  Update update(*settings, tracks, n);
  update.forget(stamp_ns);
  if (dt > 0) update.predict_all(dt);
  return update.count();
}

// Takes in the m boxes, in place: those that are finite, moved to the map; adds the others to refused. tracks has room
// for n + m. Returns how many there are; -1, and no track was changed, where a label is none of the classes.
FRT_EXPORT int frt_tracks_take(const Settings* settings, void* tracks, int n, void* boxes, int m,
                               const double* T_map_ego, int64_t stamp_ns, double detection, int64_t next_id,
                               int64_t* refused) {
  Boxes rows(boxes, settings->classes, settings->modalities);
  const int good = rows.keep(m, [&](int j) {
    return finite(rows[j], rows.classes(j), settings->classes + settings->modalities);
  });
  for (int j = 0; j < good; ++j)
    if (!(rows[j].label >= 0 && rows[j].label < settings->classes)) return -1;
  *refused += m - good;
  Update update(*settings, tracks, n);
  update.take(rows, good, T_map_ego, stamp_ns, detection, next_id);
  return update.count();
}

FRT_EXPORT void frt_tracks_witness(const Settings* settings, void* tracks, int n, const int* shows,
                                   const double* scores, int64_t stamp_ns) {
  Update(*settings, tracks, n).witness(shows, scores, stamp_ns);
}

// Those that are left, in place; looked: whether anything was at the stamp. Returns how many.
FRT_EXPORT int frt_tracks_drop(const Settings* settings, void* tracks, int n, int64_t stamp_ns, int looked) {
  Update update(*settings, tracks, n);
  if (looked) update.drop_ghosts(stamp_ns);
  update.drop_unlikely();
  return update.count();
}

// Copies of the confirmed ones, likeliest first, into shown, which has room for n; returns how many.
FRT_EXPORT int frt_tracks_show(const Settings* settings, void* tracks, int n, void* shown) {
  return Update(*settings, tracks, n).show(shown);
}

// The n pairs by row, then by column; partner (rows) gets columns, or -1.
FRT_EXPORT void frt_assign(const int* row, const int* column, const double* cost, int n, int rows, int* partner) {
  std::vector<Pair> pairs;
  for (int k = 0; k < n; ++k) pairs.push_back({row[k], column[k], cost[k]});
  std::vector<int> found(size_t(rows), -1);
  assign(pairs, found);
  std::copy(found.begin(), found.end(), partner);
}

// names: of the classes and modalities, each ended by a zero byte. Into out, which has room for some bytes; returns how
// many it takes: if more, what is there is of no use.
FRT_EXPORT int64_t frt_objects(void* tracks, int n, int classes, int modalities, const char* names, const Ego* ego,
                               int64_t stamp_ns, unsigned char* out, int64_t room) {
  std::vector<std::string> words;
  for (int k = 0; k < classes + modalities; ++k) {
    words.emplace_back(names);
    names += words.back().size() + 1;
  }
  Tracks rows(tracks, classes, modalities);
  Msgpack messages(out, room);
  Objects(*ego, words, classes, stamp_ns).write(rows, n, messages);
  return messages.size();
}
