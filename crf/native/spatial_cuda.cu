// The spatial kernel on CUDA: on the caller's stream, in its workspace, without waiting.
//
// Two passes of a blur along one side, each normalised for itself. A value takes dozens of multiplications, and few other
// instructions should go with them. So a block takes a tile into shared memory, scaled and with zeros beyond the image,
// and a thread computes a run of results and keeps what they share in registers.
#include "spatial_cuda.h"

#include <cmath>

#include "api.h"
#include "checks.h"
#include "cuda_launch.h"

namespace {

using segtool::cuda::each_thread;
using segtool::cuda::kSharedBytes;
using segtool::cuda::launch;
using segtool::cuda::Piece;
using segtool::cuda::Spatial;
using segtool::cuda::thread_index;
constexpr int kRun = 16;       // results of a thread
constexpr int kThreads = 256;  // of a block, at most

constexpr int64_t kLongestSide = 1 << 28;  // so that positions and taps are int

SEGTOOL_HD int64_t runs(int64_t length) { return (length + kRun - 1) / kRun; }

SEGTOOL_HD int64_t tap_count(int64_t radius) { return runs(2 * radius + 1) * kRun; }

__device__ double tap(const Spatial& s, int64_t x) {
  const double t = double(x) / s.sigma;  // the square of a very small sigma would be zero
  return exp(-0.5 * t * t);
}

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

// A pass: values [outer,length,lanes], blurred along the middle. scale: the normalisation of each position.
struct Pass {
  int64_t outer, lanes;
  int length, radius, taps;
  const float *weights, *scale, *in;
  float* out;
};

// In shared memory: the taps, read four at a time, and behind them the block's tile.
__device__ void take_weights(const Pass& pass, int thread, int threads) {
  for (int t = thread; t < pass.taps; t += threads) segtool::cuda::shared_memory()[t] = pass.weights[t];
}

// sum[k] = sum over t of weights[t] * values[(t + k) * step].
__device__ void blur_run(const Pass& pass, const float* values, int step, float* sum) {
  const auto* weights = reinterpret_cast<const Piece<4>*>(segtool::cuda::shared_memory());
  float window[kRun];  // a ring: at tap t, result k needs window[(t + k) % kRun]
#pragma unroll
  for (int k = 0; k < kRun; ++k) sum[k] = 0.0f;
#pragma unroll
  for (int k = 0; k + 1 < kRun; ++k, values += step) window[k] = *values;
  for (int t = 0; t < pass.taps; t += kRun, weights += kRun / 4) {
    Piece<4> four[kRun / 4];
#pragma unroll
    for (int j = 0; j < kRun / 4; ++j) four[j] = weights[j];
#pragma unroll
    for (int j = 0; j < kRun; ++j, values += step) {  // unrolled, so that the ring stays in registers
      window[(j + kRun - 1) % kRun] = *values;
#pragma unroll
      for (int k = 0; k < kRun; ++k) sum[k] += four[j / 4].at[j % 4] * window[(j + k) % kRun];
    }
  }
}

// A block's share of a pass whose lanes lie side by side in memory, as threads do: `across` lanes of `runs` runs.
struct Strip {
  int across, runs;

  SEGTOOL_HD int span(int taps) const { return runs * kRun + taps - 1; }  // positions of the tile, with its margins
  SEGTOOL_HD int64_t floats(int taps) const { return taps + int64_t(span(taps)) * across; }
};

__global__ void blur_strips(Pass pass, Strip strip) {
  const auto block = unsigned(segtool::cuda::block_index());
  const auto chunks = unsigned((pass.lanes + strip.across - 1) / strip.across);
  const auto stretches = unsigned((pass.length + strip.runs * kRun - 1) / (strip.runs * kRun));
  const int64_t first_lane = int64_t(block % chunks) * strip.across;
  const int first = int(block / chunks % stretches) * strip.runs * kRun;
  const int64_t start = int64_t(block / chunks / stretches) * pass.length * pass.lanes + first_lane;
  const int across = int(pass.lanes - first_lane < strip.across ? pass.lanes - first_lane : strip.across);
  float* const tile = segtool::cuda::shared_memory() + pass.taps;
  each_thread([&](int thread, int threads) {
    take_weights(pass, thread, threads);
    const int lane = thread % strip.across, step = threads / strip.across, span = strip.span(pass.taps);
    if (lane >= across) return;
    int position = first - pass.radius + thread / strip.across;
    const float* from = pass.in + start + lane + position * pass.lanes;
    float* to = tile + thread;
    float* const end = tile + span * strip.across;
    for (; to < end; to += step * strip.across, from += step * pass.lanes, position += step) {
      *to = unsigned(position) < unsigned(pass.length) ? pass.scale[position] * *from : 0.0f;
    }
  });
  each_thread([&](int thread, int) {
    const int lane = thread % strip.across, position = first + thread / strip.across * kRun;
    if (lane >= across) return;
    float sum[kRun];
    blur_run(pass, tile + (position - first) * strip.across + lane, strip.across, sum);
    float* to = pass.out + start + lane + position * pass.lanes;
#pragma unroll
    for (int k = 0; k < kRun; ++k, to += pass.lanes) {
      if (position + k < pass.length) *to = pass.scale[position + k] * sum[k];
    }
  });
}

// Lines that lie together in memory, whose runs would have threads side by side load a run apart: here threads side by
// side have runs of different lines, an odd number of floats apart.
struct Tile {
  int lines, span, stride;  // lines of the tile; floats of a line with its margins, and from line to line

  SEGTOOL_HD int floats(int taps) const { return taps + lines * (stride + kAcross + 1); }  // with the results

  static constexpr int kAcross = 64;  // results of a line
};

__global__ void blur_lines(Pass pass, Tile tile) {
  constexpr int kWarp = 32, kAcross = Tile::kAcross;
  const auto block = unsigned(segtool::cuda::block_index()), strips = unsigned((pass.length + kAcross - 1) / kAcross);
  const int64_t first = int64_t(block / strips) * tile.lines;
  const int left = int(block % strips) * kAcross, length = pass.length;
  const int count = int(pass.outer - first < tile.lines ? pass.outer - first : tile.lines);
  float *values = segtool::cuda::shared_memory() + pass.taps, *results = values + tile.lines * tile.stride;
  each_thread([&](int thread, int threads) {
    take_weights(pass, thread, threads);
    for (int i = thread % kWarp; i < tile.span; i += kWarp) {
      const int x = left - pass.radius + i, step = threads / kWarp;
      const bool inside = unsigned(x) < unsigned(length);
      const float scale = inside ? pass.scale[x] : 0.0f;
      int line = thread / kWarp;
      const float* from = pass.in + (first + line) * length + x;
      for (; line < tile.lines; line += step, from += int64_t(step) * length) {
        values[line * tile.stride + i] = inside && line < count ? scale * *from : 0.0f;
      }
    }
  });
  each_thread([&](int thread, int) {
    const int line = thread % tile.lines, run = thread / tile.lines * kRun;
    float sum[kRun];
    blur_run(pass, values + line * tile.stride + run, 1, sum);
#pragma unroll
    for (int k = 0; k < kRun; ++k) results[line * (kAcross + 1) + run + k] = sum[k];
  });
  each_thread([&](int thread, int threads) {
    for (int i = thread % kWarp; i < kAcross && left + i < length; i += kWarp) {
      const int step = threads / kWarp;
      const float scale = pass.scale[left + i];
      int line = thread / kWarp;
      float* to = pass.out + (first + line) * length + left + i;
      for (; line < count; line += step, to += int64_t(step) * length) {
        *to = scale * results[line * (kAcross + 1) + i];
      }
    }
  });
}

// Kernels that are too wide for shared memory.
__global__ void blur_far(Pass pass) {
  const int64_t i = thread_index(), lane = i % pass.lanes, outer = i / pass.lanes / pass.length;
  if (outer >= pass.outer) return;
  const int at = int(i / pass.lanes % pass.length), length = pass.length, radius = pass.radius;
  const int begin = at < radius ? 0 : at - radius, end = length - at <= radius ? length : at + radius + 1;
  const float *weights = pass.weights + radius - at, *line = pass.in + outer * length * pass.lanes + lane;
  float sum = 0.0f;
  for (int x = begin; x < end; ++x) sum += weights[x] * (pass.scale[x] * line[x * pass.lanes]);
  pass.out[i] = pass.scale[at] * sum;
}

int64_t blocks_of(int64_t count, int64_t size) { return (count + size - 1) / size; }

// `count` in equal parts of at most `most`: the size of a part.
int64_t part(int64_t count, int64_t most) { return blocks_of(count, blocks_of(count, most)); }

// False if a tile is too large.
bool blur_in_strips(const Pass& pass, cudaStream_t stream) {
  for (int64_t most = 32; most >= 8; most /= 2) {  // lanes of a block: enough of them lie together in memory
    const auto across = int(pass.lanes < 32 ? pass.lanes : part(pass.lanes, most));
    const Strip strip{across, int(part(runs(pass.length), kThreads / across))};
    const int64_t bytes = strip.floats(pass.taps) * int64_t(sizeof(float));
    if (bytes > kSharedBytes) continue;
    const int64_t blocks = pass.outer * blocks_of(runs(pass.length), strip.runs) * blocks_of(pass.lanes, across);
    segtool::cuda::launch_blocks(blur_strips, blocks, across * strip.runs, bytes, stream, pass, strip);
    return true;
  }
  return false;
}

bool blur_in_tiles(const Pass& pass, cudaStream_t stream) {
  constexpr int kFewestLines = 4;  // with a run for each thread of a warp
  const int span = Tile::kAcross + pass.taps - 1;
  Tile tile{32, span, span | 1};
  while (tile.floats(pass.taps) * int64_t(sizeof(float)) > kSharedBytes) tile.lines /= 2;
  if (tile.lines < kFewestLines) return false;
  const int64_t blocks = blocks_of(pass.length, Tile::kAcross) * blocks_of(pass.outer, tile.lines);
  segtool::cuda::launch_blocks(blur_lines, blocks, tile.lines * Tile::kAcross / kRun,
                               tile.floats(pass.taps) * int64_t(sizeof(float)), stream, pass, tile);
  return true;
}

void blur(const Pass& pass, cudaStream_t stream) {
  constexpr int kMostTaps = kSharedBytes / sizeof(float);
  if (pass.taps > kMostTaps || !(pass.lanes > 1 ? blur_in_strips(pass, stream) : blur_in_tiles(pass, stream))) {
    launch(blur_far, pass.outer * pass.length * pass.lanes, stream, pass);
  }
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
  const int radius = int(s.radius), taps = int(tap_count(s.radius)), height = int(s.height), width = int(s.width);
  blur({s.planes, s.row(), height, radius, taps, s.taps, s.rows, values, s.between}, stream);
  blur({s.planes * s.height, s.inner, width, radius, taps, s.taps, s.columns, s.between, out}, stream);
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
