// The local update of a mean-field iteration on CUDA: compatibility transform, sum and softmax in one pass over memory.
//
// A block takes some pixels into shared memory, as they lie in memory, so that what is read together lies together.
// There every pixel is a row of odd length, so that threads side by side read different banks. The messages, and the
// rows of the tables that belong to them, come in chunks of channels. A thread has tiles of a few channels of a few
// pixels: each weight that it loads serves several pixels, each message several channels.
#include <cmath>

#include "api.h"
#include "cuda_launch.h"
#include "errors.h"
#include "host_device.h"

namespace {

using segtool::cuda::Piece;
constexpr int kThreads = 256;              // of a block at most
constexpr int kPixels = 4, kChannels = 8;  // of a thread's tile
constexpr int64_t kMostChannels = 1023;

struct Update {
  const float *unary, *spatial, *bilateral, *spatial_table, *bilateral_table;
  int64_t n, channels, pixels;
  bool normalize, channels_last;
  float* out;
  int lanes, chunk;  // threads that lie side by side along pixels; channels of the messages that are taken together

  SEGTOOL_HD int64_t total() const { return n * pixels; }
  SEGTOOL_HD int block_pixels() const { return lanes * kPixels; }
  SEGTOOL_HD int tiles() const { return (int(channels) + kChannels - 1) / kChannels; }
  // Floats from row to row in shared memory: of z, of a chunk of messages, of a table.
  SEGTOOL_HD int width() const { return int(channels) | 1; }
  SEGTOOL_HD int message_width() const { return chunk | 1; }
  SEGTOOL_HD int table_width() const { return tiles() * kChannels; }
  // Floats of all of them. Tables come first: they are read four at a time.
  SEGTOOL_HD int table_floats() const { return chunk * table_width(); }
  SEGTOOL_HD int message_floats() const { return block_pixels() * message_width(); }
  SEGTOOL_HD int floats() const { return 2 * (table_floats() + message_floats()) + block_pixels() * width(); }
};

struct alignas(8) Messages {
  float spatial, bilateral;
};

// What a block has in shared memory. Its first pixel is number `first` of the batch, `within` of `image`.
struct Rows {
  int64_t first, image, within;
  int count;
  float *spatial_table, *bilateral_table;
  Messages* messages;
  float* z;
};

__device__ Rows rows_of_block(const Update& u) {
  const int64_t first = segtool::cuda::block_index() * u.block_pixels(), left = u.total() - first;
  float* const tables = segtool::cuda::shared_memory();
  float* const messages = tables + 2 * u.table_floats();
  const int count = int(left < u.block_pixels() ? left : u.block_pixels());
  return {first,
          first / u.pixels,
          first % u.pixels,
          count,
          tables,
          tables + u.table_floats(),
          reinterpret_cast<Messages*>(messages),
          messages + 2 * u.message_floats()};
}

// Calls visit(index in memory, pixel of the block, channel less `first`) for the block's values of some channels: what
// a thread moves, side by side with its neighbours.
template <class Visit>
__device__ void each_value(const Update& u, const Rows& rows, int first, int channels, int thread, int threads,
                           const Visit& visit) {
  if (u.channels_last) {
    const int64_t start = rows.first * u.channels + first;
    const int pixels_on = threads / channels, channels_on = threads % channels;  // stepped: divisions cost more
    int pixel = thread / channels, channel = thread % channels;
    while (pixel < rows.count) {
      visit(start + pixel * int(u.channels) + channel, pixel, channel);
      pixel += pixels_on;
      channel += channels_on;
      if (channel >= channels) {
        channel -= channels;
        ++pixel;
      }
    }
    return;
  }
  const int groups = threads / u.lanes, group = thread / u.lanes;
  for (int pixel = thread % u.lanes; pixel < rows.count; pixel += u.lanes) {
    int64_t image = rows.image, within = rows.within + pixel;
    for (; within >= u.pixels; within -= u.pixels) ++image;  // seldom
    int64_t at = (image * u.channels + first + group) * u.pixels + within;
    for (int channel = group; channel < channels; channel += groups, at += groups * u.pixels) visit(at, pixel, channel);
  }
}

// The rows of the tables that belong to some channels of the messages. Beyond the last channel it is repeated, unused.
__device__ void take_tables(const Update& u, const Rows& rows, int first, int channels, int thread, int threads) {
  const int groups = threads / u.lanes, last = int(u.channels) - 1, width = u.table_width();
  for (int k = thread / u.lanes; k < channels; k += groups) {
    for (int c = thread % u.lanes; c < width; c += u.lanes) {
      const int64_t from = (first + k) * u.channels + (c < last ? c : last);
      rows.spatial_table[k * width + c] = u.spatial_table[from];
      rows.bilateral_table[k * width + c] = u.bilateral_table[from];
    }
  }
}

// z += spatial Ms + bilateral Mb over a chunk, for one tile: kPixels pixels, `lanes` apart, of kChannels channels.
__device__ void add_messages(const Update& u, const Rows& rows, int channels, int lane, int first) {
  const int most = int(u.channels) - first;
  const Messages* row[kPixels];
#pragma unroll
  for (int p = 0; p < kPixels; ++p) {  // beyond the last pixel it is repeated, unused
    const int pixel = lane + p * u.lanes;
    row[p] = rows.messages + (pixel < rows.count ? pixel : rows.count - 1) * u.message_width();
  }
  const auto* spatial_weights = reinterpret_cast<const Piece<4>*>(rows.spatial_table + first);
  const auto* bilateral_weights = reinterpret_cast<const Piece<4>*>(rows.bilateral_table + first);
  float sum[kPixels][kChannels] = {};
  for (int k = 0; k < channels; ++k) {
    const Piece<4> a[] = {spatial_weights[0], spatial_weights[1]}, b[] = {bilateral_weights[0], bilateral_weights[1]};
    spatial_weights += u.table_width() / 4;
    bilateral_weights += u.table_width() / 4;
#pragma unroll
    for (int p = 0; p < kPixels; ++p) {
      const Messages message = *row[p]++;
#pragma unroll
      for (int c = 0; c < kChannels; ++c) {  // two fused operations; as one expression it would be three
        sum[p][c] += message.spatial * a[c / 4].at[c % 4];
        sum[p][c] += message.bilateral * b[c / 4].at[c % 4];
      }
    }
  }
#pragma unroll
  for (int p = 0; p < kPixels; ++p) {
    const int pixel = lane + p * u.lanes;
    if (pixel >= rows.count) return;
    float* const z = rows.z + pixel * u.width() + first;
#pragma unroll
    for (int c = 0; c < kChannels; ++c) {
      if (c < most) z[c] += sum[p][c];
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

__global__ void update(Update u) {
  using segtool::cuda::each_thread;
  const Rows rows = rows_of_block(u);
  const int channels = int(u.channels);
  each_thread([&](int thread, int threads) {
    each_value(u, rows, 0, channels, thread, threads, [&](int64_t from, int pixel, int channel) {
      rows.z[pixel * u.width() + channel] = u.unary[from];
    });
  });
  for (int first = 0; u.spatial && first < channels; first += u.chunk) {
    const int chunk = channels - first < u.chunk ? channels - first : u.chunk;
    each_thread([&](int thread, int threads) {
      take_tables(u, rows, first, chunk, thread, threads);
      each_value(u, rows, first, chunk, thread, threads, [&](int64_t from, int pixel, int channel) {
        rows.messages[pixel * u.message_width() + channel] = {u.spatial[from], u.bilateral[from]};
      });
    });
    each_thread([&](int thread, int threads) {
      for (int tile = thread / u.lanes; tile < u.tiles(); tile += threads / u.lanes) {
        add_messages(u, rows, chunk, thread % u.lanes, tile * kChannels);
      }
    });
  }
  if (u.normalize) {
    each_thread([&](int thread, int threads) {
      for (int p = thread; p < rows.count; p += threads) softmax(rows.z + p * u.width(), channels);
    });
  }
  each_thread([&](int thread, int threads) {
    each_value(u, rows, 0, channels, thread, threads, [&](int64_t to, int pixel, int channel) {
      u.out[to] = rows.z[pixel * u.width() + channel];
    });
  });
}

// The most pixels for a block with which a chunk has a few channels, and then the most channels.
void choose_sizes(Update* u) {
  constexpr int kFewest = 8;
  const int channels = int(u->channels), fewest = channels < kFewest ? channels : kFewest;
  const auto fits = [u] { return u->floats() * int64_t(sizeof(float)) <= segtool::cuda::kSharedBytes; };
  u->lanes = 32;
  u->chunk = fewest;
  while (!fits() && u->lanes > 2) u->lanes /= 2;
  while (u->chunk < channels && fits()) ++u->chunk;
  while (!fits()) --u->chunk;
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
  choose_sizes(&u);
  const int groups = kThreads / u.lanes < u.tiles() ? kThreads / u.lanes : u.tiles();
  segtool::cuda::launch_blocks(update, (u.total() + u.block_pixels() - 1) / u.block_pixels(), u.lanes * groups,
                               u.floats() * int64_t(sizeof(float)), static_cast<cudaStream_t>(stream_handle), u);
  return segtool::cuda::launched("CUDA mean-field update");
}
