// Compatibility transform, local update and softmax of values in rows, in one pass over the pixels.
#include <algorithm>
#include <memory>
#include <new>
#include <vector>

#include "threads.h"
#include "update_cpu.h"

namespace {

using namespace segtool;
constexpr int kGroup = 4;            // pixels whose sums are in registers together
constexpr int64_t kPixelsATask = 2048;
constexpr float kNever = -1e30f;     // the score of the classes that only fill up a vector

// A compatibility matrix with rows of whole vectors.
struct Table {
  std::vector<float> rows, factors;  // factors: its diagonal
  bool diagonal;

  Table(const float* table, int64_t channels, int64_t width)
      : rows(channels * width), factors(width), diagonal(is_diagonal(table, channels)) {
    for (int64_t k = 0; table && k < channels; ++k) {
      std::copy_n(table + k * channels, channels, &rows[k * width]);
      factors[k] = table[k * (channels + 1)];
    }
  }
};

struct Task {
  const Update& u;
  int64_t channels, width;
  const Table &spatial, &bilateral;
};

// Rows of a tile's pixels; null if there are none.
struct Rows {
  const float* data;
  int64_t stride;

  const float* row(int64_t p) const { return data + p * stride; }
};

// z[p][..] += message[p][k] * table[k][..] over all k, for kGroup pixels and V vectors of classes.
template <int V>
SEGTOOL_INLINE void multiply(const Rows& message, int64_t first, const float* table, int64_t channels, int64_t width,
                             Lanes (*z)[V]) {
  for (int64_t k = 0; k < channels; ++k) {
    for (int v = 0; v < V; ++v) {
      const Lanes row = load(table + k * width + v * kLanes);
      for (int p = 0; p < kGroup; ++p) z[p][v] += message.row(first + p)[k] * row;
    }
  }
}

// The Potts model and its per-class form: a factor for each class.
template <int V>
SEGTOOL_INLINE void multiply_diagonal(const Rows& message, int64_t first, const float* factors, Lanes (*z)[V]) {
  for (int v = 0; v < V; ++v) {
    const Lanes factor = load(factors + v * kLanes);
    for (int p = 0; p < kGroup; ++p) z[p][v] += factor * load(message.row(first + p) + v * kLanes);
  }
}

// Classes [first_class, first_class + 8 V) of kGroup pixels, into rows of z.
template <int V>
SEGTOOL_INLINE void local_update(const Task& t, const Rows& unary, const Rows& spatial, const Rows& bilateral,
                                 int64_t first, int64_t first_class, float* z) {
  Lanes sum[kGroup][V];
  for (int p = 0; p < kGroup; ++p) {
    for (int v = 0; v < V; ++v) sum[p][v] = load(unary.row(first + p) + first_class + v * kLanes);
  }
  const auto add = [&](const Rows& message, const Table& table) __attribute__((always_inline)) {
    if (!message.data) return;
    if (table.diagonal) {
      multiply_diagonal<V>({message.data + first_class, message.stride}, first, table.factors.data() + first_class, sum);
    } else {
      multiply<V>(message, first, table.rows.data() + first_class, t.channels, t.width, sum);
    }
  };
  add(spatial, t.spatial);
  add(bilateral, t.bilateral);
  for (int p = 0; p < kGroup; ++p) {
    for (int v = 0; v < V; ++v) store(z + (first + p) * t.width + first_class + v * kLanes, sum[p][v]);
  }
}

SEGTOOL_INLINE void local_updates(const Task& t, const Rows& unary, const Rows& spatial, const Rows& bilateral,
                                  int64_t first, float* z) {
  int64_t c = 0;
  for (; c + 3 * kLanes <= t.width; c += 3 * kLanes) local_update<3>(t, unary, spatial, bilateral, first, c, z);
  if (t.width - c == 2 * kLanes) local_update<2>(t, unary, spatial, bilateral, first, c, z);
  if (t.width - c == kLanes) local_update<1>(t, unary, spatial, bilateral, first, c, z);
}

// Softmax over the rows of kGroup pixels; together, because each has a long chain of dependent steps.
SEGTOOL_INLINE void softmax(float* z, int64_t channels, int64_t width) {
  Lanes most[kGroup], sums[kGroup] = {};
  for (int p = 0; p < kGroup; ++p) {
    float* last = z + (p + 1) * width - kLanes;
    const Lanes value = lanes_below(int(channels - (width - kLanes))) ? load(last) : Lanes{} + kNever;
    store(last, value);  // what lies beyond the classes never wins
    most[p] = value;
  }
  for (int64_t c = 0; c + kLanes < width; c += kLanes) {
    for (int p = 0; p < kGroup; ++p) {
      const Lanes value = load(z + p * width + c);
      most[p] = value > most[p] ? value : most[p];
    }
  }
  for (int p = 0; p < kGroup; ++p) most[p] = largest(most[p]);
  for (int64_t c = 0; c < width; c += kLanes) {
    for (int p = 0; p < kGroup; ++p) {
      const Lanes e = exp_of_negative(load(z + p * width + c) - most[p]);
      store(z + p * width + c, e);
      sums[p] += e;
    }
  }
  for (int p = 0; p < kGroup; ++p) sums[p] = 1.0f / sum(sums[p]);
  for (int64_t c = 0; c < width; c += kLanes) {
    for (int p = 0; p < kGroup; ++p) store(z + p * width + c, sums[p] * load(z + p * width + c));
  }
}

// Rows are read where they lie; whole vectors reach into the next row, so the last run of the array is copied to a tile
// of its own.
SEGTOOL_INLINE Rows rows_of(const float* values, bool last, int64_t start, int count, const Task& t, float* tile) {
  if (!values) return {nullptr, 0};
  if (!last) return {values + start * t.channels, t.channels};
  for (int p = 0; p < count; ++p) copy_row(values + (start + p) * t.channels, int(t.channels), tile + p * t.width);
  return {tile, t.width};
}

// Pixels [begin, end) of the batch. Each of the four tiles has kTile rows.
SEGTOOL_CLONES void update_pixels(const Task& t, int64_t begin, int64_t end, float* tiles) {
  const Update& u = t.u;
  const int64_t size = kTile * t.width, total = u.n * u.pixels;
  float* z = tiles;
  for (int64_t start = begin; start < end; start += kTile) {
    const int count = int(std::min<int64_t>(kTile, end - start));
    // A group may reach beyond its run too.
    const bool last = start + count + kGroup + kLanes > total;
    const Rows unary = rows_of(u.unary, last, start, count, t, tiles + size);
    const Rows spatial = rows_of(u.spatial, last, start, count, t, tiles + 2 * size);
    const Rows bilateral = rows_of(u.bilateral, last, start, count, t, tiles + 3 * size);
    for (int p = 0; p < count; p += kGroup) {
      local_updates(t, unary, spatial, bilateral, p, z);
      if (u.normalize) softmax(z + p * t.width, t.channels, t.width);
    }
    for (int p = 0; p < count; ++p) copy_row(z + p * t.width, int(t.channels), u.out + (start + p) * t.channels);
  }
}

}  // namespace

void segtool::update_rows(const Update& u) {
  const int64_t width = (u.channels + kLanes - 1) / kLanes * kLanes, total = u.n * u.pixels;
  const Table spatial(u.spatial_table, u.channels, width), bilateral(u.bilateral_table, u.channels, width);
  const Task task{u, u.channels, width, spatial, bilateral};
  const int64_t tasks = (total + kPixelsATask - 1) / kPixelsATask;
  const bool enough = share(tasks, [&](Tasks& left) {
    const std::unique_ptr<float[]> work(new float[4 * kTile * width]());
    for (int64_t i; left.next(&i);) {
      const int64_t begin = i * kPixelsATask, end = std::min(total, begin + kPixelsATask);
      update_pixels(task, begin, end, work.get());
    }
  });
  if (!enough) throw std::bad_alloc();
}
