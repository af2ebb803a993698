// The local part of a mean-field iteration: what happens at each pixel once the messages are there.
//
// Every pixel is computed by itself in one order of operations: the same bits for any number of threads.
#pragma once
#include "filter_cpu.h"

namespace segtool {

// z = unary + spatial * spatial_table + bilateral * bilateral_table, a row of channels times a matrix for each pixel;
// out = softmax(z) if normalize, else z. Without messages (null) z = unary.
struct Update {
  const float *unary, *spatial, *bilateral;
  const float *spatial_table, *bilateral_table;  // [channels, channels]
  int64_t n, channels, pixels;
  bool normalize;
  float* out;  // may be one of the inputs
};

// A table without entries beside its diagonal (the Potts model and its per-class form) costs no matrix product.
inline bool is_diagonal(const float* table, int64_t channels) {
  for (int64_t i = 0; table && i < channels * channels; ++i) {
    if (table[i] != 0.0f && i % (channels + 1)) return false;
  }
  return true;
}

// Arrays are [n, pixels, channels]: a vector holds channels of one pixel. Throws std::bad_alloc.
void update_rows(const Update& u);

// Arrays are [n, channels, pixels]: a vector holds neighbouring pixels. If `sliced` is given, the bilateral message is
// sliced from it as it is needed, instead of read. Throws std::bad_alloc.
void update_planes(const Update& u, const Blurred* sliced = nullptr);

}  // namespace segtool
