// What the operators' kernels for ONNX Runtime have in common, whatever the device: their inputs and outputs, and the
// table of callbacks.
//
// A Device gives kProvider and the functions `build` and `filter`.
#pragma once
#include <cstring>
#include <memory>
#include <string>

#include "api.h"
#include "onnxruntime_api.h"
#include "simplex.h"

namespace ort {

using segtool::kCorners;

#define RETURN_IF_ERROR(call)      \
  if (Status* status_ = (call)) {  \
    return status_;                \
  }

struct Tensor {
  void* data = nullptr;
  int64_t shape[4] = {};
};

// Reads input `index`, which must have `rank` dimensions.
inline Status* read(const Api& api, KernelContext* context, size_t index, size_t rank, const char* what,
                    Tensor* out) {
  const Value* value = nullptr;
  RETURN_IF_ERROR(api.input(context, index, &value));
  TensorInfo* info = nullptr;
  RETURN_IF_ERROR(api.tensor_info(value, &info));
  size_t found = 0;
  Status* status = api.rank(info, &found);
  if (!status && found != rank) {
    status = api.create_status((std::string(what) + " must have " + std::to_string(rank) + " dimensions, not " +
                                std::to_string(found)).c_str());
  }
  if (!status) status = api.dimensions(info, out->shape, rank);
  api.release(info);
  if (status) return status;
  return api.data(const_cast<Value*>(value), &out->data);
}

inline Status* write(const Api& api, KernelContext* context, size_t index, const int64_t* shape, size_t rank,
                     void** data) {
  Value* value = nullptr;
  RETURN_IF_ERROR(api.output(context, index, shape, rank, &value));
  return api.data(value, data);
}

// The CUDA kernels, when the library has them.
const CustomOp* cuda_lattice_op();
const CustomOp* cuda_filter_op();

inline Status* failure(const Api& api, const char* what) {
  return api.create_status((std::string(what) + ": " + segtool_error_message()).c_str());
}

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

// Fills the table of callbacks for a kernel. version 17: errors travel as a returned status.
template <class Kernel>
CustomOp make_op() {
  CustomOp op = {};
  op.version = 17;
  op.name = [](const CustomOp*) { return Kernel::kName; };
  op.provider = [](const CustomOp*) -> const char* { return Kernel::kProvider; };
  op.input_type = [](const CustomOp*, size_t i) { return Kernel::input_type(i); };
  op.input_count = [](const CustomOp*) { return Kernel::kInputs; };
  op.output_type = [](const CustomOp*, size_t i) { return Kernel::output_type(i); };
  op.output_count = [](const CustomOp*) { return Kernel::kOutputs; };
  op.input_characteristic = [](const CustomOp*, size_t) { return 0; };  // required
  op.output_characteristic = op.input_characteristic;
  op.input_memory_type = [](const CustomOp*, size_t) { return 0; };  // default
  op.variadic_input_min = [](const CustomOp*) { return 1; };
  op.variadic_output_min = op.variadic_input_min;
  op.variadic_input_homogeneity = op.variadic_input_min;
  op.variadic_output_homogeneity = op.variadic_input_min;
  op.start_version = [](const CustomOp*) { return 1; };
  op.end_version = [](const CustomOp*) { return INT32_MAX; };
  op.create_kernel_v2 = [](const CustomOp*, const void* const* table, const KernelInfo* info,
                           void** out) -> Status* {
    auto kernel = std::unique_ptr<Kernel>(new Kernel{Api(table)});
    RETURN_IF_ERROR(kernel->read_attributes(info));
    *out = kernel.release();
    return nullptr;
  };
  op.compute_v2 = [](void* kernel, KernelContext* context) {
    return static_cast<Kernel*>(kernel)->compute(context);
  };
  op.destroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
  return op;
}

}  // namespace ort
