// The local part of a mean-field iteration: what happens at each pixel once the messages are there.
#pragma once
#include "filter_cpu.h"

namespace segtool {

// z = unary + spatial * spatial_table + bilateral * bilateral_table, a row times a matrix for each pixel;
// out = softmax(z) if normalize, else z. Without messages (null) z = unary.
struct Update {
  const float *unary, *spatial, *bilateral;  // bilateral is null when it is sliced
  const float *spatial_table, *bilateral_table;  // [channels, channels]
  Layout unary_layout, message_layout, out_layout;
  int64_t n;
  bool normalize;
  float* out;  // may be one of the inputs if it has that one's layout
  const Blurred* sliced = nullptr;  // if given, the bilateral message is sliced from it as it is needed
};

// Throws std::bad_alloc.
void update(const Update& u);

}  // namespace segtool
