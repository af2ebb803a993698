#include "operators.h"

#include <cmath>

#include "../api.h"

namespace segtool::tensorrt {
namespace {

using nvinfer1::DataType;
using nvinfer1::DimensionOperation;
using nvinfer1::Dims;
using nvinfer1::DimsExprs;
using nvinfer1::IDimensionExpr;
using nvinfer1::IExprBuilder;
using nvinfer1::PluginFieldType;

constexpr int64_t kCorners = 6;
constexpr int64_t kSmallestCapacity = 1 << 14;  // vertices of an image; small images have more of them a pixel

class Extents {
 public:
  explicit Extents(IExprBuilder& builder) : builder_(builder) {}
  const IDimensionExpr* number(int64_t value) { return builder_.constant(value); }
  const IDimensionExpr* times(const IDimensionExpr* a, const IDimensionExpr* b) {
    return builder_.operation(DimensionOperation::kPROD, *a, *b);
  }
  const IDimensionExpr* divided_up(const IDimensionExpr* a, int64_t b) {
    return builder_.operation(DimensionOperation::kCEIL_DIV, *a, *number(b));
  }
  const IDimensionExpr* least(const IDimensionExpr* a, const IDimensionExpr* b) {
    return builder_.operation(DimensionOperation::kMIN, *a, *b);
  }
  const IDimensionExpr* most(const IDimensionExpr* a, const IDimensionExpr* b) {
    return builder_.operation(DimensionOperation::kMAX, *a, *b);
  }

 private:
  IExprBuilder& builder_;
};

DimsExprs shape(std::initializer_list<const IDimensionExpr*> extents) {
  DimsExprs found{};
  for (const IDimensionExpr* extent : extents) found.d[found.nbDims++] = extent;
  return found;
}

// `vertices_per_pixel`, at least 16,384 an image, at most six a pixel.
const IDimensionExpr* capacity(const IDimensionExpr* pixels, const IDimensionExpr* images, double per_pixel, Extents e) {
  const IDimensionExpr* share = e.divided_up(e.times(pixels, e.number(std::llrint(1000 * per_pixel))), 1000);
  return e.least(e.times(pixels, e.number(kCorners)), e.most(share, e.times(images, e.number(kSmallestCapacity))));
}

void lattice_shapes(const DimsExprs* inputs, const Values& fields, IExprBuilder& builder, DimsExprs* outputs) {
  Extents e(builder);
  const auto* image = inputs[0].d;
  const IDimensionExpr* pixels = e.times(image[0], e.times(image[2], image[3]));
  outputs[0] = outputs[1] = shape({pixels, e.number(kCorners)});
  outputs[2] = shape({e.number(kCorners), e.number(2), capacity(pixels, image[0], fields[2], e)});
  outputs[3] = shape({e.number(2)});
}

int64_t lattice_workspace(const Dims* inputs, const Dims* outputs, const Values&) {
  const int64_t* image = inputs[0].d;
  return segtool_cuda_lattice_workspace(image[0], image[2], image[3], outputs[2].d[2]);
}

int lattice_enqueue(const Launch& run) {
  const int64_t* image = run.inputs[0].dims.d;
  const int64_t capacity = run.outputs[2].dims.d[2];
  const auto* levels = static_cast<const float*>(run.given[0]);
  auto* vertex = static_cast<int32_t*>(run.wanted[0]);
  auto* weight = static_cast<float*>(run.wanted[1]);
  auto* neighbor = static_cast<int32_t*>(run.wanted[2]);
  auto* status = static_cast<int32_t*>(run.wanted[3]);
  const double spatial_sigma = run.fields[0], color_sigma = run.fields[1];
  const int failed =
      segtool_cuda_lattice_insert(levels, image[0], image[2], image[3], spatial_sigma, color_sigma, capacity, vertex,
                                  weight, status, run.workspace, run.stream);
  if (failed) return failed;
  return segtool_cuda_lattice_link(levels, image[0], image[2], image[3], spatial_sigma, color_sigma, capacity,
                                   capacity, vertex, weight, neighbor, status, run.workspace, run.stream);
}

void first_shape(const DimsExprs* inputs, const Values&, IExprBuilder&, DimsExprs* outputs) { outputs[0] = inputs[0]; }

int64_t filter_workspace(const Dims* inputs, const Dims*, const Values&) {
  return segtool_cuda_filter_workspace(inputs[0].d[1], inputs[3].d[2], 0);
}

int filter_enqueue(const Launch& run) {
  const int64_t* values = run.inputs[0].dims.d;
  const int channels_last = 0, deterministic = 0;
  return segtool_cuda_filter(static_cast<const float*>(run.given[0]), static_cast<const int32_t*>(run.given[1]),
                             static_cast<const float*>(run.given[2]), static_cast<const int32_t*>(run.given[3]),
                             static_cast<const int32_t*>(run.given[4]), values[0], values[1], values[2] * values[3], run.inputs[3].dims.d[2], int(run.fields[0]),
                             channels_last, deterministic, static_cast<float*>(run.wanted[0]), run.workspace,
                             run.stream);
}

int64_t spatial_workspace(const Dims* inputs, const Dims*, const Values& fields) {
  const int64_t* values = inputs[0].d;
  return segtool_cuda_spatial_workspace(values[0] * values[1], values[2], values[3], 1, fields[0]);
}

int spatial_enqueue(const Launch& run) {
  const int64_t* values = run.inputs[0].dims.d;
  return segtool_cuda_spatial_filter(static_cast<const float*>(run.given[0]), values[0] * values[1], values[2],
                                     values[3], 1, run.fields[0], static_cast<float*>(run.wanted[0]), run.workspace,
                                     run.stream);
}

int64_t no_workspace(const Dims*, const Dims*, const Values&) { return 0; }

int update_enqueue(const Launch& run) {
  const int64_t* unary = run.inputs[0].dims.d;
  const float* given[5];
  for (int i = 0; i < 5; ++i) given[i] = static_cast<const float*>(run.given[i]);
  const int channels_last = 0;
  return segtool_cuda_mean_field_update(given[0], given[1], given[2], given[3], given[4], unary[0], unary[1],
                                        unary[2] * unary[3], int(run.fields[0]), channels_last,
                                        static_cast<float*>(run.wanted[0]), run.stream);
}

constexpr auto kReal = PluginFieldType::kFLOAT32;
constexpr auto kWhole = PluginFieldType::kINT32;
constexpr auto kF = DataType::kFLOAT;
constexpr auto kI = DataType::kINT32;

}  // namespace

const std::vector<Operator>& operators() {
  static const std::vector<Operator> all = {
      {"BilateralLattice",
       {{"spatial_sigma", kReal, 0}, {"color_sigma", kReal, 0}, {"vertices_per_pixel", kReal, 0.5}},
       {kF},
       {kI, kF, kI, kI},
       lattice_shapes,
       lattice_workspace,
       lattice_enqueue},
      {"BilateralFilter", {{"reverse", kWhole, 0}}, {kF, kI, kF, kI, kI}, {kF}, first_shape, filter_workspace, filter_enqueue},
      {"SpatialFilter", {{"sigma", kReal, 0}}, {kF}, {kF}, first_shape, spatial_workspace, spatial_enqueue},
      {"MeanFieldUpdate", {{"normalize", kWhole, 1}}, {kF, kF, kF, kF, kF}, {kF}, first_shape, no_workspace, update_enqueue},
  };
  return all;
}

}  // namespace segtool::tensorrt
