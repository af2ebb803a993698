// The operators for ONNX Runtime, whatever the device: their attributes, inputs and outputs.
//
// A Device gives kProvider and the functions `build`, `filter`, `spatial` and `update`.
#pragma once
#include "onnxruntime_kernel.h"
#include "simplex.h"

namespace ort {

using segtool::kCorners;

struct LatticeArguments {
  const float* image;
  int64_t n, height, width;
  float spatial_sigma, color_sigma;
  int32_t* vertex;
  float* weight;
};

struct FilterArguments {
  const float* values;
  const int32_t* vertex;
  const float* weight;
  const int32_t* neighbor;
  int64_t n, channels, pixels, capacity;
  bool reverse;
  float* out;
};

template <class Device>
struct LatticeKernel {
  Api api;
  float spatial_sigma = 0, color_sigma = 0;

  static constexpr const char* kName = "BilateralLattice";
  static constexpr const char* kProvider = Device::kProvider;
  static constexpr size_t kInputs = 1, kOutputs = 3;
  static int input_type(size_t) { return kFloat; }
  static int output_type(size_t index) { return index == 1 ? kFloat : kInt32; }

  Status* read_attributes(const KernelInfo* info) {
    RETURN_IF_ERROR(api.attribute(info, "spatial_sigma", &spatial_sigma));
    return api.attribute(info, "color_sigma", &color_sigma);
  }

  Status* compute(KernelContext* context) const {
    Tensor image;
    RETURN_IF_ERROR(read(api, context, 0, 4, "BilateralLattice: image", &image));
    const int64_t *s = image.shape, shape[2] = {s[0] * s[2] * s[3], kCorners};
    if (s[1] != 3) return api.create_status("BilateralLattice: image must have 3 channels");
    void *vertex, *weight;
    RETURN_IF_ERROR(write(api, context, 0, shape, 2, &vertex));
    RETURN_IF_ERROR(write(api, context, 1, shape, 2, &weight));
    const auto new_neighbor = [&](int64_t vertex_count, int32_t** neighbor) {
      const int64_t neighbor_shape[3] = {kCorners, 2, vertex_count};
      return write(api, context, 2, neighbor_shape, 3, reinterpret_cast<void**>(neighbor));
    };
    return Device::build(api, context,
                         {static_cast<float*>(image.data), s[0], s[2], s[3], spatial_sigma, color_sigma,
                          static_cast<int32_t*>(vertex), static_cast<float*>(weight)},
                         new_neighbor);
  }
};

template <class Device>
struct FilterKernel {
  Api api;
  int64_t reverse = 0;

  static constexpr const char* kName = "BilateralFilter";
  static constexpr const char* kProvider = Device::kProvider;
  static constexpr size_t kInputs = 4, kOutputs = 1;
  static int input_type(size_t index) { return index == 0 || index == 2 ? kFloat : kInt32; }
  static int output_type(size_t) { return kFloat; }

  Status* read_attributes(const KernelInfo* info) { return api.attribute(info, "reverse", &reverse); }

  Status* compute(KernelContext* context) const {
    Tensor values, vertex, weight, neighbor;
    RETURN_IF_ERROR(read(api, context, 0, 4, "BilateralFilter: values", &values));
    RETURN_IF_ERROR(read(api, context, 1, 2, "BilateralFilter: vertex", &vertex));
    RETURN_IF_ERROR(read(api, context, 2, 2, "BilateralFilter: weight", &weight));
    RETURN_IF_ERROR(read(api, context, 3, 3, "BilateralFilter: neighbor", &neighbor));
    const int64_t *s = values.shape, pixels = s[2] * s[3];
    if (vertex.shape[0] != s[0] * pixels || weight.shape[0] != s[0] * pixels || vertex.shape[1] != kCorners ||
        weight.shape[1] != kCorners || neighbor.shape[0] != kCorners || neighbor.shape[1] != 2) {
      return api.create_status("BilateralFilter: vertex and weight must be [N*H*W,6] and neighbor [6,2,M]");
    }
    void* out;
    RETURN_IF_ERROR(write(api, context, 0, s, 4, &out));
    return Device::filter(api, context,
                          {static_cast<float*>(values.data), static_cast<int32_t*>(vertex.data),
                           static_cast<float*>(weight.data), static_cast<int32_t*>(neighbor.data), s[0], s[1], pixels,
                           neighbor.shape[2], reverse != 0, static_cast<float*>(out)});
  }
};

struct SpatialArguments {
  const float* values;
  int64_t planes, height, width;
  float sigma;
  float* out;
};

template <class Device>
struct SpatialKernel {
  Api api;
  float sigma = 0;

  static constexpr const char* kName = "SpatialFilter";
  static constexpr const char* kProvider = Device::kProvider;
  static constexpr size_t kInputs = 1, kOutputs = 1;
  static int input_type(size_t) { return kFloat; }
  static int output_type(size_t) { return kFloat; }

  Status* read_attributes(const KernelInfo* info) { return api.attribute(info, "sigma", &sigma); }

  Status* compute(KernelContext* context) const {
    Tensor values;
    RETURN_IF_ERROR(read(api, context, 0, 4, "SpatialFilter: values", &values));
    void* out;
    RETURN_IF_ERROR(write(api, context, 0, values.shape, 4, &out));
    const int64_t* s = values.shape;
    return Device::spatial(api, context,
                           {static_cast<float*>(values.data), s[0] * s[1], s[2], s[3], sigma, static_cast<float*>(out)});
  }
};

struct UpdateArguments {
  const float *unary, *spatial, *bilateral, *spatial_table, *bilateral_table;
  int64_t n, channels, pixels;
  bool normalize;
  float* out;
};

template <class Device>
struct UpdateKernel {
  Api api;
  int64_t normalize = 0;

  static constexpr const char* kName = "MeanFieldUpdate";
  static constexpr const char* kProvider = Device::kProvider;
  static constexpr size_t kInputs = 5, kOutputs = 1;
  static int input_type(size_t) { return kFloat; }
  static int output_type(size_t) { return kFloat; }

  Status* read_attributes(const KernelInfo* info) { return api.attribute(info, "normalize", &normalize); }

  Status* compute(KernelContext* context) const {
    Tensor values[3], tables[2];
    for (size_t i = 0; i < 3; ++i) RETURN_IF_ERROR(read(api, context, i, 4, "MeanFieldUpdate: values", &values[i]));
    for (size_t i = 0; i < 2; ++i) RETURN_IF_ERROR(read(api, context, 3 + i, 2, "MeanFieldUpdate: table", &tables[i]));
    const int64_t* s = values[0].shape;
    bool fits = true;
    for (const Tensor& other : values) fits &= std::memcmp(other.shape, s, sizeof(other.shape)) == 0;
    for (const Tensor& table : tables) fits &= table.shape[0] == s[1] && table.shape[1] == s[1];
    if (!fits) return api.create_status("MeanFieldUpdate: values must be of one shape [N,C,H,W] and tables [C,C]");
    void* out;
    RETURN_IF_ERROR(write(api, context, 0, s, 4, &out));
    const auto floats = [](const Tensor& t) { return static_cast<const float*>(t.data); };
    return Device::update(api, context,
                          {floats(values[0]), floats(values[1]), floats(values[2]), floats(tables[0]),
                           floats(tables[1]), s[0], s[1], s[2] * s[3], normalize != 0, static_cast<float*>(out)});
  }
};

// The four operators of a device, made once.
template <class Device>
Status* add_operators(const Api& api, CustomOpDomain* domain) {
  static const CustomOp operators[] = {make_op<LatticeKernel<Device>>(), make_op<FilterKernel<Device>>(),
                                       make_op<SpatialKernel<Device>>(), make_op<UpdateKernel<Device>>()};
  for (const CustomOp& op : operators) RETURN_IF_ERROR(api.add_op(domain, &op));
  return nullptr;
}

// In onnxruntime_cuda.cu.
Status* add_cuda_operators(const Api& api, CustomOpDomain* domain);

}  // namespace ort
