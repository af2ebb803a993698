// The spatial kernel on CUDA: on the caller's stream, in its workspace, without waiting.
//
// Two passes of a blur along one side. What bounds them is how many values are loaded for a multiplication, so a thread
// computes a run of outputs and keeps what they share in registers. Threads that lie side by side load side by side.
#include "spatial_cuda.h"

#include <cmath>

#include "api.h"
#include "cuda_launch.h"
#include "checks.h"

namespace {

using segtool::cuda::launch;
using segtool::cuda::Spatial;
using segtool::cuda::thread_index;
constexpr int kRun = 8;  // outputs of a thread

constexpr int64_t kLongestSide = 1 << 28;  // so that positions and taps are int

SEGTOOL_HD int64_t runs(int64_t length) { return (length + kRun - 1) / kRun; }

SEGTOOL_HD int64_t tap_count(int64_t radius) { return runs(2 * radius + 1) * kRun; }

__device__ double tap(const Spatial& s, int64_t x) { return exp(-0.5 * double(x * x) / (s.sigma * s.sigma)); }

__device__ float normalisation(const Spatial& s, int64_t at, int64_t length) {
  double degree = 0;
  for (int64_t x = -s.radius; x <= s.radius; ++x) {
    if (at + x >= 0 && at + x < length) degree += tap(s, x);
  }
  return float(1.0 / sqrt(degree));
}

__global__ void prepare(Spatial s) {
  const int64_t i = thread_index(), taps = tap_count(s.radius);
  if (i < taps) {
    s.taps[i] = i <= 2 * s.radius ? float(tap(s, i - s.radius)) : 0.0f;
  } else if (i < taps + s.height) {
    s.rows[i - taps] = normalisation(s, i - taps, s.height);
  } else if (i < taps + s.height + s.width) {
    s.columns[i - taps - s.height] = normalisation(s, i - taps - s.height, s.width);
  }
}

// sum[k] = sum over t of weights[t] * value[t + k], where each take() gives the next of the values; `taps` is a multiple of
// kRun.
template <class Take>
__device__ void blur_run(const float* weights, int taps, const Take& take, float* sum) {
  float window[kRun];  // a ring: at tap t, output k needs window[(t + k) % kRun]
#pragma unroll
  for (int k = 0; k < kRun; ++k) sum[k] = 0.0f;
#pragma unroll
  for (int k = 0; k + 1 < kRun; ++k) window[k] = take();
  for (int t = 0; t < taps; t += kRun) {
#pragma unroll
    for (int j = 0; j < kRun; ++j) {  // unrolled, so that the ring stays in registers
      window[(j + kRun - 1) % kRun] = take();
      const float weight = weights[t + j];
#pragma unroll
      for (int k = 0; k < kRun; ++k) sum[k] += weight * window[(j + k) % kRun];
    }
  }
}

// Blurs `first` .. first + kRun - 1 of a line of `length`, whose values are `step` floats apart. scale: of each, or null.
__device__ void blur_line(const Spatial& s, int first, int length, const float* line, int64_t step, const float* scale,
                          float* sum) {
  int next = first - int(s.radius);
  int64_t offset = next * step;
  const auto take = [&] {
    float value = 0.0f;
    if (unsigned(next) < unsigned(length)) value = scale ? scale[next] * line[offset] : line[offset];
    ++next;
    offset += step;
    return value;
  };
  blur_run(s.taps, int(tap_count(s.radius)), take, sum);
}

// Down the columns, whose neighbours are a row apart. The scales of rows and columns for the next pass go in here, where
// threads side by side share the one and have the other side by side.
__global__ void blur_columns(Spatial s, const float* in, float* out) {
  const int64_t row = s.row(), i = thread_index(), lane = i % row, run = i / row % runs(s.height);
  const int64_t plane = i / row / runs(s.height), base = plane * s.height * row + lane;
  if (plane >= s.planes) return;
  const int first = int(run) * kRun, height = int(s.height);
  float sum[kRun];
  blur_line(s, first, height, in + base, row, s.rows, sum);
  const float scale = s.columns[lane / s.inner];
#pragma unroll
  for (int k = 0; k < kRun; ++k) {
    if (first + k < height) out[base + (first + k) * row] = scale * s.rows[first + k] * sum[k];
  }
}

// Along the rows of values whose channels lie together: threads side by side have channels side by side.
__global__ void blur_rows_of_channels(Spatial s, const float* in, float* out) {
  const int64_t i = thread_index(), channel = i % s.inner, run = i / s.inner % runs(s.width);
  const int64_t line = i / s.inner / runs(s.width), base = line * s.row() + channel;
  if (line >= s.planes * s.height) return;
  const int first = int(run) * kRun, width = int(s.width);
  float sum[kRun];
  blur_line(s, first, width, in + base, s.inner, nullptr, sum);
#pragma unroll
  for (int k = 0; k < kRun; ++k) {
    if (first + k < width) out[base + (first + k) * s.inner] = s.columns[first + k] * sum[k];
  }
}

// Along the rows of planes a run would have threads side by side load a run apart. So a block takes a tile into shared
// memory, where the rows are an odd number apart and threads side by side have runs of different rows.
struct Tile {
  int rows, span, stride;  // rows of the tile; floats of a row with its margins, and from row to row

  SEGTOOL_HD int floats() const { return rows * (stride + kAcross + 1); }  // with the results

  static constexpr int kAcross = 64;  // results of a row
};

__global__ void blur_rows_of_planes(Spatial s, Tile tile, const float* in, float* out) {
  using segtool::cuda::each_thread;
  constexpr int kWarp = 32, kAcross = Tile::kAcross;
  const int64_t strips = (s.width + kAcross - 1) / kAcross, lines = s.planes * s.height;
  const int64_t first = segtool::cuda::block_index() / strips * tile.rows;
  const int left = int(segtool::cuda::block_index() % strips) * kAcross, width = int(s.width), radius = int(s.radius);
  const int count = int(lines - first < tile.rows ? lines - first : tile.rows);
  float *values = segtool::cuda::shared_memory(), *results = values + tile.rows * tile.stride;
  each_thread([&](int thread, int threads) {
    for (int row = thread / kWarp; row < tile.rows; row += threads / kWarp) {
      const float* line = in + (first + row) * width;
      for (int i = thread % kWarp; i < tile.span; i += kWarp) {
        const int x = left - radius + i;
        values[row * tile.stride + i] = row < count && unsigned(x) < unsigned(width) ? line[x] : 0.0f;
      }
    }
  });
  each_thread([&](int thread, int) {
    const int row = thread % tile.rows, run = thread / tile.rows * kRun;
    const float* next = values + row * tile.stride + run;
    float sum[kRun];
    blur_run(s.taps, int(tap_count(s.radius)), [&] { return *next++; }, sum);
#pragma unroll
    for (int k = 0; k < kRun; ++k) results[row * (kAcross + 1) + run + k] = sum[k];
  });
  each_thread([&](int thread, int threads) {
    for (int row = thread / kWarp; row < count; row += threads / kWarp) {
      for (int i = thread % kWarp; i < kAcross && left + i < width; i += kWarp) {
        out[(first + row) * width + left + i] = s.columns[left + i] * results[row * (kAcross + 1) + i];
      }
    }
  });
}

// The same for kernels that are too wide for shared memory.
__global__ void blur_rows_far(Spatial s, const float* in, float* out) {
  const int64_t i = thread_index();
  if (i >= s.planes * s.height * s.width) return;
  const int x = int(i % s.width), radius = int(s.radius), width = int(s.width);
  const int begin = x < radius ? 0 : x - radius, end = width - x <= radius ? width : x + radius + 1;
  const float *taps = s.taps + radius - x, *line = in + (i - x);
  float sum = 0.0f;
  for (int at = begin; at < end; ++at) sum += taps[at] * line[at];
  out[i] = s.columns[x] * sum;
}

void blur_rows(const Spatial& s, const float* in, float* out, cudaStream_t stream) {
  constexpr int64_t kShared = 48 * 1024;  // bytes that a block can have on any device
  constexpr int kFewestRows = 4;          // with a run for each thread of a warp
  if (s.inner > 1) return launch(blur_rows_of_channels, s.planes * s.height * runs(s.width) * s.inner, stream, s, in, out);
  const int64_t span = Tile::kAcross + tap_count(s.radius) - 1;
  if (kFewestRows * (span + Tile::kAcross + 2) * int64_t(sizeof(float)) > kShared) {
    return launch(blur_rows_far, s.planes * s.height * s.width, stream, s, in, out);
  }
  Tile tile{32, int(span), int(span) | 1};
  while (tile.floats() * int64_t(sizeof(float)) > kShared) tile.rows /= 2;
  const int64_t strips = (s.width + Tile::kAcross - 1) / Tile::kAcross;
  const int64_t blocks = strips * ((s.planes * s.height + tile.rows - 1) / tile.rows);
  segtool::cuda::launch_blocks(blur_rows_of_planes, blocks, tile.rows * Tile::kAcross / kRun,
                               tile.floats() * int64_t(sizeof(float)), stream, s, tile, in, out);
}

}  // namespace

int64_t segtool::cuda::spatial_workspace(int64_t planes, int64_t height, int64_t width, int64_t inner, double sigma) {
  if (segtool::check_spatial(planes, height, width, inner, sigma)) return -1;
  if (height > kLongestSide || width > kLongestSide) return fail("values: a side of more than 2^28 pixels"), -1;
  const int64_t taps = tap_count(segtool::spatial_radius(sigma, height, width));
  return int64_t(sizeof(float)) * (taps + height + width + planes * height * width * inner);
}

Spatial segtool::cuda::spatial_in(void* workspace, int64_t planes, int64_t height, int64_t width, int64_t inner,
                                  double sigma) {
  Spatial s{planes, height, width, inner, segtool::spatial_radius(sigma, height, width), sigma};
  s.taps = static_cast<float*>(workspace);
  s.rows = s.taps + tap_count(s.radius);
  s.columns = s.rows + height;
  s.between = s.columns + width;
  return s;
}

void segtool::cuda::prepare_spatial(const Spatial& s, cudaStream_t stream) {
  launch(prepare, tap_count(s.radius) + s.height + s.width, stream, s);
}

int segtool::cuda::spatial_filter(const Spatial& s, const float* values, float* out, cudaStream_t stream) {
  const float* between = s.between;
  launch(blur_columns, s.planes * runs(s.height) * s.row(), stream, s, values, s.between);
  blur_rows(s, between, out, stream);
  return launched("CUDA spatial filter");
}

int64_t segtool_cuda_spatial_workspace(int64_t planes, int64_t height, int64_t width, int64_t inner, double sigma) {
  return segtool::cuda::spatial_workspace(planes, height, width, inner, sigma);
}

int segtool_cuda_spatial_filter(const float* values, int64_t planes, int64_t height, int64_t width, int64_t inner,
                                double sigma, float* out, void* workspace, void* stream_handle) {
  if (segtool::cuda::spatial_workspace(planes, height, width, inner, sigma) < 0) return 1;
  const auto stream = static_cast<cudaStream_t>(stream_handle);
  const Spatial s = segtool::cuda::spatial_in(workspace, planes, height, width, inner, sigma);
  segtool::cuda::prepare_spatial(s, stream);
  return segtool::cuda::spatial_filter(s, values, out, stream);
}
