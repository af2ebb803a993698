// Splat, blur, slice on CUDA. Everything runs on the caller's stream in the caller's workspace; nothing is allocated
// and nothing waits.
//
// In a splat a thread has one channel of a run of neighbouring pixels; threads of neighbouring channels lie side by
// side, so lattice rows are read and written in whole. Neighbouring pixels mostly share their vertices: their sums stay
// in registers and reach the lattice by few atomic additions.
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
using segtool::cuda::thread_index;
using Fixed = unsigned long long;  // additions wrap around, so negative numbers add up as they should
constexpr int kRun = 16;           // pixels of a thread

// Where a thread works: pixels begin..end of the batch, all of one image, and where the first one's value is. From pixel
// to pixel it is `step` floats.
struct Place {
  int64_t channel, begin, end, index, step;
};

SEGTOOL_HD int64_t runs_of_image(const Filter& f) { return (f.pixels + kRun - 1) / kRun; }

__device__ Place place_of_thread(const Filter& f) {
  const int64_t i = thread_index(), channel = i % f.channels, run = i / f.channels;
  const int64_t image = run / runs_of_image(f), within = run % runs_of_image(f) * kRun, first = image * f.pixels;
  if (image >= f.n) return {};
  const int64_t end = within + kRun < f.pixels ? within + kRun : f.pixels;
  const int64_t index = f.channels_last ? (first + within) * f.channels + channel
                                        : first * f.channels + channel * f.pixels + within;
  return {channel, first + within, first + end, index, f.channels_last ? f.channels : 1};
}

int64_t thread_count(const Filter& f) { return f.n * runs_of_image(f) * f.channels; }

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
  __device__ void add(int64_t i, float value) const { atomicAdd(rows + i, value); }
};

struct FixedLattice {
  Fixed* rows;
  double scale;
  __device__ void add(int64_t i, float value) const {
    atomicAdd(rows + i, Fixed(static_cast<long long>(rint(double(value) * scale))));
  }
};

// The six vertices, or weights, of a pixel: one row of [P,6], read in three pieces.
template <class T>
struct alignas(8) Corners {
  T at[kCorners];
};

template <class T>
__device__ Corners<T> corners(const T* rows, int64_t pixel) {
  return reinterpret_cast<const Corners<T>*>(rows)[pixel];
}

// A pixel without a vertex (index = capacity) is left out.
template <class Lattice>
__device__ void splat_run(const Filter& f, const Place& place, const Lattice& lattice) {
  const int none = int(f.capacity), channels = int(f.channels);
  const float* value_at = f.values + place.index;
  Corners<int32_t> row = corners(f.vertex, place.begin);
  float sum[kCorners] = {};
  for (int64_t p = place.begin; p < place.end; ++p, value_at += place.step) {
    const float value = f.values ? *value_at : 1.0f;
    const Corners<int32_t> vertex = corners(f.vertex, p);
    const Corners<float> weight = corners(f.weight, p);
    for (int k = 0; k < kCorners; ++k) {
      if (vertex.at[k] != row.at[k]) {
        if (row.at[k] < none) lattice.add(int64_t(row.at[k]) * channels + place.channel, sum[k]);
        row.at[k] = vertex.at[k];
        sum[k] = 0.0f;
      }
      sum[k] += weight.at[k] * value;
    }
  }
  for (int k = 0; k < kCorners; ++k) {
    if (row.at[k] < none) lattice.add(int64_t(row.at[k]) * channels + place.channel, sum[k]);
  }
}

__global__ void splat(Filter f, float* lattice) {
  const Place place = place_of_thread(f);
  if (place.begin < place.end) splat_run(f, place, FloatLattice{lattice});
}

__global__ void splat_fixed(Filter f, Fixed* lattice, const uint32_t* largest_bits) {
  const Place place = place_of_thread(f);
  const double scale = fixed_scale(largest_bits, f.total());
  if (place.begin < place.end && scale == scale) splat_run(f, place, FixedLattice{lattice, scale});
}

// The rows of a lattice that are used, and the one that stands for "no such vertex", which is `capacity`: calls
// visit(vertex, where it lies in the lattice) for each channel of each, sharing them out among the kernel's threads. What
// of the capacity is not used is left alone.
template <class Visit>
__device__ void each_used(const Filter& f, int64_t threads, const Visit& visit) {
  const int64_t begin = thread_index(), used = f.used && *f.used < f.capacity ? *f.used : f.capacity;
  if (begin >= threads) return;
  for (int64_t i = begin; i < (used + 1) * f.channels; i += threads) {
    const int64_t vertex = i / f.channels;
    if (vertex < used) {
      visit(vertex, i);
    } else {
      visit(f.capacity, i + (f.capacity - used) * f.channels);
    }
  }
}

int64_t threads_for_rows(const Filter& f) {
  constexpr int64_t kMost = 1 << 19;  // as many as run at once
  return f.floats() < kMost ? f.floats() : kMost;
}

template <class T>
__global__ void clear(Filter f, int64_t threads, T* lattice) {
  each_used(f, threads, [=](int64_t, int64_t at) { lattice[at] = T{}; });
}

__global__ void to_float(const Fixed* from, Filter f, int64_t threads, const uint32_t* largest_bits, float* to) {
  const double scale = fixed_scale(largest_bits, f.total());
  each_used(f, threads, [=](int64_t, int64_t at) { to[at] = float(double(static_cast<long long>(from[at])) / scale); });
}

// One axis of the [1/2 1 1/2] blur. The row `capacity` is zero: "no such vertex".
__global__ void blur(const int32_t* before, const int32_t* after, Filter f, int64_t threads, const float* in,
                     float* out) {
  each_used(f, threads, [=](int64_t vertex, int64_t at) {
    if (vertex == f.capacity) {
      out[at] = 0.0f;
    } else {
      const int64_t channel = at - vertex * f.channels;
      out[at] = in[at] + 0.5f * (in[before[vertex] * f.channels + channel] + in[after[vertex] * f.channels + channel]);
    }
  });
}

__global__ void slice_channels(Filter f, const float* lattice) {
  const Place place = place_of_thread(f);
  const float* column = lattice + place.channel;
  const int channels = int(f.channels);
  float* out = f.out + place.index;
  for (int64_t p = place.begin; p < place.end; ++p, out += place.step) {
    const Corners<int32_t> vertex = corners(f.vertex, p);
    const Corners<float> weight = corners(f.weight, p);
    float sum = 0.0f;
    for (int k = 0; k < kCorners; ++k) sum += weight.at[k] * column[int64_t(vertex.at[k]) * channels];
    *out = sum;
  }
}

// For planes a thread has all channels of a pixel: threads side by side write side by side, and read the same rows of
// the lattice where neighbouring pixels share vertices.
__global__ void slice_planes(Filter f, const float* lattice) {
  const int64_t pixel = thread_index();
  if (pixel >= f.total()) return;
  const Corners<int32_t> vertex = corners(f.vertex, pixel);
  const Corners<float> weight = corners(f.weight, pixel);
  const float* row[kCorners];
  for (int k = 0; k < kCorners; ++k) row[k] = lattice + int64_t(vertex.at[k]) * f.channels;
  float* out = f.out + pixel / f.pixels * f.channels * f.pixels + pixel % f.pixels;
  for (int64_t c = 0; c < f.channels; ++c) {
    float sum = 0.0f;
    for (int k = 0; k < kCorners; ++k) sum += weight.at[k] * row[k][c];
    out[c * f.pixels] = sum;
  }
}

void splat_deterministically(const Filter& f, Fixed* fixed, uint32_t* largest_bits, float* lattice,
                             cudaStream_t stream) {
  const int64_t count = f.total() * f.channels, threads = threads_for_rows(f);
  if (!f.values) largest_bits = nullptr;
  launch(clear<Fixed>, threads, stream, f, threads, fixed);
  if (largest_bits) {
    cudaMemsetAsync(largest_bits, 0, sizeof(uint32_t), stream);
    launch(find_largest, (count + kRun - 1) / kRun, stream, f, count, largest_bits);
  }
  launch(splat_fixed, thread_count(f), stream, f, fixed, largest_bits);
  launch(to_float, threads, stream, fixed, f, threads, largest_bits, lattice);
}

}  // namespace

int64_t segtool::cuda::filter_workspace(int64_t channels, int64_t capacity, bool deterministic) {
  const int64_t rows = (capacity + 1) * channels;
  const int64_t bytes = 2 * rows * int64_t(sizeof(float)) + (deterministic ? rows * int64_t(sizeof(Fixed)) + 16 : 0);
  return (bytes + 15) / 16 * 16;
}

int segtool::cuda::filter(const Filter& f, void* workspace, cudaStream_t stream) {
  if (reinterpret_cast<uintptr_t>(f.vertex) % 8 || reinterpret_cast<uintptr_t>(f.weight) % 8) {
    return fail("vertex and weight must be aligned to 8 bytes");
  }
  auto* fixed = static_cast<Fixed*>(workspace);
  float* from = f.deterministic ? reinterpret_cast<float*>(fixed + f.floats()) : static_cast<float*>(workspace);
  float* to = from + f.floats();
  const int64_t threads = threads_for_rows(f);
  if (f.deterministic) {
    splat_deterministically(f, fixed, reinterpret_cast<uint32_t*>(to + f.floats()), from, stream);
  } else {
    launch(clear<float>, threads, stream, f, threads, from);
    launch(splat, thread_count(f), stream, f, from);
  }
  for (int step = 0; step < kCorners; ++step) {
    const int axis = f.reverse ? kCorners - 1 - step : step;
    const int32_t* before = f.neighbor + 2 * axis * f.capacity;
    launch(blur, threads, stream, before, before + f.capacity, f, threads, from, to);
    std::swap(from, to);
  }
  const float* blurred = from;
  if (f.channels_last) {
    launch(slice_channels, thread_count(f), stream, f, blurred);
  } else {
    launch(slice_planes, f.total(), stream, f, blurred);
  }
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
