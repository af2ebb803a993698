// The local update of values in planes. Vectors hold neighbouring pixels, so that nothing is transposed and nothing is
// summed across a vector; a run of pixels goes through all steps while it is in the cache.
#include <algorithm>
#include <memory>
#include <new>

#include "threads.h"
#include "update_cpu.h"

namespace {

using namespace segtool;
constexpr int kRun = 256;        // pixels that are read of each plane in one piece
constexpr int kRow = kRun + 16;  // floats between rows of a tile; rows a power of two apart would share cache lines
constexpr int kBlock = 4;        // classes whose sums are in registers together
constexpr int64_t kRunsATask = 8;

// Where the rows of a run lie, one for each channel; data is null if there are none.
struct Rows {
  const float* data;
  int64_t stride;

  const float* row(int64_t c) const { return data + c * stride; }
};

// Memory of one thread: tiles of a row for each channel, and one value for each pixel.
struct Workspace {
  std::unique_ptr<float[]> tiles;
  float *z, *message;
  float most[kRun], total[kRun];

  explicit Workspace(int64_t channels) : tiles(new float[2 * channels * kRow]()) {
    z = tiles.get();
    message = z + channels * kRow;
  }
};

struct Task {
  const Update& u;
  const Blurred* sliced;
  bool spatial_diagonal, bilateral_diagonal;
};

SEGTOOL_INLINE void copy_rows(const Rows& from, int64_t channels, int count, float* tile) {
  for (int64_t c = 0; c < channels; ++c) {
    for (int p = 0; p < count; p += kLanes) store(tile + c * kRow + p, load_some(from.row(c) + p, count - p));
  }
}

// The bilateral message of `count` pixels from `start` of the batch on, into a tile.
SEGTOOL_INLINE void slice_tile(const Blurred& b, int64_t start, int64_t channels, int count, float* tile) {
  float rows[kTile * kWidest];
  for (int p = 0; p < count; p += kTile) {
    const int some = std::min(kTile, count - p);
    slice_rows(b, start + p, some, rows);
    transpose(rows, b.width, some, int(channels), tile + p, kRow);
  }
}

// Both messages at once where both tables are diagonal, as they often are: z = unary + spatial * s + bilateral * b.
SEGTOOL_INLINE void add_diagonals(const Update& u, const Rows& unary, const Rows& spatial, const Rows& bilateral,
                                  int count, float* z) {
  for (int64_t c = 0; c < u.channels; ++c) {
    const float s = u.spatial_table[c * (u.channels + 1)], b = u.bilateral_table[c * (u.channels + 1)];
    for (int p = 0; p < count; p += kLanes) {
      const int left = count - p;
      store(z + c * kRow + p, load_some(unary.row(c) + p, left) + s * load_some(spatial.row(c) + p, left) +
                                  b * load_some(bilateral.row(c) + p, left));
    }
  }
}

// Classes [c, c + B) of z += message * table.
template <int B>
SEGTOOL_INLINE void add_block(const float* message, const float* table, int64_t channels, int64_t c, int count,
                              float* z) {
  for (int p = 0; p < count; p += 2 * kLanes) {
    Lanes sum[B][2];
    for (int b = 0; b < B; ++b) {
      for (int v = 0; v < 2; ++v) sum[b][v] = load(z + (c + b) * kRow + p + v * kLanes);
    }
    for (int64_t k = 0; k < channels; ++k) {
      for (int v = 0; v < 2; ++v) {
        const Lanes value = load(message + k * kRow + p + v * kLanes);
        for (int b = 0; b < B; ++b) sum[b][v] += table[k * channels + c + b] * value;
      }
    }
    for (int b = 0; b < B; ++b) {
      for (int v = 0; v < 2; ++v) store(z + (c + b) * kRow + p + v * kLanes, sum[b][v]);
    }
  }
}

SEGTOOL_INLINE void add_message(const Rows& message, const float* table, int64_t channels, int count, Workspace& work) {
  if (!message.data) return;
  // Rows are read several times: from a tile, since planes whose size is a power of two would push each other out.
  if (message.data != work.message) copy_rows(message, channels, count, work.message);
  int64_t c = 0;
  for (; c + kBlock <= channels; c += kBlock) add_block<kBlock>(work.message, table, channels, c, count, work.z);
  for (; c < channels; ++c) add_block<1>(work.message, table, channels, c, count, work.z);
}

// Turns z into e^(z - most) and `total` into one over its sum.
SEGTOOL_INLINE void exponentials(int64_t channels, int count, Workspace& work) {
  float *most = work.most, *total = work.total, *z = work.z;
  for (int p = 0; p < count; p += kLanes) {
    store(most + p, load(z + p));
    store(total + p, Lanes{});
  }
  for (int64_t c = 1; c < channels; ++c) {
    for (int p = 0; p < count; p += kLanes) {
      const Lanes value = load(z + c * kRow + p), before = load(most + p);
      store(most + p, value > before ? value : before);
    }
  }
  for (int64_t c = 0; c < channels; ++c) {
    for (int p = 0; p < count; p += kLanes) {
      const Lanes e = exp_of_negative(load(z + c * kRow + p) - load(most + p));
      store(z + c * kRow + p, e);
      store(total + p, load(total + p) + e);
    }
  }
  for (int p = 0; p < count; p += kLanes) store(total + p, 1.0f / load(total + p));
}

SEGTOOL_INLINE void write(const Workspace& work, const Update& u, int count, float* out) {
  for (int64_t c = 0; c < u.channels; ++c) {
    for (int p = 0; p < count; p += kLanes) {
      const Lanes value = load(work.z + c * kRow + p);
      store_some(out + c * u.pixels + p, u.normalize ? value * load(work.total + p) : value, count - p);
    }
  }
}

SEGTOOL_INLINE void update_run_of(const Task& t, int64_t image, int64_t pixel, int count, Workspace& work) {
  const Update& u = t.u;
  const int64_t at = image * u.channels * u.pixels + pixel;
  const auto rows = [&](const float* planes) { return Rows{planes ? planes + at : nullptr, u.pixels}; };
  const Rows unary = rows(u.unary), spatial = rows(u.spatial);
  Rows bilateral = rows(u.bilateral);
  // A full spatial table is through with the tile before the bilateral message is sliced into it.
  const auto slice = [&]() __attribute__((always_inline)) {
    if (!t.sliced) return;
    slice_tile(*t.sliced, image * u.pixels + pixel, u.channels, count, work.message);
    bilateral = {work.message, kRow};
  };
  if (t.spatial_diagonal && t.bilateral_diagonal && u.spatial && (u.bilateral || t.sliced)) {
    slice();
    add_diagonals(u, unary, spatial, bilateral, count, work.z);
  } else {
    copy_rows(unary, u.channels, count, work.z);
    add_message(spatial, u.spatial_table, u.channels, count, work);
    slice();
    add_message(bilateral, u.bilateral_table, u.channels, count, work);
  }
  if (u.normalize) exponentials(u.channels, count, work);
  write(work, u, count, u.out + at);
}

SEGTOOL_CLONES void update_run(const Task& t, int64_t image, int64_t pixel, int count, Workspace& work) {
  // A whole run is compiled by itself: its loops have no ends to look after.
  if (count == kRun) return update_run_of(t, image, pixel, kRun, work);
  update_run_of(t, image, pixel, count, work);
}

}  // namespace

void segtool::update_planes(const Update& u, const Blurred* sliced) {
  const Task task{u, sliced, is_diagonal(u.spatial_table, u.channels), is_diagonal(u.bilateral_table, u.channels)};
  const int64_t step = kRun * kRunsATask, tasks_each = (u.pixels + step - 1) / step, tasks = u.n * tasks_each;
  const bool enough = share(tasks, [&](Tasks& left) {
    Workspace work(u.channels);
    for (int64_t i; left.next(&i);) {
      const int64_t begin = i % tasks_each * step, end = std::min(u.pixels, begin + step);
      for (int64_t pixel = begin; pixel < end; pixel += kRun) {
        update_run(task, i / tasks_each, pixel, int(std::min<int64_t>(kRun, end - pixel)), work);
      }
    }
  });
  if (!enough) throw std::bad_alloc();
}
