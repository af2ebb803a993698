// What a lattice can be built for, on any device.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "errors.h"
#include "simplex.h"

namespace segtool {

inline int check_lattice(int64_t n, int64_t height, int64_t width, double spatial_sigma, double color_sigma) {
  if (n < 1 || height < 1 || width < 1) return fail("image: every dimension must be at least 1");
  // Multiplied one after the other: none of them can overflow.
  constexpr int64_t kMost = INT32_MAX / kCorners;
  if (height > kMost || width > kMost / height || n > kMost / (height * width)) {
    return fail("image: more than 357,913,941 pixels in a batch; use a smaller batch");
  }
  if (!(spatial_sigma > 0) || !(color_sigma > 0) || std::isinf(spatial_sigma) || std::isinf(color_sigma)) {
    return fail("spatial_sigma and color_sigma must be positive and finite");
  }
  const double reach = double(std::max(height, width)) / spatial_sigma + 255.0 / color_sigma;
  if (reach > 1e8) return fail("spatial_sigma or color_sigma is too small for the image's size");
  return 0;
}

}  // namespace segtool
