// Where a pixel lies in the permutohedral lattice: Adams, Baek, Davis, "Fast High-Dimensional Filtering
// Using the Permutohedral Lattice", Eurographics 2010, section 3. Shared by the CPU and the CUDA build.
//
// Every face of the operator must find the same vertices, bit for bit, so the float32 operations below are
// a fixed sequence: one multiply of each raw feature by a constant, sums in the stated order, no fused
// multiply-add, ties by the stated rules. bilateral/torch_lattice.py holds the same sequence in torch.
#pragma once
#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define SEGTOOL_HD __host__ __device__ inline
#else
#define SEGTOOL_HD inline
#endif

namespace segtool {

constexpr int kDim = 5;            // x, y, r, g, b
constexpr int kCorners = kDim + 1; // vertices of a simplex, and axes of the blur

SEGTOOL_HD float mul_rn(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}
SEGTOOL_HD float add_rn(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fadd_rn(a, b);
#else
  return a + b;
#endif
}
SEGTOOL_HD float sub_rn(float a, float b) { return add_rn(a, -b); }

// The lattice is built for this share of the widths: splatting and slicing blur too (see geometry.py).
constexpr double kNarrowing = 0.96;

// Multipliers of the raw features (x, y, r, g, b): computed in double from the float32 sigma, rounded once.
struct FeatureScale {
  float value[kDim];
};

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

struct Simplex {
  int32_t origin[kCorners];    // remainder-0 point
  int32_t rank[kCorners];      // 0..5, order of the coordinates' distances from it
  float barycentric[kCorners]; // weight of the vertex with remainder k
};

SEGTOOL_HD Simplex enclosing_simplex(const float feature[kDim], const FeatureScale& scale) {
  float elevated[kCorners];
  float sum = 0.0f;
  for (int j = kDim; j > 0; --j) {
    const float scaled = mul_rn(feature[j - 1], scale.value[j - 1]);
    elevated[j] = sub_rn(sum, mul_rn(float(j), scaled));
    sum = add_rn(sum, scaled);
  }
  elevated[0] = sum;

  const float sixth = 1.0f / kCorners;
  Simplex s;
  float offset[kCorners];
  int excess = 0;
  for (int i = 0; i < kCorners; ++i) {
    const float v = mul_rn(elevated[i], sixth);
    const float up = mul_rn(ceilf(v), float(kCorners));
    const float down = mul_rn(floorf(v), float(kCorners));
    // A tie goes down.
    const float nearest = sub_rn(up, elevated[i]) < sub_rn(elevated[i], down) ? up : down;
    offset[i] = sub_rn(elevated[i], nearest);
    s.origin[i] = int32_t(nearest);
    excess += s.origin[i] / kCorners;
  }
  // rank = how many coordinates lie farther up; of two equal ones the later one ranks behind.
  for (int i = 0; i < kCorners; ++i) {
    s.rank[i] = excess;
    for (int j = 0; j < kCorners; ++j) {
      s.rank[i] += j < i ? offset[j] >= offset[i] : offset[j] > offset[i];
    }
    if (s.rank[i] < 0) {
      s.rank[i] += kCorners;
      s.origin[i] += kCorners;
    } else if (s.rank[i] >= kCorners) {
      s.rank[i] -= kCorners;
      s.origin[i] -= kCorners;
    }
  }
  float by_rank[kCorners];
  for (int i = 0; i < kCorners; ++i) {
    by_rank[s.rank[i]] = mul_rn(sub_rn(elevated[i], float(s.origin[i])), sixth);
  }
  s.barycentric[0] = add_rn(1.0f, sub_rn(by_rank[kDim], by_rank[0]));
  for (int k = 1; k < kCorners; ++k) {
    s.barycentric[k] = sub_rn(by_rank[kDim - k], by_rank[kCorners - k]);
  }
  return s;
}

// Coordinate i of the simplex' vertex with remainder k.
SEGTOOL_HD int32_t vertex_coordinate(const Simplex& s, int k, int i) {
  return s.origin[i] + (s.rank[i] <= kDim - k ? k : k - kCorners);
}

// Coordinate i of the neighbour of a vertex along `axis`, one step in `direction` (+1 or -1).
SEGTOOL_HD int32_t neighbor_coordinate(int32_t coordinate, int i, int axis, int direction) {
  return coordinate + (i == axis ? -kDim * direction : direction);
}

}  // namespace segtool
