// The spatial kernel on CUDA in two halves: what depends on sizes alone, and the filter.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#include "host_device.h"

namespace segtool::cuda {

// Values [planes,height,width,inner], and a workspace: the taps g(-radius)..g(radius) with zeros up to a whole number of
// runs; r = (sum of g over the image's side)^-1/2 of every row and column, as in spatial_cpu.cpp; values between passes.
struct Spatial {
  int64_t planes, height, width, inner, radius;
  double sigma;
  float *taps, *rows, *columns, *between;

  SEGTOOL_HD int64_t row() const { return width * inner; }
};

// Bytes, or -1.
int64_t spatial_workspace(int64_t planes, int64_t height, int64_t width, int64_t inner, double sigma);
Spatial spatial_in(void* workspace, int64_t planes, int64_t height, int64_t width, int64_t inner, double sigma);
// Once for any number of filters.
void prepare_spatial(const Spatial& s, cudaStream_t stream);
int spatial_filter(const Spatial& s, const float* values, float* out, cudaStream_t stream);

}  // namespace segtool::cuda
