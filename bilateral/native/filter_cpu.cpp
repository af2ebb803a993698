// Splat, blur, slice on the CPU. Work is divided by blocks of channels, never by pixels, so every sum is
// taken in pixel order and the result is bitwise the same for any number of threads.
#include <atomic>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "api.h"
#include "errors.h"
#include "simplex.h"

// The kernels are compiled for AVX2 too and chosen at run time. Without contraction both give the same bits.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define SEGTOOL_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define SEGTOOL_CLONES
#endif

namespace {

using segtool::kCorners;
constexpr int kBlock = 8;   // channels handled together: one AVX2 register
constexpr int kTile = 64;   // pixels transposed together, so that memory is read in runs

struct Arrays {
  const int32_t* vertex;
  const float* weight;
  const int32_t* neighbor;
  int64_t n, channels, pixels, vertex_count;
  bool channels_last;

  // Where channel c of an image begins in values and out.
  int64_t begin(int64_t image, int64_t c) const {
    return image * channels * pixels + (channels_last ? c : c * pixels);
  }
};

// Adds one image's channels [c, c + width), which begin at `values`, to the lattice [vertex_count + 1, kBlock].
SEGTOOL_CLONES void splat(const Arrays& a, const float* values, int64_t image, int width, float* lattice) {
  float tile[kTile][kBlock] = {};
  for (int64_t start = 0; start < a.pixels; start += kTile) {
    const int count = int(a.pixels - start < kTile ? a.pixels - start : kTile);
    if (a.channels_last) {
      for (int p = 0; p < count; ++p) {
        for (int c = 0; c < width; ++c) tile[p][c] = values[(start + p) * a.channels + c];
      }
    } else {
      for (int c = 0; c < width; ++c) {
        for (int p = 0; p < count; ++p) tile[p][c] = values[c * a.pixels + start + p];
      }
    }
    const int64_t base = (image * a.pixels + start) * kCorners;
    for (int p = 0; p < count; ++p) {
      for (int k = 0; k < kCorners; ++k) {
        const float w = a.weight[base + p * kCorners + k];
        float* row = lattice + int64_t(a.vertex[base + p * kCorners + k]) * kBlock;
        for (int c = 0; c < kBlock; ++c) row[c] += w * tile[p][c];
      }
    }
  }
}

SEGTOOL_CLONES void slice(const Arrays& a, const float* lattice, int64_t image, int width, float* out) {
  float tile[kTile][kBlock];
  for (int64_t start = 0; start < a.pixels; start += kTile) {
    const int count = int(a.pixels - start < kTile ? a.pixels - start : kTile);
    const int64_t base = (image * a.pixels + start) * kCorners;
    for (int p = 0; p < count; ++p) {
      float sum[kBlock] = {};
      for (int k = 0; k < kCorners; ++k) {
        const float w = a.weight[base + p * kCorners + k];
        const float* row = lattice + int64_t(a.vertex[base + p * kCorners + k]) * kBlock;
        for (int c = 0; c < kBlock; ++c) sum[c] += w * row[c];
      }
      for (int c = 0; c < kBlock; ++c) tile[p][c] = sum[c];
    }
    if (a.channels_last) {
      for (int p = 0; p < count; ++p) {
        for (int c = 0; c < width; ++c) out[(start + p) * a.channels + c] = tile[p][c];
      }
    } else {
      for (int c = 0; c < width; ++c) {
        for (int p = 0; p < count; ++p) out[c * a.pixels + start + p] = tile[p][c];
      }
    }
  }
}

// One axis of the [1/2 1 1/2] blur. The row vertex_count is zero: "no such vertex".
SEGTOOL_CLONES void blur(const int32_t* before, const int32_t* after, int64_t vertex_count, const float* in,
                         float* out) {
  for (int64_t v = 0; v < vertex_count; ++v) {
    const float* l = in + int64_t(before[v]) * kBlock;
    const float* r = in + int64_t(after[v]) * kBlock;
    for (int c = 0; c < kBlock; ++c) out[v * kBlock + c] = in[v * kBlock + c] + 0.5f * (l[c] + r[c]);
  }
}

void filter_block(const Arrays& a, const float* values, int64_t first_channel, bool reverse, float* out) {
  const int width = int(a.channels - first_channel < kBlock ? a.channels - first_channel : kBlock);
  std::vector<float> lattice((a.vertex_count + 1) * kBlock, 0.0f), blurred((a.vertex_count + 1) * kBlock, 0.0f);
  for (int64_t image = 0; image < a.n; ++image) {
    splat(a, values + a.begin(image, first_channel), image, width, lattice.data());
  }
  for (int step = 0; step < kCorners; ++step) {
    const int axis = reverse ? kCorners - 1 - step : step;
    const int32_t* before = a.neighbor + 2 * axis * a.vertex_count;
    blur(before, before + a.vertex_count, a.vertex_count, lattice.data(), blurred.data());
    std::swap(lattice, blurred);
  }
  for (int64_t image = 0; image < a.n; ++image) {
    slice(a, lattice.data(), image, width, out + a.begin(image, first_channel));
  }
}

bool indices_within(const int32_t* index, int64_t count, int64_t limit) {
  int bad = 0;
#pragma omp parallel for schedule(static) reduction(| : bad)
  for (int64_t i = 0; i < count; ++i) bad |= index[i] < 0 || index[i] > limit;
  return !bad;
}

}  // namespace

int segtool_filter(const float* values, const int32_t* vertex, const float* weight, const int32_t* neighbor,
                   int64_t n, int64_t channels, int64_t pixels, int64_t vertex_count, int reverse, int channels_last,
                   float* out) {
  if (!indices_within(vertex, n * pixels * kCorners, vertex_count) ||
      !indices_within(neighbor, 2 * kCorners * vertex_count, vertex_count)) {
    return segtool::fail("vertex or neighbor holds an index outside 0..M; was it built for other values?");
  }
  const Arrays arrays{vertex, weight, neighbor, n, channels, pixels, vertex_count,
                      channels_last != 0};
  const int64_t blocks = (channels + kBlock - 1) / kBlock;
  std::atomic<bool> out_of_memory{false};
#pragma omp parallel for schedule(dynamic)
  for (int64_t b = 0; b < blocks; ++b) {
    try {
      filter_block(arrays, values, b * kBlock, reverse != 0, out);
    } catch (const std::bad_alloc&) {
      out_of_memory = true;
    }
  }
  if (out_of_memory) return segtool::fail("out of memory while filtering");
  return 0;
}
