// The cheapest pairing: as many as possible and, of those, at least cost.
//
// Shortest augmenting paths (Jonker and Volgenant 1987), on each group of rows and columns that are connected by
// allowed pairs: gating leaves groups of a few. Equal costs give equal pairs.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <tuple>
#include <vector>

// A row that may take a column, at a finite cost.
struct Pair {
  int row, column;
  double cost;
};

namespace assignment {

using Group = std::vector<Pair>;  // by row, then by column

inline std::vector<int> sorted_unique(std::vector<int> names) {
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

inline int place(const std::vector<int>& sorted, int name) {
  return int(std::lower_bound(sorted.begin(), sorted.end(), name) - sorted.begin());
}

// Into partner, for each row of the group that gets one.
inline void solve(const Group& group, std::vector<int>& partner) {
  std::vector<int> rows, columns;
  double sum = 1;
  for (const Pair& p : group) {
    rows.push_back(p.row);
    columns.push_back(p.column);
    sum += std::fabs(p.cost);
  }
  rows = sorted_unique(rows);
  columns = sorted_unique(columns);
  const int n = int(rows.size()), m = int(columns.size()), size = std::max(n, m);
  if (std::min(n, m) == 1) {  // one that several want, or that wants several: by far the most frequent
    const Pair& best = *std::min_element(group.begin(), group.end(), [](const Pair& a, const Pair& b) {
      return std::tie(a.cost, a.row, a.column) < std::tie(b.cost, b.row, b.column);
    });
    partner[best.row] = best.column;
    return;
  }
  // A forbidden pair, or no partner at all, costs more than any pairing of allowed ones. Rows and columns from 1.
  const double forbidden = sum * 2, infinite = std::numeric_limits<double>::infinity();
  std::vector<double> costs(size_t(n + 1) * (size + 1), forbidden), u(n + 1), v(size + 1), shortest(size + 1);
  std::vector<int> match(size + 1), way(size + 1);
  std::vector<char> used(size + 1);
  for (const Pair& p : group)
    costs[size_t(place(rows, p.row) + 1) * (size + 1) + place(columns, p.column) + 1] = p.cost;
  for (int i = 1; i <= n; ++i) {
    int j = 0;
    match[0] = i;
    std::fill(shortest.begin(), shortest.end(), infinite);
    std::fill(used.begin(), used.end(), 0);
    do {
      used[j] = 1;
      const double* row = &costs[size_t(match[j]) * (size + 1)];
      const double spent = u[match[j]];
      double step = infinite;
      int nearest = 0;
      for (int k = 1; k <= size; ++k) {
        if (used[k]) continue;
        const double reduced = row[k] - spent - v[k];
        if (reduced < shortest[k]) shortest[k] = reduced, way[k] = j;
        if (shortest[k] < step) step = shortest[k], nearest = k;
      }
      for (int k = 0; k <= size; ++k) {
        if (used[k])
          u[match[k]] += step, v[k] -= step;
        else
          shortest[k] -= step;
      }
      if (!nearest) return;  // the costs' sum is beyond a double: nothing can be said
      j = nearest;
    } while (match[j]);
    for (; j; j = way[j]) match[j] = match[way[j]];
  }
  for (const Pair& p : group)
    if (match[place(columns, p.column) + 1] == place(rows, p.row) + 1) partner[p.row] = p.column;
}

}  // namespace assignment

// pairs by row, then by column, none twice; rows and columns from 0. partner (rows) gets the column of each row that
// finds one, and is left as it is elsewhere.
inline void assign(const std::vector<Pair>& pairs, std::vector<int>& partner) {
  if (pairs.empty()) return;
  // A row is of the group of the first row that it is connected with, by columns that both want.
  int columns = 0;
  for (const Pair& p : pairs) columns = std::max(columns, p.column + 1);
  std::vector<int> group(partner.size()), first(columns, -1);
  std::iota(group.begin(), group.end(), 0);
  const auto root = [&group](int i) {
    while (group[i] != i) i = group[i] = group[group[i]];
    return i;
  };
  for (const Pair& p : pairs) {
    if (first[p.column] < 0) first[p.column] = p.row;
    const int a = root(p.row), b = root(first[p.column]);
    group[std::max(a, b)] = std::min(a, b);
  }
  std::vector<Pair> grouped = pairs;
  std::stable_sort(grouped.begin(), grouped.end(),
                   [&root](const Pair& a, const Pair& b) { return root(a.row) < root(b.row); });
  for (auto begin = grouped.begin(); begin != grouped.end();) {
    const int its = root(begin->row);
    const auto end = std::find_if(begin, grouped.end(), [&](const Pair& p) { return root(p.row) != its; });
    if (end - begin == 1)
      partner[begin->row] = begin->column;  // most have one candidate that nobody else wants
    else
      assignment::solve({begin, end}, partner);
    begin = end;
  }
}
