// Compatibility transform, local update and softmax in one pass over the pixels.
//
// Every pixel is computed by itself in one order of operations: the same bits for any number of threads.
#include "update_cpu.h"

#include <atomic>
#include <memory>
#include <new>
#include <vector>

#include "api.h"
#include "errors.h"

namespace {

using namespace segtool;
constexpr int kGroup = 4;            // pixels whose sums are in registers together
constexpr int64_t kPixelsATask = 2048;
constexpr float kNever = -1e30f;     // the score of the classes that only fill up a vector

// A compatibility matrix with rows of whole vectors.
struct Table {
  std::vector<float> rows;
  bool diagonal = true;

  Table(const float* table, int64_t channels, int64_t width) : rows(channels * width) {
    for (int64_t k = 0; table && k < channels; ++k) {
      for (int64_t c = 0; c < channels; ++c) {
        rows[k * width + c] = table[k * channels + c];
        diagonal &= k == c || table[k * channels + c] == 0.0f;
      }
    }
  }
};

struct Task {
  const Update& u;
  int64_t channels, width;
  const Table &spatial, &bilateral;
};

// z[p][..] += message[p][k] * table[k][..] over all k, for kGroup pixels and V vectors of classes.
template <int V>
SEGTOOL_INLINE void multiply_as(const float* message, const float* table, int64_t channels, int64_t width, float* z) {
  Lanes sum[kGroup][V];
  for (int p = 0; p < kGroup; ++p) {
    for (int v = 0; v < V; ++v) sum[p][v] = load(z + p * width + v * kLanes);
  }
  for (int64_t k = 0; k < channels; ++k) {
    for (int v = 0; v < V; ++v) {
      const Lanes row = load(table + k * width + v * kLanes);
      for (int p = 0; p < kGroup; ++p) sum[p][v] += message[p * width + k] * row;
    }
  }
  for (int p = 0; p < kGroup; ++p) {
    for (int v = 0; v < V; ++v) store(z + p * width + v * kLanes, sum[p][v]);
  }
}

SEGTOOL_INLINE void multiply(const float* message, const Table& table, int64_t channels, int64_t width, float* z) {
  const float* rows = table.rows.data();
  int64_t c = 0;
  for (; c + 3 * kLanes <= width; c += 3 * kLanes) multiply_as<3>(message, rows + c, channels, width, z + c);
  if (width - c == 2 * kLanes) multiply_as<2>(message, rows + c, channels, width, z + c);
  if (width - c == kLanes) multiply_as<1>(message, rows + c, channels, width, z + c);
}

// The Potts model and its per-class form: a factor for each class.
SEGTOOL_INLINE void multiply_diagonal(const float* message, const Table& table, int64_t channels, int64_t width,
                                      float* z) {
  for (int64_t c = 0; c < channels; ++c) {
    const float factor = table.rows[c * width + c];
    for (int p = 0; p < kGroup; ++p) z[p * width + c] += factor * message[p * width + c];
  }
}

SEGTOOL_INLINE void softmax(float* z, int64_t width) {
  Lanes most = load(z);
  for (int64_t c = kLanes; c < width; c += kLanes) {
    const Lanes value = load(z + c);
    most = value > most ? value : most;
  }
  float largest = most[0];
  for (int i = 1; i < kLanes; ++i) largest = std::max(largest, most[i]);
  Lanes sums = {};
  for (int64_t c = 0; c < width; c += kLanes) {
    const Lanes e = exp_of_negative(load(z + c) - largest);
    store(z + c, e);
    sums += e;
  }
  float sum = 0;
  for (int i = 0; i < kLanes; ++i) sum += sums[i];
  const float scale = 1.0f / sum;
  for (int64_t c = 0; c < width; c += kLanes) store(z + c, scale * load(z + c));
}

SEGTOOL_INLINE void add_messages(const Task& t, const float* messages, const Layout& layout, const Table& table,
                                 int64_t start, int count, float* tile, float* z) {
  read_tile(messages, strides(layout, start, 0), count, int(t.channels), tile, t.width);
  for (int p = 0; p < count; p += kGroup) {
    if (table.diagonal) {
      multiply_diagonal(tile + p * t.width, table, t.channels, t.width, z + p * t.width);
    } else {
      multiply(tile + p * t.width, table, t.channels, t.width, z + p * t.width);
    }
  }
}

// Pixels [begin, end) of the batch. z and tile have kTile rows; what fills up the rows of z never wins.
SEGTOOL_CLONES void update_pixels(const Task& t, int64_t begin, int64_t end, float* z, float* tile) {
  const Update& u = t.u;
  for (int64_t start = begin; start < end;) {
    const int count = run_length(u.unary_layout, start, end);
    for (int p = 0; p < kTile; ++p) store(z + (p + 1) * t.width - kLanes, Lanes{} + kNever);
    read_tile(u.unary, strides(u.unary_layout, start, 0), count, int(t.channels), z, t.width);
    if (u.spatial) add_messages(t, u.spatial, u.message_layout, t.spatial, start, count, tile, z);
    if (u.bilateral) add_messages(t, u.bilateral, u.message_layout, t.bilateral, start, count, tile, z);
    for (int p = 0; u.normalize && p < count; ++p) softmax(z + p * t.width, t.width);
    write_tile(z, t.width, strides(u.out_layout, start, 0), count, int(t.channels), u.out);
    start += count;
  }
}

}  // namespace

void segtool::update(const Update& u) {
  const int64_t channels = u.unary_layout.channels, total = u.n * u.unary_layout.pixels;
  const int64_t width = (channels + kLanes - 1) / kLanes * kLanes;
  const Table spatial(u.spatial_table, channels, width), bilateral(u.bilateral_table, channels, width);
  const Task task{u, channels, width, spatial, bilateral};
  const int64_t tasks = (total + kPixelsATask - 1) / kPixelsATask;
  std::atomic<bool> out_of_memory{false};
#pragma omp parallel if (tasks > 1)
  {
    std::unique_ptr<float[]> work(new (std::nothrow) float[2 * kTile * width]());
    if (!work) out_of_memory = true;
#pragma omp for schedule(static)
    for (int64_t i = 0; i < tasks; ++i) {
      const int64_t begin = i * kPixelsATask, end = std::min(total, begin + kPixelsATask);
      if (work) update_pixels(task, begin, end, work.get(), work.get() + kTile * width);
    }
  }
  if (out_of_memory) throw std::bad_alloc();
}

int segtool_mean_field_update(const float* unary, const float* spatial, const float* bilateral,
                              const float* spatial_table, const float* bilateral_table, int64_t n, int64_t channels,
                              int64_t pixels, int normalize, int channels_last, float* out) try {
  const Layout layout{channels, pixels, channels_last != 0};
  update({unary, spatial, bilateral, spatial_table, bilateral_table, layout, layout, layout, n, normalize != 0, out});
  return 0;
} catch (const std::bad_alloc&) {
  return fail("out of memory in a mean-field update");
}
