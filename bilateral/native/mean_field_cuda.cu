// The spatial kernel and the local update on CUDA: on the caller's stream, in its workspace, without waiting.
#include <cmath>

#include "api.h"
#include "cuda_launch.h"
#include "limits.h"

namespace {

using segtool::cuda::launch;
using segtool::cuda::thread_index;

// Workspace of the spatial kernel: the taps g(-radius)..g(radius), and r = (sum of g over the image's side)^-1/2 of
// every row and column; as in spatial_cpu.cpp.
struct Spatial {
  int64_t planes, height, width, inner, radius;
  double sigma;
  float *taps, *rows, *columns, *between;

  SEGTOOL_HD int64_t count() const { return planes * height * width * inner; }
};

Spatial carve(int64_t planes, int64_t height, int64_t width, int64_t inner, double sigma, void* workspace) {
  Spatial s{planes, height, width, inner, segtool::spatial_radius(sigma, height, width), sigma};
  s.taps = static_cast<float*>(workspace);
  s.rows = s.taps + 2 * s.radius + 1;
  s.columns = s.rows + height;
  s.between = s.columns + width;
  return s;
}

__device__ double tap(const Spatial& s, int64_t x) { return exp(-0.5 * double(x * x) / (s.sigma * s.sigma)); }

__device__ float normalisation(const Spatial& s, int64_t at, int64_t length) {
  double degree = 0;
  for (int64_t x = -s.radius; x <= s.radius; ++x) {
    if (at + x >= 0 && at + x < length) degree += tap(s, x);
  }
  return float(1.0 / sqrt(degree));
}

__global__ void prepare(Spatial s) {
  const int64_t i = thread_index(), taps = 2 * s.radius + 1;
  if (i < taps) {
    s.taps[i] = float(tap(s, i - s.radius));
  } else if (i < taps + s.height) {
    s.rows[i - taps] = normalisation(s, i - taps, s.height);
  } else if (i < taps + s.height + s.width) {
    s.columns[i - taps - s.height] = normalisation(s, i - taps - s.height, s.width);
  }
}

// One value of a blur along a side of `length`, whose neighbours are `step` floats apart; i is at position `at` of it.
__device__ float blurred(const Spatial& s, const float* in, const float* scale, int64_t i, int64_t at, int64_t length,
                         int64_t step) {
  const int64_t first = at < s.radius ? -at : -s.radius;
  const int64_t last = length - 1 - at < s.radius ? length - 1 - at : s.radius;
  float sum = 0.0f;
  for (int64_t x = first; x <= last; ++x) sum += s.taps[x + s.radius] * scale[at + x] * in[i + x * step];
  return scale[at] * sum;
}

__global__ void blur_columns(Spatial s, const float* in, float* out) {
  const int64_t i = thread_index(), row = s.width * s.inner;
  if (i < s.count()) out[i] = blurred(s, in, s.rows, i, i / row % s.height, s.height, row);
}

__global__ void blur_rows(Spatial s, const float* in, float* out) {
  const int64_t i = thread_index();
  if (i < s.count()) out[i] = blurred(s, in, s.columns, i, i / s.inner % s.width, s.width, s.inner);
}

struct Update {
  const float *unary, *spatial, *bilateral, *spatial_table, *bilateral_table;
  int64_t n, channels, pixels;
  bool channels_last;
  float* out;

  SEGTOOL_HD int64_t step() const { return channels_last ? 1 : pixels; }  // between channels
  // Index of the first channel of a pixel of the batch.
  SEGTOOL_HD int64_t base(int64_t pixel) const {
    return channels_last ? pixel * channels : pixel / pixels * channels * pixels + pixel % pixels;
  }
};

// Threads that lie side by side write side by side, in either layout.
__global__ void add_messages(Update u) {
  const int64_t i = thread_index();
  if (i >= u.n * u.pixels * u.channels) return;
  const int64_t channel = u.channels_last ? i % u.channels : i / u.pixels % u.channels;
  const int64_t base = i - channel * u.step();
  float z = u.unary[i];
  for (int64_t k = 0; k < u.channels; ++k) {
    const int64_t at = base + k * u.step(), entry = k * u.channels + channel;
    z += u.spatial[at] * u.spatial_table[entry] + u.bilateral[at] * u.bilateral_table[entry];
  }
  u.out[i] = z;
}

__global__ void softmax(Update u) {
  const int64_t pixel = thread_index();
  if (pixel >= u.n * u.pixels) return;
  float* z = u.out + u.base(pixel);
  const int64_t step = u.step();
  float most = z[0], sum = 0.0f;
  for (int64_t c = 1; c < u.channels; ++c) most = z[c * step] > most ? z[c * step] : most;
  for (int64_t c = 0; c < u.channels; ++c) sum += z[c * step] = expf(z[c * step] - most);
  const float scale = 1.0f / sum;
  for (int64_t c = 0; c < u.channels; ++c) z[c * step] *= scale;
}

}  // namespace

int64_t segtool_cuda_spatial_workspace(int64_t planes, int64_t height, int64_t width, int64_t inner, double sigma) {
  if (segtool::check_spatial(planes, height, width, inner, sigma)) return -1;
  const int64_t radius = segtool::spatial_radius(sigma, height, width);
  return int64_t(sizeof(float)) * (2 * radius + 1 + height + width + planes * height * width * inner);
}

int segtool_cuda_spatial_filter(const float* values, int64_t planes, int64_t height, int64_t width, int64_t inner,
                                double sigma, float* out, void* workspace, void* stream_handle) {
  if (segtool::check_spatial(planes, height, width, inner, sigma)) return 1;
  const auto stream = static_cast<cudaStream_t>(stream_handle);
  const Spatial s = carve(planes, height, width, inner, sigma, workspace);
  launch(prepare, 2 * s.radius + 1 + height + width, stream, s);
  launch(blur_columns, s.count(), stream, s, values, s.between);
  launch(blur_rows, s.count(), stream, s, static_cast<const float*>(s.between), out);
  return segtool::cuda::launched("CUDA spatial filter");
}

int segtool_cuda_mean_field_update(const float* unary, const float* spatial, const float* bilateral,
                                   const float* spatial_table, const float* bilateral_table, int64_t n,
                                   int64_t channels, int64_t pixels, int normalize, int channels_last, float* out,
                                   void* stream_handle) {
  const auto stream = static_cast<cudaStream_t>(stream_handle);
  const Update u{unary, spatial, bilateral, spatial_table, bilateral_table, n, channels, pixels, channels_last != 0, out};
  launch(add_messages, n * pixels * channels, stream, u);
  if (normalize) launch(softmax, n * pixels, stream, u);
  return segtool::cuda::launched("CUDA mean-field update");
}
