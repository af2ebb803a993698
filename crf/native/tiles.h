// Reading and writing runs of pixels as rows of channels, whichever of the two lies together in memory.
#pragma once
#include <algorithm>
#include <cstdint>

#include "lanes.h"

namespace segtool {

constexpr int kTile = 32;  // pixels handled together, so that memory is read in runs

// How an array of [n, channels, pixels] (or [n, pixels, channels] when channels_last) lies in memory.
struct Layout {
  int64_t channels, pixels;
  bool channels_last;
};

// Where a run of pixels of one image begins, and the distance of its channels and pixels.
struct Strides {
  int64_t begin, channel, pixel;
};

inline Strides strides(const Layout& a, int64_t pixel, int64_t first_channel) {
  const int64_t image = pixel / a.pixels, within = pixel % a.pixels;
  const int64_t base = image * a.channels * a.pixels;
  if (a.channels_last) return {base + within * a.channels + first_channel, 1, a.channels};
  return {base + first_channel * a.pixels + within, a.pixels, 1};
}

// Pixels from `pixel` on that are of one image and fit in a tile.
inline int run_length(const Layout& a, int64_t pixel, int64_t end) {
  return int(std::min({int64_t(kTile), end - pixel, a.pixels - pixel % a.pixels}));
}

// Copies `count` floats. From a vector on, the last one overlaps what was copied: nothing outside is touched.
SEGTOOL_INLINE void copy_row(const float* from, int count, float* to) {
  if (count < kLanes) {
    for (int c = 0; c < count; ++c) to[c] = from[c];
    return;
  }
  for (int c = 0; c + kLanes <= count; c += kLanes) store(to + c, load(from + c));
  store(to + count - kLanes, load(from + count - kLanes));
}

// to[j * to_stride + i] = from[i * from_stride + j] for i < rows, j < columns. From a vector on, the last squares overlap
// those before them.
SEGTOOL_INLINE void transpose(const float* from, int64_t from_stride, int rows, int columns, float* to,
                              int64_t to_stride) {
  if (rows < kLanes || columns < kLanes) {
    for (int i = 0; i < rows; ++i) {
      for (int j = 0; j < columns; ++j) to[j * to_stride + i] = from[i * from_stride + j];
    }
    return;
  }
  for (int row = 0; row < rows; row += kLanes) {
    const int i = std::min(row, rows - kLanes);
    for (int column = 0; column < columns; column += kLanes) {
      const int j = std::min(column, columns - kLanes);
      transpose_square(from + i * from_stride + j, from_stride, to + j * to_stride + i, to_stride);
    }
  }
}

// Reads `used` channels of `count` pixels into rows of `width` floats; what lies beyond `used` is left alone.
SEGTOOL_INLINE void read_tile(const float* in, const Strides& s, int count, int used, float* tile, int64_t width) {
  if (s.channel == 1) {
    for (int p = 0; p < count; ++p) copy_row(in + s.begin + p * s.pixel, used, tile + p * width);
  } else {
    transpose(in + s.begin, s.channel, used, count, tile, width);
  }
}

SEGTOOL_INLINE void write_tile(const float* tile, int64_t width, const Strides& s, int count, int used, float* out) {
  if (s.channel == 1) {
    for (int p = 0; p < count; ++p) copy_row(tile + p * width, used, out + s.begin + p * s.pixel);
  } else {
    transpose(tile, width, count, used, out + s.begin, s.channel);
  }
}

}  // namespace segtool
