// Where a pixel lies in the permutohedral lattice: Adams, Baek, Davis, "Fast High-Dimensional Filtering
// Using the Permutohedral Lattice", Eurographics 2010, section 3. Shared by the CPU and the CUDA build.
//
// Every face of the operator must find the same vertices, bit for bit, so the float32 operations below are
// a fixed sequence: one multiply of each raw feature by a constant, sums in the stated order, no fused
// multiply-add, ties by the stated rules. crf/plain.py holds the same sequence in torch.
#pragma once
#include <cmath>
#include <cstdint>

#include "host_device.h"

namespace segtool {

constexpr int kDim = 5;            // of images: x, y, r, g, b
constexpr int kCorners = kDim + 1; // vertices of a simplex, and axes of the blur
constexpr int kMostDims = 16;      // of points

// What enclosing_simplex does with numbers: here for one pixel, in simplex_lanes.h for several.
template <class Real>
struct Arithmetic;

template <>
struct Arithmetic<float> {
  using Integer = int32_t;
  SEGTOOL_HD static float multiply(float a, float b) {
#if defined(__CUDA_ARCH__)
    return __fmul_rn(a, b);
#else
    return a * b;
#endif
  }
  SEGTOOL_HD static float add(float a, float b) {
#if defined(__CUDA_ARCH__)
    return __fadd_rn(a, b);
#else
    return a + b;
#endif
  }
  SEGTOOL_HD static float floor(float x) { return floorf(x); }
  SEGTOOL_HD static float ceil(float x) { return ceilf(x); }
  SEGTOOL_HD static int32_t integer(float x) { return int32_t(x); }
  SEGTOOL_HD static float real(int32_t x) { return float(x); }
  SEGTOOL_HD static int32_t one_if(bool condition) { return condition; }
};

// The lattice is built for this share of the widths: splatting and slicing blur too (see geometry.py).
constexpr double kNarrowing = 0.96;

// Multipliers of D raw features: computed in double, rounded once.
template <int D>
struct Scales {
  float value[D];
};
using FeatureScale = Scales<kDim>;  // of x, y, r, g, b

// What a feature of standard deviation 1 is multiplied with: the standard deviation of the [1 2 1] blur.
inline double unit_scale(int dims, int j) {
  return std::sqrt(2.0 / 3.0) * (dims + 1) / std::sqrt(double(j + 1) * (j + 2));
}

inline FeatureScale feature_scale(double spatial_sigma, double color_sigma) {
  FeatureScale scale;
  // The standard deviation of the [1 2 1] blur, and a little finer than that asks for.
  const double expand = std::sqrt(2.0 / 3.0) * (kDim + 1) / kNarrowing;
  for (int j = 0; j < kDim; ++j) {
    const double sigma = static_cast<float>(j < 2 ? spatial_sigma : color_sigma);
    scale.value[j] = static_cast<float>(expand / std::sqrt(double(j + 1) * (j + 2)) / sigma);
  }
  return scale;
}

template <class Real, int D = kDim>
struct Simplex {
  using Integer = typename Arithmetic<Real>::Integer;
  Integer origin[D + 1];   // remainder-0 point
  Integer rank[D + 1];     // 0..D, order of the coordinates' distances from it
  Real barycentric[D + 1]; // weight of the vertex with remainder k
};

// `feature` are D numbers: of images x, y in pixels and the levels of red, green, blue.
template <class Real, int D>
SEGTOOL_HD Simplex<Real, D> enclosing_simplex(const Real* feature, const Scales<D>& scale) {
  constexpr int kDim = D, kCorners = D + 1;
  using A = Arithmetic<Real>;
  using Integer = typename A::Integer;
  const auto every = [](float x) { return Real{} + x; };
  const auto minus = [](Real a, Real b) { return A::add(a, -b); };
  Real elevated[kCorners];
  Real sum{};
  for (int j = kDim; j > 0; --j) {
    const Real scaled = A::multiply(feature[j - 1], every(scale.value[j - 1]));
    elevated[j] = minus(sum, A::multiply(every(float(j)), scaled));
    sum = A::add(sum, scaled);
  }
  elevated[0] = sum;

  const Real sixth = every(1.0f / kCorners), corners = every(float(kCorners));
  Simplex<Real, D> s;
  Real offset[kCorners];
  Integer excess{};
  for (int i = 0; i < kCorners; ++i) {
    const Real v = A::multiply(elevated[i], sixth);
    const Real up = A::multiply(A::ceil(v), corners);
    const Real down = A::multiply(A::floor(v), corners);
    // A tie goes down.
    const Real nearest = minus(up, elevated[i]) < minus(elevated[i], down) ? up : down;
    offset[i] = minus(elevated[i], nearest);
    s.origin[i] = A::integer(nearest);
    excess += s.origin[i] / kCorners;
  }
  // rank = how many coordinates lie farther up; of two equal ones the later one ranks behind.
  for (int i = 0; i < kCorners; ++i) {
    Integer rank = excess;
    for (int j = 0; j < kCorners; ++j) {
      rank += A::one_if(j < i ? offset[j] >= offset[i] : offset[j] > offset[i]);
    }
    const Integer shift = kCorners * (A::one_if(rank < 0) - A::one_if(rank >= kCorners));
    s.rank[i] = rank + shift;
    s.origin[i] += shift;
  }
  // Selected rather than stored at an index that is only known when it runs: registers have no index.
  Real by_rank[kCorners] = {};
  for (int i = 0; i < kCorners; ++i) {
    const Real distance = A::multiply(minus(elevated[i], A::real(s.origin[i])), sixth);
    for (int k = 0; k < kCorners; ++k) by_rank[k] = s.rank[i] == k ? distance : by_rank[k];
  }
  s.barycentric[0] = A::add(every(1.0f), minus(by_rank[kDim], by_rank[0]));
  for (int k = 1; k < kCorners; ++k) s.barycentric[k] = minus(by_rank[kDim - k], by_rank[kCorners - k]);
  return s;
}

// Coordinate i of the simplex' vertex with remainder k.
template <class Real, int D>
SEGTOOL_HD typename Arithmetic<Real>::Integer vertex_coordinate(const Simplex<Real, D>& s, int k, int i) {
  return s.origin[i] + k - (D + 1) * Arithmetic<Real>::one_if(s.rank[i] > D - k);
}

// Coordinate i of the neighbour of a vertex along `axis`, one step in `direction` (+1 or -1).
template <int D = kDim>
SEGTOOL_HD int32_t neighbor_coordinate(int32_t coordinate, int i, int axis, int direction) {
  return coordinate + (i == axis ? -D * direction : direction);
}

}  // namespace segtool
