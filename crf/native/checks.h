// What the functions can be used for, on any device.
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

inline int check_spatial(int64_t planes, int64_t height, int64_t width, int64_t inner, double sigma) {
  if (planes < 1 || height < 1 || width < 1 || inner < 1) return fail("values: every dimension must be at least 1");
  if (!(sigma > 0) || std::isinf(sigma)) return fail("spatial sigma must be positive and finite");
  return 0;
}

// Beyond 5 sigma the kernel is below float32 precision, and beyond the image there is nothing.
inline int64_t spatial_radius(double sigma, int64_t height, int64_t width) {
  return int64_t(std::min(std::ceil(5 * sigma), double(std::max(height, width) - 1)));
}

}  // namespace segtool
