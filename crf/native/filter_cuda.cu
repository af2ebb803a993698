// Splat, blur, slice on CUDA. Everything runs on the caller's stream in the caller's workspace; nothing is allocated
// and nothing waits.
//
// In a splat a thread has a few channels of a run of neighbouring pixels; threads of neighbouring channels lie side by
// side, so lattice rows are read and written in whole. Neighbouring pixels share vertices: their sums stay in registers
// and reach the lattice by fewer atomic additions.
#include "filter_cuda.h"

#include <cmath>
#include <utility>

#include "api.h"
#include "cuda_launch.h"
#include "errors.h"
#include "host_device.h"

namespace {

using segtool::kCorners;
using segtool::cuda::Filter;
using segtool::cuda::launch;
using segtool::cuda::Piece;
using segtool::cuda::thread_index;
using Fixed = unsigned long long;  // additions wrap around, so negative numbers add up as they should
constexpr int kRun = 8;            // pixels of a thread
constexpr int kWide = 4;           // values of a lattice that are read together, where a row has that many

// Where a thread works: pixels begin..end of the batch, all of one image, and `channels` of them from `channel` on. The
// first value is at `index`; from there it is so many floats to the next pixel, or channel.
struct Place {
  int64_t begin, end, index, pixel_step, channel_step;
  int channel, channels;
};

SEGTOOL_HD int64_t runs_of_image(const Filter& f) { return (f.pixels + kRun - 1) / kRun; }

__device__ Place place_of_thread(const Filter& f, int width) {
  const int64_t i = thread_index(), pieces = f.row() / width, run = i / pieces;
  const int64_t image = run / runs_of_image(f), within = run % runs_of_image(f) * kRun, first = image * f.pixels;
  if (image >= f.n) return {};
  const int channel = int(i % pieces) * width, left = int(f.channels) - channel;
  const int64_t end = within + kRun < f.pixels ? within + kRun : f.pixels;
  const int64_t index = f.channels_last ? (first + within) * f.channels + channel
                                        : (image * f.channels + channel) * f.pixels + within;
  return {first + within,
          first + end,
          index,
          f.channels_last ? f.channels : 1,
          f.channels_last ? 1 : f.pixels,
          channel,
          left < width ? left : width};
}

int64_t thread_count(const Filter& f, int width) { return f.n * runs_of_image(f) * (f.row() / width); }

// Fixed point of the deterministic mode: integers add up to the same in any order. The scale leaves room for the sum
// of all pixels (a weight is below 4) and follows the largest value; it is NaN if that is not finite.
__device__ double fixed_scale(const uint32_t* largest_bits, int64_t total) {
  float largest = 1.0f;
  if (largest_bits) {
    const uint32_t bits = *largest_bits;
    memcpy(&largest, &bits, sizeof(largest));
  }
  if (!(largest <= 3.0e38f)) return NAN;
  int room, exponent;
  frexp(4.0 * double(total), &room);
  frexp(double(largest), &exponent);
  return ldexp(1.0, 62 - room - exponent);
}

__global__ void find_largest(Filter f, int64_t count, uint32_t* largest_bits) {
  const int64_t begin = thread_index() * kRun;
  uint32_t most = 0;
  for (int64_t i = begin; i < begin + kRun && i < count; ++i) {
    const float size = fabsf(f.values[i]);
    uint32_t bits;  // of numbers that are not negative: ordered as the numbers, NaN above all
    memcpy(&bits, &size, sizeof(bits));
    if (bits > most) most = bits;
  }
  if (begin < count) atomicMax(largest_bits, most);
}

struct FloatLattice {
  float* rows;
  __device__ void add(uint32_t i, const Piece<1>& piece) const { atomicAdd(rows + i, piece.at[0]); }
  __device__ void add(uint32_t i, const Piece<kWide>& piece) const {
#if __CUDA_ARCH__ >= 900
    atomicAdd(reinterpret_cast<float4*>(rows + i), float4{piece.at[0], piece.at[1], piece.at[2], piece.at[3]});
#else
    for (int c = 0; c < kWide; ++c) atomicAdd(rows + i + c, piece.at[c]);
#endif
  }
};

struct FixedLattice {
  Fixed* rows;
  double scale;
  template <int kWidth>
  __device__ void add(uint32_t i, const Piece<kWidth>& piece) const {
    for (int c = 0; c < kWidth; ++c) {
      atomicAdd(rows + i + c, Fixed(static_cast<long long>(rint(double(piece.at[c]) * scale))));
    }
  }
};

// The six vertices, or weights, of a pixel: one row of [P,6], read in three pieces.
template <class T>
struct alignas(8) Corners {
  T at[kCorners];
};

template <class T>
__device__ const Corners<T>* corners(const T* rows, int64_t pixel) {
  return reinterpret_cast<const Corners<T>*>(rows) + pixel;
}

// Indices into a lattice have 32 bits, as `filter` sees to: of 64 each operation would be several. A pixel without a
// vertex (index = capacity) is left out.
template <int kWidth, class Lattice>
__device__ void splat_run(const Filter& f, const Place& place, const Lattice& lattice) {
  const int none = int(f.capacity), count = int(place.end - place.begin);
  const auto channel = uint32_t(place.channel), width = uint32_t(f.row());
  const float* value_at = f.values + place.index;
  const Corners<int32_t>* vertices = corners(f.vertex, place.begin);
  const Corners<float>* weights = corners(f.weight, place.begin);
  Corners<int32_t> row = *vertices;
  Piece<kWidth> sum[kCorners] = {};
  for (int i = 0; i < count; ++i, ++vertices, ++weights, value_at += place.pixel_step) {
    Piece<kWidth> value;
    for (int c = 0; c < kWidth; ++c) {
      value.at[c] = c >= place.channels ? 0.0f : f.values ? value_at[c * place.channel_step] : 1.0f;
    }
    const Corners<int32_t> vertex = *vertices;
    const Corners<float> weight = *weights;
    for (int k = 0; k < kCorners; ++k) {
      if (vertex.at[k] != row.at[k]) {
        if (row.at[k] < none) lattice.add(uint32_t(row.at[k]) * width + channel, sum[k]);
        row.at[k] = vertex.at[k];
        sum[k] = {};
      }
      for (int c = 0; c < kWidth; ++c) sum[k].at[c] += weight.at[k] * value.at[c];
    }
  }
  for (int k = 0; k < kCorners; ++k) {
    if (row.at[k] < none) lattice.add(uint32_t(row.at[k]) * width + channel, sum[k]);
  }
}

template <int kWidth>
__global__ void splat(Filter f, float* lattice) {
  const Place place = place_of_thread(f, kWidth);
  if (place.begin < place.end) splat_run<kWidth>(f, place, FloatLattice{lattice});
}

template <int kWidth>
__global__ void splat_fixed(Filter f, Fixed* lattice, const uint32_t* largest_bits) {
  const Place place = place_of_thread(f, kWidth);
  const double scale = fixed_scale(largest_bits, f.total());
  if (place.begin < place.end && scale == scale) splat_run<kWidth>(f, place, FixedLattice{lattice, scale});
}

// How the threads of a kernel share out the rows of a lattice, of so many pieces each: a power of two lie side by side
// along a row, which spares a division for every value.
struct Share {
  int pieces, lane_bits, rows;  // as many rows at once

  __device__ uint32_t at(int32_t vertex, int piece) const { return uint32_t(vertex) * uint32_t(pieces) + piece; }
};

Share share_rows(const Filter& f, int width) {
  constexpr int kThreadsAtOnce = 1 << 19;
  const auto pieces = int(f.row() / width);
  int bits = 0;
  while (bits < 5 && 1 << bits < pieces) ++bits;
  const int most = kThreadsAtOnce >> bits;
  return {pieces, bits, f.capacity < most ? int(f.capacity) + 1 : most};
}

template <class... Parameters, class... Arguments>
void launch_on_rows(void (*kernel)(Filter, Share, Parameters...), const Filter& f, int width, cudaStream_t stream,
                    Arguments... arguments) {
  const Share share = share_rows(f, width);
  launch(kernel, int64_t(share.rows) << share.lane_bits, stream, f, share, arguments...);
}

// The rows of a lattice that are used, and the one that stands for "no such vertex", which is `capacity`: calls
// visit(vertex, piece of its row, where that lies in the lattice, in pieces) for each. What of the capacity is not used
// is left alone.
template <class Visit>
__device__ void each_used(const Filter& f, const Share& share, const Visit& visit) {
  const int thread = int(thread_index()), lanes = 1 << share.lane_bits;
  const int none = int(f.capacity), used = f.used && *f.used < none ? *f.used : none;
  if (thread >> share.lane_bits >= share.rows) return;
  for (int i = thread >> share.lane_bits; i <= used; i += share.rows) {
    const int vertex = i < used ? i : none;
    for (int piece = thread & (lanes - 1); piece < share.pieces; piece += lanes) {
      visit(vertex, piece, share.at(vertex, piece));
    }
  }
}

template <class T>
__global__ void clear(Filter f, Share share, T* lattice) {
  each_used(f, share, [=](int, int, uint32_t at) { lattice[at] = T{}; });
}

__global__ void to_float(Filter f, Share share, const Fixed* from, const uint32_t* largest_bits, float* to) {
  const double scale = fixed_scale(largest_bits, f.total());
  each_used(f, share, [=](int, int, uint32_t at) {
    to[at] = float(double(static_cast<long long>(from[at])) / scale);
  });
}

// One axis of the [1/2 1 1/2] blur. The row `capacity` is zero: "no such vertex".
template <int kWidth>
__global__ void blur(Filter f, Share share, const int32_t* before, const int32_t* after, const Piece<kWidth>* in,
                     Piece<kWidth>* out) {
  each_used(f, share, [=](int vertex, int piece, uint32_t at) {
    Piece<kWidth> sum{};
    if (vertex < int(f.capacity)) {
      sum = in[at];
      const Piece<kWidth> a = in[share.at(before[vertex], piece)], b = in[share.at(after[vertex], piece)];
      for (int k = 0; k < kWidth; ++k) sum.at[k] += 0.5f * (a.at[k] + b.at[k]);
    }
    out[at] = sum;
  });
}

// Six steps, to and fro between two lattices; which of them has the result.
template <int kWidth>
float* blur_all(const Filter& f, float* lattice, float* other, cudaStream_t stream) {
  auto *from = reinterpret_cast<Piece<kWidth>*>(lattice), *to = reinterpret_cast<Piece<kWidth>*>(other);
  for (int step = 0; step < kCorners; ++step) {
    const int axis = f.reverse ? kCorners - 1 - step : step;
    const int32_t* before = f.neighbor + 2 * axis * f.capacity;
    const Piece<kWidth>* in = from;
    launch_on_rows(blur<kWidth>, f, kWidth, stream, before, before + f.capacity, in, to);
    std::swap(from, to);
  }
  return from->at;
}

template <int kWidth>
__global__ void slice_channels(Filter f, const float* lattice) {
  const Place place = place_of_thread(f, kWidth);
  const Corners<int32_t>* vertices = corners(f.vertex, place.begin);
  const Corners<float>* weights = corners(f.weight, place.begin);
  const int count = int(place.end - place.begin);
  const auto channel = uint32_t(place.channel), width = uint32_t(f.row());
  float* out = f.out + place.index;
  for (int i = 0; i < count; ++i, ++vertices, ++weights, out += place.pixel_step) {
    const Corners<int32_t> vertex = *vertices;
    const Corners<float> weight = *weights;
    Piece<kWidth> sum{};
    for (int k = 0; k < kCorners; ++k) {
      const auto* row = reinterpret_cast<const Piece<kWidth>*>(lattice + uint32_t(vertex.at[k]) * width + channel);
      const Piece<kWidth> value = *row;
      for (int c = 0; c < kWidth; ++c) sum.at[c] += weight.at[k] * value.at[c];
    }
    for (int c = 0; c < kWidth; ++c) {
      if (c < place.channels) out[c] = sum.at[c];
    }
  }
}

// For planes a thread has all channels of a pixel: threads side by side write side by side, and read the same rows of
// the lattice where neighbouring pixels share vertices.
template <int kWidth>
__global__ void slice_planes(Filter f, const float* lattice) {
  const int64_t pixel = thread_index();
  if (pixel >= f.total()) return;
  const Corners<int32_t> vertex = *corners(f.vertex, pixel);
  const Corners<float> weight = *corners(f.weight, pixel);
  const auto width = uint32_t(f.row());
  const Piece<kWidth>* row[kCorners];
  for (int k = 0; k < kCorners; ++k) {
    row[k] = reinterpret_cast<const Piece<kWidth>*>(lattice + uint32_t(vertex.at[k]) * width);
  }
  float* out = f.out + pixel / f.pixels * f.channels * f.pixels + pixel % f.pixels;
  for (int left = int(f.channels); left > 0; left -= kWidth) {
    Piece<kWidth> sum{};
    for (int k = 0; k < kCorners; ++k) {
      const Piece<kWidth> value = *row[k]++;
      for (int c = 0; c < kWidth; ++c) sum.at[c] += weight.at[k] * value.at[c];
    }
    for (int c = 0; c < kWidth; ++c, out += f.pixels) {
      if (c < left) *out = sum.at[c];
    }
  }
}

template <int kWidth>
void splat_deterministically(const Filter& f, Fixed* fixed, uint32_t* largest_bits, float* lattice,
                             cudaStream_t stream) {
  const int64_t count = f.total() * f.channels;
  if (!f.values) largest_bits = nullptr;
  launch_on_rows(clear<Fixed>, f, 1, stream, fixed);
  if (largest_bits) {
    cudaMemsetAsync(largest_bits, 0, sizeof(uint32_t), stream);
    launch(find_largest, (count + kRun - 1) / kRun, stream, f, count, largest_bits);
  }
  launch(splat_fixed<kWidth>, thread_count(f, kWidth), stream, f, fixed, largest_bits);
  launch_on_rows(to_float, f, 1, stream, static_cast<const Fixed*>(fixed), static_cast<const uint32_t*>(largest_bits),
                 lattice);
}

template <int kWidth>
void filter_in_pieces(const Filter& f, void* workspace, cudaStream_t stream) {
  auto* fixed = static_cast<Fixed*>(workspace);
  float* from = f.deterministic ? reinterpret_cast<float*>(fixed + f.floats()) : static_cast<float*>(workspace);
  float* to = from + f.floats();
  if (f.deterministic) {
    splat_deterministically<kWidth>(f, fixed, reinterpret_cast<uint32_t*>(to + f.floats()), from, stream);
  } else {
    launch_on_rows(clear<Piece<kWidth>>, f, kWidth, stream, reinterpret_cast<Piece<kWidth>*>(from));
    launch(splat<kWidth>, thread_count(f, kWidth), stream, f, from);
  }
  const float* blurred = blur_all<kWidth>(f, from, to, stream);
  if (f.channels_last) {
    launch(slice_channels<kWidth>, thread_count(f, kWidth), stream, f, blurred);
  } else {
    launch(slice_planes<kWidth>, f.total(), stream, f, blurred);
  }
}

}  // namespace

int64_t segtool::cuda::filter_workspace(int64_t channels, int64_t capacity, bool deterministic) {
  const int64_t floats = (capacity + 1) * lattice_row(channels);
  const int64_t fixed = deterministic ? floats * int64_t(sizeof(Fixed)) + 16 : 0;
  return (2 * floats * int64_t(sizeof(float)) + fixed + 15) / 16 * 16;
}

int segtool::cuda::filter(const Filter& f, void* workspace, cudaStream_t stream) {
  if (reinterpret_cast<uintptr_t>(f.vertex) % 8 || reinterpret_cast<uintptr_t>(f.weight) % 8) {
    return fail("vertex and weight must be aligned to 8 bytes");
  }
  if (reinterpret_cast<uintptr_t>(workspace) % 16) return fail("the workspace must be aligned to 16 bytes");
  if (f.floats() > UINT32_MAX) return fail("a lattice of more than 2^32 values: use a smaller batch, or less capacity");
  f.wide() ? filter_in_pieces<kWide>(f, workspace, stream) : filter_in_pieces<1>(f, workspace, stream);
  return launched("CUDA filter");
}

int64_t segtool_cuda_filter_workspace(int64_t channels, int64_t capacity, int deterministic) {
  return segtool::cuda::filter_workspace(channels, capacity, deterministic != 0);
}

int segtool_cuda_filter(const float* values, const int32_t* vertex, const float* weight, const int32_t* neighbor,
                        const int32_t* used, int64_t n, int64_t channels, int64_t pixels, int64_t capacity, int reverse,
                        int channels_last, int deterministic, float* out, void* workspace, void* stream) {
  return segtool::cuda::filter({values, vertex, weight, neighbor, used, n, channels, pixels, capacity, reverse != 0,
                                channels_last != 0, deterministic != 0, out},
                               workspace, static_cast<cudaStream_t>(stream));
}
