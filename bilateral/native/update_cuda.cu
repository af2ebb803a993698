// The local update of a mean-field iteration on CUDA: compatibility transform, sum and softmax in one pass over memory.
//
// A block takes some pixels into shared memory, in whole rows or planes as they lie. There every pixel is a row of odd
// length, so that threads side by side read different banks. A thread then has tiles of a few channels of a few pixels:
// each weight that it loads serves several pixels, each message several channels.
#include <cmath>

#include "api.h"
#include "cuda_launch.h"
#include "errors.h"
#include "host_device.h"

namespace {

constexpr int kThreads = 256, kChannels = 8;  // of a block at most; of a thread's tile
constexpr int64_t kShared = 48 * 1024;        // bytes that a block can have on any device
constexpr int64_t kMostChannels = 1023;

struct Update {
  const float *unary, *spatial, *bilateral, *spatial_table, *bilateral_table;
  int64_t n, channels, pixels;
  bool normalize, channels_last;
  float* out;
  int lanes, pixels_per_block;  // threads that lie side by side along pixels; pixels_per_block is a multiple of it

  SEGTOOL_HD int64_t total() const { return n * pixels; }
  SEGTOOL_HD int width() const { return int(channels) | 1; }  // of a row in shared memory
  SEGTOOL_HD int tiles() const { return (int(channels) + kChannels - 1) / kChannels; }
};

// What a block has in shared memory: rows of its pixels. The first is number `first` of the batch, `within` of `image`.
struct Rows {
  int64_t first, image, within;
  int count;
  float *z, *spatial, *bilateral;
};

__device__ Rows rows_of_block(const Update& u) {
  const int64_t first = segtool::cuda::block_index() * u.pixels_per_block, left = u.total() - first;
  float* memory = segtool::cuda::shared_memory();
  const int size = u.pixels_per_block * u.width();
  const int count = int(left < u.pixels_per_block ? left : u.pixels_per_block);
  return {first, first / u.pixels, first % u.pixels, count, memory, memory + size, memory + 2 * size};
}

// Where a value of the block lies in memory.
__device__ int64_t index(const Update& u, const Rows& rows, int pixel, int channel) {
  if (u.channels_last) return (rows.first + pixel) * u.channels + channel;
  int64_t image = rows.image, within = rows.within + pixel;
  for (; within >= u.pixels; within -= u.pixels) ++image;  // seldom, and a division costs more
  return (image * u.channels + channel) * u.pixels + within;
}

// Calls visit(index in memory, index in a shared array) for what a thread moves, side by side with its neighbours.
template <class Visit>
__device__ void each_value(const Update& u, const Rows& rows, int thread, int threads, const Visit& visit) {
  // The inner of channel and pixel is the one that lies together in memory. Stepped, for want of a cheap division.
  const int inner = u.channels_last ? int(u.channels) : u.pixels_per_block;
  const int outer = u.channels_last ? rows.count : int(u.channels);
  int i = thread % inner, o = thread / inner;
  while (o < outer) {
    const int pixel = u.channels_last ? o : i, channel = u.channels_last ? i : o;
    if (pixel < rows.count) visit(index(u, rows, pixel, channel), pixel * u.width() + channel);
    i += threads % inner;
    o += threads / inner;
    if (i >= inner) {
      i -= inner;
      ++o;
    }
  }
}

// z += spatial Ms + bilateral Mb for one tile: kPixels pixels, `lanes` apart, of kChannels channels.
template <int kPixels>
__device__ void add_messages(const Update& u, const Rows& rows, int lane, int first_channel) {
  const int channels = int(u.channels), last = channels - 1;
  float sum[kPixels][kChannels] = {};
  for (int k = 0; k < channels; ++k) {
    const float* spatial_weights = u.spatial_table + int64_t(k) * channels;
    const float* bilateral_weights = u.bilateral_table + int64_t(k) * channels;
    float spatial[kPixels], bilateral[kPixels];
#pragma unroll
    for (int p = 0; p < kPixels; ++p) {
      const int at = (lane + p * u.lanes) * u.width() + k;
      spatial[p] = rows.spatial[at];
      bilateral[p] = rows.bilateral[at];
    }
#pragma unroll
    for (int c = 0; c < kChannels; ++c) {
      const int channel = first_channel + c < last ? first_channel + c : last;  // beyond the last, it is not used
      const float a = spatial_weights[channel], b = bilateral_weights[channel];
#pragma unroll
      for (int p = 0; p < kPixels; ++p) {  // two fused operations; as one expression it would be three
        sum[p][c] += spatial[p] * a;
        sum[p][c] += bilateral[p] * b;
      }
    }
  }
#pragma unroll
  for (int p = 0; p < kPixels; ++p) {
#pragma unroll
    for (int c = 0; c < kChannels; ++c) {
      if (first_channel + c <= last) rows.z[(lane + p * u.lanes) * u.width() + first_channel + c] += sum[p][c];
    }
  }
}

__device__ void softmax(float* z, int channels) {
  float most = z[0], sum = 0.0f;
  for (int c = 1; c < channels; ++c) most = z[c] > most ? z[c] : most;
  for (int c = 0; c < channels; ++c) sum += z[c] = expf(z[c] - most);
  const float scale = 1.0f / sum;
  for (int c = 0; c < channels; ++c) z[c] *= scale;
}

template <int kPixels>
__global__ void update(Update u) {
  using segtool::cuda::each_thread;
  const Rows rows = rows_of_block(u);
  each_thread([&](int thread, int threads) {
    if (!u.spatial) {
      each_value(u, rows, thread, threads, [&](int64_t from, int to) { rows.z[to] = u.unary[from]; });
      return;
    }
    // Pixels beyond the last are computed like the others, and not written.
    for (int i = rows.count * u.width() + thread; i < u.pixels_per_block * u.width(); i += threads) {
      rows.z[i] = rows.spatial[i] = rows.bilateral[i] = 0.0f;
    }
    each_value(u, rows, thread, threads, [&](int64_t from, int to) {
      rows.z[to] = u.unary[from];
      rows.spatial[to] = u.spatial[from];
      rows.bilateral[to] = u.bilateral[from];
    });
  });
  each_thread([&](int thread, int threads) {
    if (!u.spatial) return;
    for (int tile = thread / u.lanes; tile < u.tiles(); tile += threads / u.lanes) {
      add_messages<kPixels>(u, rows, thread % u.lanes, tile * kChannels);
    }
  });
  if (u.normalize) {
    each_thread([&](int thread, int threads) {
      for (int p = thread; p < rows.count; p += threads) softmax(rows.z + p * u.width(), int(u.channels));
    });
  }
  each_thread([&](int thread, int threads) {
    each_value(u, rows, thread, threads, [&](int64_t to, int from) { u.out[to] = rows.z[from]; });
  });
}

int64_t shared_bytes(const Update& u, int pixels) { return 3 * int64_t(sizeof(float)) * pixels * u.width(); }

// As many pixels for a block as fit; of kMostChannels, four.
int pixels_that_fit(const Update& u) {
  int pixels = 128;
  while (shared_bytes(u, pixels) > kShared) pixels /= 2;
  return pixels;
}

}  // namespace

int segtool_cuda_mean_field_update(const float* unary, const float* spatial, const float* bilateral,
                                   const float* spatial_table, const float* bilateral_table, int64_t n,
                                   int64_t channels, int64_t pixels, int normalize, int channels_last, float* out,
                                   void* stream_handle) {
  Update u{unary,  spatial,        bilateral,          spatial_table, bilateral_table, n, channels,
           pixels, normalize != 0, channels_last != 0, out,           0,               0};
  if (n < 1 || channels < 1 || pixels < 1) return segtool::fail("values: every dimension must be at least 1");
  if (!spatial != !bilateral) return segtool::fail("values: one message without the other");
  if (channels > kMostChannels) return segtool::fail("the update on CUDA takes at most 1023 channels");
  u.pixels_per_block = pixels_that_fit(u);
  u.lanes = u.pixels_per_block < 32 ? u.pixels_per_block : 32;
  const int groups = kThreads / u.lanes < u.tiles() ? kThreads / u.lanes : u.tiles();
  const int pixels_per_thread = u.pixels_per_block / u.lanes;
  const auto kernel = pixels_per_thread == 4 ? update<4> : pixels_per_thread == 2 ? update<2> : update<1>;
  segtool::cuda::launch_blocks(kernel, (u.total() + u.pixels_per_block - 1) / u.pixels_per_block, u.lanes * groups,
                               shared_bytes(u, u.pixels_per_block), static_cast<cudaStream_t>(stream_handle), u);
  return segtool::cuda::launched("CUDA mean-field update");
}
