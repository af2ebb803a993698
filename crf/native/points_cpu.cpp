// The lattice of points with any number of features, on the CPU.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "api.h"
#include "errors.h"
#include "lattice_bands.h"

namespace {

using segtool::kBandPixels;
using segtool::kLanes;
using segtool::Lanes;
using segtool::share_each;

constexpr double kFarthest = 1 << 28;  // of a vertex' coordinates, so that neighbours and sums fit into 32 bits

// Points and where their vertices and weights go.
struct Points {
  const float* feature;  // [D, count]
  int64_t count;
  int32_t* vertex;
  float* weight;
};

template <int D>
segtool::Scales<D> scales() {
  segtool::Scales<D> found;
  for (int j = 0; j < D; ++j) found.value[j] = float(segtool::unit_scale(D, j));
  return found;
}

template <int D>
SEGTOOL_INLINE void enclose_as(const float* feature, int64_t stride, int64_t count, segtool::Run<D>* run) {
  Lanes of_run[D];
  for (int j = 0; j < D; ++j) of_run[j] = segtool::load_some(feature + j * stride, count);
  segtool::store_run(segtool::enclosing_simplex(of_run, scales<D>()), run);
}

// Templates cannot be compiled for several instruction sets: each number of features has a function of its own.
template <int D>
void enclose(const float* feature, int64_t stride, int64_t count, segtool::Run<D>* run);
#define SEGTOOL_ENCLOSE(D)                                                                                   \
  SEGTOOL_CLONES void enclose_##D(const float* feature, int64_t stride, int64_t count, segtool::Run<D>* run) { \
    enclose_as<D>(feature, stride, count, run);                                                              \
  }                                                                                                          \
  template <>                                                                                                \
  void enclose<D>(const float* feature, int64_t stride, int64_t count, segtool::Run<D>* run) {                \
    enclose_##D(feature, stride, count, run);                                                                \
  }
SEGTOOL_ENCLOSE(1)
SEGTOOL_ENCLOSE(2)
SEGTOOL_ENCLOSE(3)
SEGTOOL_ENCLOSE(4)
SEGTOOL_ENCLOSE(5)
SEGTOOL_ENCLOSE(6)
SEGTOOL_ENCLOSE(7)
SEGTOOL_ENCLOSE(8)
SEGTOOL_ENCLOSE(9)
SEGTOOL_ENCLOSE(10)
SEGTOOL_ENCLOSE(11)
SEGTOOL_ENCLOSE(12)
SEGTOOL_ENCLOSE(13)
SEGTOOL_ENCLOSE(14)
SEGTOOL_ENCLOSE(15)
SEGTOOL_ENCLOSE(16)

template <int D>
void enclose_band(const Points& points, segtool::Numbered<D>& band) {
  segtool::Run<D> run;
  for (int64_t p = band.begin / (D + 1); p < band.end / (D + 1); p += kLanes) {
    const int64_t count = std::min<int64_t>(kLanes, band.end / (D + 1) - p), entry = p * (D + 1);
    enclose<D>(points.feature + p, points.count, count, &run);
    segtool::number_run(run, count, band.table, points.vertex + entry, points.weight + entry);
  }
}

template <int D>
std::unique_ptr<segtool_lattice> build(const Points& points) {
  const int64_t count = std::max<int64_t>(points.count / kBandPixels, 1);
  std::vector<segtool::Numbered<D>> bands(count);
  for (int64_t i = 0; i < count; ++i) {
    bands[i].begin = points.count * i / count * (D + 1);
    bands[i].end = points.count * (i + 1) / count * (D + 1);
  }
  if (!share_each(count, [&](int64_t i) { enclose_band<D>(points, bands[i]); })) throw std::bad_alloc();
  const auto table = segtool::join_bands<D>(bands.begin(), bands.end(), 0);
  share_each(count, [&](int64_t i) { segtool::renumber(bands[i], points.vertex); });
  auto owned = std::make_unique<segtool_lattice>();
  owned->vertex_count = table.size();
  owned->neighbor.resize(2 * (D + 1) * table.size());
  segtool::link_neighbors(table, 0, table.size(), owned->neighbor.data());
  return owned;
}

template <int D>
std::unique_ptr<segtool_lattice> build_of(int64_t dims, const Points& points) {
  if constexpr (D > segtool::kMostDims) {
    return nullptr;
  } else {
    return dims == D ? build<D>(points) : build_of<D + 1>(dims, points);
  }
}

int check(const float* feature, int64_t dims, int64_t count) {
  if (dims < 1 || dims > segtool::kMostDims) return segtool::fail("features: there may be 1 to 16 for each point");
  if (count < 1) return segtool::fail("features: there are no points");
  if (count > INT32_MAX / (dims + 1)) return segtool::fail("features: too many points for 32 bits");
  double reach = 0;
  for (int64_t j = 0; j < dims; ++j) {
    float farthest = 0;
    for (int64_t p = 0; p < count; ++p) {
      const float size = std::fabs(feature[j * count + p]);
      if (!(size <= 3.4e38f)) {
        return segtool::fail("features: feature " + std::to_string(j) + " of point " + std::to_string(p) +
                             " is no finite number");
      }
      farthest = std::max(farthest, size);
    }
    reach += farthest * segtool::unit_scale(int(dims), int(j)) * double(j + 1);
  }
  if (reach > kFarthest) {
    return segtool::fail("features: too far from 0 in units of their standard deviation; subtract their mean, or use wider kernels");
  }
  return 0;
}

}  // namespace

int segtool_points_build(const float* features, int64_t dims, int64_t count, int32_t* vertex, float* weight,
                         int64_t* vertex_count, segtool_lattice** lattice) try {
  *lattice = nullptr;
  if (check(features, dims, count)) return 1;
  auto owned = build_of<1>(dims, {features, count, vertex, weight});
  *vertex_count = owned->vertex_count;
  *lattice = owned.release();
  return 0;
} catch (const std::bad_alloc&) {
  return segtool::fail("out of memory while building the lattice");
}
