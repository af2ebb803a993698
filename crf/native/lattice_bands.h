// What the lattices of images and of points have in common: each is built in bands, whose tables are joined in order.
//
// Threads enclose the pixels or points of a band and number its vertices in the order in which they come. Joining the
// bands' tables in order gives every vertex the number that it would have got in one pass: the result does not depend on
// the number of threads.
#pragma once
#include <algorithm>
#include <cstring>
#include <vector>

#include "api.h"
#include "simplex_lanes.h"
#include "threads.h"
#include "vertex_table.h"

struct segtool_lattice {
  int64_t vertex_count = 0;
  std::vector<int32_t> neighbor;
};

namespace segtool {

constexpr int64_t kBandPixels = 8192;
constexpr int64_t kChunk = 4096;  // of what is quickly done

// The simplices of up to kLanes neighbours, by vertex, coordinate and pixel.
template <int D>
struct Run {
  int32_t key[D + 1][D][kLanes];
  float barycentric[D + 1][kLanes];
};

template <int D>
SEGTOOL_INLINE void store_run(const Simplex<Lanes, D>& simplex, Run<D>* run) {
  for (int k = 0; k <= D; ++k) {
    store(run->barycentric[k], simplex.barycentric[k]);
    for (int i = 0; i < D; ++i) {
      const IntLanes coordinate = vertex_coordinate(simplex, k, i);
      std::memcpy(run->key[k][i], &coordinate, sizeof(coordinate));
    }
  }
}

// Writes the vertices and weights of the run's first `count` pixels.
template <int D>
void number_run(const Run<D>& run, int64_t count, VertexTable<D>& table, int32_t* vertex, float* weight) {
  for (int64_t p = 0; p < count; ++p) {
    for (int k = 0; k <= D; ++k) {
      KeyOf<D> key;
      for (int i = 0; i < D; ++i) key[i] = run.key[k][i][p];
      *vertex++ = table.find_or_add(key);
      *weight++ = run.barycentric[k][p];
    }
  }
}

// A band's vertices, [begin, end) of the array of all of them, are numbers of its own table, and `number` says which
// they are in all.
template <int D>
struct Numbered {
  int64_t begin, end;
  VertexTable<D> table;
  std::vector<int32_t> number;
};

// Joins the tables of some bands; `first` is the number of the first vertex of their joint table.
template <int D, class Bands>
VertexTable<D> join_bands(Bands begin, Bands end, int64_t first) {
  VertexTable<D> table;
  for (auto band = begin; band != end; ++band) {
    band->number.resize(band->table.size());
    for (int64_t v = 0; v < band->table.size(); ++v) {
      band->number[v] = int32_t(first + table.find_or_add(band->table.key(v)));
    }
  }
  return table;
}

template <int D>
void renumber(const Numbered<D>& band, int32_t* vertex) {
  for (int32_t* v = vertex + band.begin; v != vertex + band.end; ++v) *v = band.number[*v];
}

// Calls body(i) for i in [0, count), kChunk of them at a time.
template <class Body>
void share_chunks(int64_t count, const Body& body) {
  share_each((count + kChunk - 1) / kChunk, [&](int64_t chunk) {
    for (int64_t i = chunk * kChunk; i < std::min(count, (chunk + 1) * kChunk); ++i) body(i);
  });
}

// Writes one table's neighbours into that of all `total` vertices, of which its own start at `first`. The relation is
// symmetric: whoever is found on one side of a vertex has that vertex on the other.
template <int D>
void link_neighbors(const VertexTable<D>& table, int64_t first, int64_t total, int32_t* neighbor) {
  for (int axis = 0; axis <= D; ++axis) {
    int32_t *ahead = neighbor + axis * 2 * total, *behind = ahead + total;
    std::fill_n(behind + first, table.size(), int32_t(total));
    share_chunks(table.size(), [&](int64_t v) {
      KeyOf<D> key = table.key(v);
      for (int i = 0; i < D; ++i) key[i] = neighbor_coordinate<D>(key[i], i, axis, 1);
      const int32_t found = table.find(key);
      ahead[first + v] = found < 0 ? int32_t(total) : int32_t(first + found);
      if (found >= 0) behind[first + found] = int32_t(first + v);
    });
  }
}

}  // namespace segtool
