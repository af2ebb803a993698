// Splat, blur, slice on the CPU.
//
// Channels are handled in blocks whose lattice rows are whole vector registers. The pixels are splatted in parts,
// each onto a lattice of its own, which are then summed in order. How many parts there are depends on the
// sizes alone, so the result is bitwise the same for any number of threads.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <new>
#include <string>

#include "api.h"
#include "errors.h"
#include "filter_cpu.h"
#include "lanes.h"
#include "simplex.h"
#include "threads.h"
#include "tiles.h"

namespace {

using segtool::kCorners;
using segtool::kLanes;
using segtool::kTile;
using segtool::kWidest;
using segtool::Lanes;
using segtool::load;
using segtool::run_length;
using segtool::share_each;
using segtool::store;
using segtool::Strides;
using segtool::strides;
constexpr int64_t kPieces = 64;        // at most, of a pass over vertices or pixels
constexpr int64_t kFewPixels = 4096;  // not worth more than one part
constexpr int64_t kFewFloats = 8192;  // of lattice rows, not worth another piece

struct Arrays {
  const float* values;
  const int32_t* vertex;
  const float* weight;
  const int32_t* neighbor;
  int64_t n, vertex_count;
  bool reverse;
  segtool::Layout layout;  // of values and out
  float* out;
  int corners = kCorners;  // of a simplex

  int64_t total() const { return n * layout.pixels; }
};

// The channels [first, first + used) of all images, in lattice rows of `width` floats.
struct Block {
  int64_t first;
  int used, width;
};

// Adds the pixels [begin, end) to the lattice; false if a vertex is not one.
// K is the number of corners where the compiler may know it, else 0.
template <int W, int K>
SEGTOOL_INLINE bool splat_as(const Arrays& a, const Block& b, int64_t begin, int64_t end, float* lattice) {
  const int corners = K ? K : a.corners;
  float tile[kTile][W] = {};
  for (int64_t start = begin; start < end;) {
    const int count = run_length(a.layout, start, end);
    const Strides s = strides(a.layout, start, b.first);
    segtool::read_tile(a.values, s, count, b.used, tile[0], W);
    for (int p = 0; p < count; ++p) {
      const int32_t* vertex = a.vertex + (start + p) * corners;
      const float* weight = a.weight + (start + p) * corners;
      uint32_t largest = 0;
      for (int k = 0; k < corners; ++k) largest = std::max(largest, uint32_t(vertex[k]));
      if (largest > uint64_t(a.vertex_count)) return false;
      for (int k = 0; k < corners; ++k) {
        float* row = lattice + int64_t(vertex[k]) * W;
        for (int c = 0; c < W; c += kLanes) store(row + c, load(row + c) + weight[k] * load(tile[p] + c));
      }
    }
    start += count;
  }
  return true;
}

template <int W, int K = kCorners>
SEGTOOL_INLINE void slice_rows_as(const int32_t* vertex, const float* weight, int count, const float* lattice,
                                  float (*tile)[W], int any_corners = K) {
  const int corners = K ? K : any_corners;
  for (int p = 0; p < count; ++p, vertex += corners, weight += corners) {
    Lanes sum[W / kLanes] = {};
    for (int k = 0; k < corners; ++k) {
      const float* row = lattice + int64_t(vertex[k]) * W;
      for (int c = 0; c < W; c += kLanes) sum[c / kLanes] += weight[k] * load(row + c);
    }
    for (int c = 0; c < W; c += kLanes) store(tile[p] + c, sum[c / kLanes]);
  }
}

template <int W, int K>
SEGTOOL_INLINE void slice_as(const Arrays& a, const Block& b, int64_t begin, int64_t end, const float* lattice) {
  float tile[kTile][W];
  for (int64_t start = begin; start < end;) {
    const int count = run_length(a.layout, start, end);
    const int64_t entry = start * (K ? K : a.corners);
    slice_rows_as<W, K>(a.vertex + entry, a.weight + entry, count, lattice, tile, a.corners);
    const Strides s = strides(a.layout, start, b.first);
    segtool::write_tile(tile[0], W, s, count, b.used, a.out);
    start += count;
  }
}

// One axis of the [1/2 1 1/2] blur, vertices [begin, end). The row vertex_count is zero: "no such vertex".
template <int W>
SEGTOOL_INLINE void blur_as(const int32_t* before, const int32_t* after, int64_t begin, int64_t end, const float* in,
                            float* out) {
  for (int64_t v = begin; v < end; ++v) {
    const float* l = in + int64_t(before[v]) * W;
    const float* r = in + int64_t(after[v]) * W;
    for (int c = 0; c < W; c += kLanes) store(out + v * W + c, load(in + v * W + c) + 0.5f * (load(l + c) + load(r + c)));
  }
}

template <int K>
SEGTOOL_INLINE bool splat_of(const Arrays& a, const Block& b, int64_t begin, int64_t end, float* lattice) {
  switch (b.width) {
    case 8: return splat_as<8, K>(a, b, begin, end, lattice);
    case 16: return splat_as<16, K>(a, b, begin, end, lattice);
    case 24: return splat_as<24, K>(a, b, begin, end, lattice);
    default: return splat_as<32, K>(a, b, begin, end, lattice);
  }
}

template <int K>
SEGTOOL_INLINE void slice_of(const Arrays& a, const Block& b, int64_t begin, int64_t end, const float* lattice) {
  switch (b.width) {
    case 8: return slice_as<8, K>(a, b, begin, end, lattice);
    case 16: return slice_as<16, K>(a, b, begin, end, lattice);
    case 24: return slice_as<24, K>(a, b, begin, end, lattice);
    default: return slice_as<32, K>(a, b, begin, end, lattice);
  }
}

SEGTOOL_CLONES bool splat(const Arrays& a, const Block& b, int64_t begin, int64_t end, float* lattice) {
  if (a.corners == kCorners) return splat_of<kCorners>(a, b, begin, end, lattice);
  return splat_of<0>(a, b, begin, end, lattice);
}

SEGTOOL_CLONES void slice(const Arrays& a, const Block& b, int64_t begin, int64_t end, const float* lattice) {
  if (a.corners == kCorners) return slice_of<kCorners>(a, b, begin, end, lattice);
  slice_of<0>(a, b, begin, end, lattice);
}

SEGTOOL_CLONES void blur(int width, const int32_t* before, const int32_t* after, int64_t begin, int64_t end,
                         const float* in, float* out) {
  switch (width) {
    case 8: return blur_as<8>(before, after, begin, end, in, out);
    case 16: return blur_as<16>(before, after, begin, end, in, out);
    case 24: return blur_as<24>(before, after, begin, end, in, out);
    default: return blur_as<32>(before, after, begin, end, in, out);
  }
}

// Adds the lattices of the parts 1.. to that of part 0, in order, floats [begin, end).
SEGTOOL_CLONES void sum_parts(float* lattice, int64_t size, int parts, int64_t begin, int64_t end) {
  for (int part = 1; part < parts; ++part) {
    const float* other = lattice + part * size;
    for (int64_t i = begin; i < end; ++i) lattice[i] += other[i];
  }
}

// More parts let more threads splat; summing them costs parts * vertices, a fraction of splatting all pixels.
int part_count(const Arrays& a) {
  if (a.total() < kFewPixels) return 1;
  return int(std::clamp<int64_t>(a.total() / (4 * a.vertex_count + 1), 2, 16));
}

// Calls body(begin, end) for even pieces of [0, count), each of about `few` or more.
template <class Body>
void share_pieces(int64_t count, int64_t few, const Body& body) {
  const int64_t pieces = std::clamp<int64_t>(count / few, 1, kPieces);
  share_each(pieces, [&](int64_t i) { body(count * i / pieces, count * (i + 1) / pieces); });
}

// How many lattices splat_and_blur_block needs: one for each part, and two for the blur, when the parts are summed.
int64_t lattice_count(int parts) { return std::max(parts, 2); }

// Splats and blurs one block. `lattice` has room for lattice_count lattices of (vertex_count + 1) * width floats; after an
// even number of axes the first of them has the result, else the second. False if a vertex is not one.
bool splat_and_blur_block(const Arrays& a, const Block& b, int parts, float* lattice) {
  const int64_t m = a.vertex_count, size = (m + 1) * b.width, total = a.total();
  std::atomic<bool> valid{true};
  share_each(parts, [&](int64_t part) {
    float* own = lattice + part * size;
    std::memset(own, 0, size * sizeof(float));
    if (!splat(a, b, total * part / parts, total * (part + 1) / parts, own)) valid = false;
  });
  share_pieces(size, kFewFloats, [&](int64_t begin, int64_t end) { sum_parts(lattice, size, parts, begin, end); });
  float *in = lattice, *out = lattice + size;
  std::memset(out + m * b.width, 0, b.width * sizeof(float));
  for (int step = 0; step < a.corners; ++step) {
    const int axis = a.reverse ? a.corners - 1 - step : step;
    const int32_t* before = a.neighbor + 2 * axis * m;
    share_pieces(m, kFewFloats / b.width, [&](int64_t begin, int64_t end) {
      blur(b.width, before, before + m, begin, end, in, out);
    });
    std::swap(in, out);
  }
  return valid;
}

bool filter_block(const Arrays& a, const Block& b, int parts, float* lattice) {
  if (!splat_and_blur_block(a, b, parts, lattice)) return false;
  const float* blurred = lattice + (a.corners % 2) * (a.vertex_count + 1) * b.width;
  share_pieces(a.total(), kFewPixels, [&](int64_t begin, int64_t end) { slice(a, b, begin, end, blurred); });
  return true;
}

int fail_for_index() {
  return segtool::fail("vertex or neighbor holds an index outside 0..M; was it built for other values?");
}

int width_of(int64_t channels) { return int((channels + kLanes - 1) / kLanes * kLanes); }

bool neighbors_valid(const Arrays& a) {
  uint32_t largest = 0;
  for (int64_t i = 0; i < 2 * a.corners * a.vertex_count; ++i) largest = std::max(largest, uint32_t(a.neighbor[i]));
  return largest <= uint64_t(a.vertex_count);
}

}  // namespace

static int filter(const Arrays& a) {
  const int64_t channels = a.layout.channels, vertex_count = a.vertex_count;
  bool valid = neighbors_valid(a);
  const int parts = part_count(a);
  const int64_t widest = std::min<int64_t>(kWidest, width_of(channels));
  std::unique_ptr<float[]> lattice(new (std::nothrow) float[lattice_count(parts) * (vertex_count + 1) * widest]);
  if (!lattice) return segtool::fail("out of memory while filtering");
  for (int64_t first = 0; first < channels && valid; first += kWidest) {
    const int used = int(std::min<int64_t>(kWidest, channels - first));
    valid = filter_block(a, {first, used, width_of(used)}, parts, lattice.get());
  }
  return valid ? 0 : fail_for_index();
}

int segtool_filter(const float* values, const int32_t* vertex, const float* weight, const int32_t* neighbor,
                   int64_t n, int64_t channels, int64_t pixels, int64_t vertex_count, int reverse, int channels_last,
                   float* out) {
  return filter({values, vertex, weight, neighbor, n, vertex_count, reverse != 0,
                 {channels, pixels, channels_last != 0}, out});
}

int segtool_points_filter(const float* values, const int32_t* vertex, const float* weight, const int32_t* neighbor,
                          int64_t dims, int64_t channels, int64_t count, int64_t vertex_count, int reverse,
                          int channels_last, float* out) {
  if (dims < 1 || dims > segtool::kMostDims) return segtool::fail("there may be 1 to 16 features for each point");
  return filter({values, vertex, weight, neighbor, 1, vertex_count, reverse != 0,
                 {channels, count, channels_last != 0}, out, int(dims + 1)});
}

int segtool::splat_and_blur(const float* values, const int32_t* vertex, const float* weight, const int32_t* neighbor,
                            int64_t n, const Layout& layout, int64_t vertex_count, Blurred* out) {
  const Arrays a{values, vertex, weight, neighbor, n, vertex_count, false, layout, nullptr};
  const int parts = part_count(a), width = width_of(layout.channels);
  if (!neighbors_valid(a)) return fail_for_index();
  if (!out->rows) out->rows = big_array<float>(lattice_count(parts) * (vertex_count + 1) * width);
  out->vertex = vertex;
  out->weight = weight;
  out->width = width;
  static_assert(kCorners % 2 == 0, "the blurred lattice is the first one");
  return splat_and_blur_block(a, {0, int(layout.channels), width}, parts, out->rows.get()) ? 0 : fail_for_index();
}

SEGTOOL_CLONES void segtool::slice_rows(const Blurred& b, int64_t start, int count, float* rows) {
  const int32_t* vertex = b.vertex + start * kCorners;
  const float* weight = b.weight + start * kCorners;
  switch (b.width) {
    case 8: return slice_rows_as<8>(vertex, weight, count, b.rows.get(), reinterpret_cast<float(*)[8]>(rows));
    case 16: return slice_rows_as<16>(vertex, weight, count, b.rows.get(), reinterpret_cast<float(*)[16]>(rows));
    case 24: return slice_rows_as<24>(vertex, weight, count, b.rows.get(), reinterpret_cast<float(*)[24]>(rows));
    default: return slice_rows_as<32>(vertex, weight, count, b.rows.get(), reinterpret_cast<float(*)[32]>(rows));
  }
}
