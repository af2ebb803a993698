// Splat, blur, slice on CUDA.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#include "simplex.h"

namespace segtool::cuda {

// Floats from row to row of a lattice: whole fours, which are read together, if a row has so many.
SEGTOOL_HD int64_t lattice_row(int64_t channels) { return channels < 3 ? channels : (channels + 3) / 4 * 4; }

struct Filter {
  const float* values;  // null stands for one channel of ones
  const int32_t* vertex;
  const float* weight;
  const int32_t* neighbor;
  const int32_t* used;  // how many vertices of the capacity, on the device; null stands for all
  int64_t n, channels, pixels, capacity;
  bool reverse, channels_last, deterministic;
  float* out;

  SEGTOOL_HD int64_t total() const { return n * pixels; }
  SEGTOOL_HD int64_t row() const { return lattice_row(channels); }
  SEGTOOL_HD bool wide() const { return channels >= 3; }
  SEGTOOL_HD int64_t floats() const { return (capacity + 1) * row(); }  // of a lattice
};

// Bytes, a multiple of 16.
int64_t filter_workspace(int64_t channels, int64_t capacity, bool deterministic);
int filter(const Filter& f, void* workspace, cudaStream_t stream);

}  // namespace segtool::cuda
