// segtool::BilateralLattice and segtool::BilateralFilter for ONNX Runtime (CPU execution provider).
#include <memory>
#include <new>
#include <string>

#include "api.h"
#include "onnxruntime_api.h"
#include "simplex.h"

namespace {

using ort::Status;
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
Status* read(const ort::Api& api, ort::KernelContext* context, size_t index, size_t rank, const char* what,
             Tensor* out) {
  const ort::Value* value = nullptr;
  RETURN_IF_ERROR(api.input(context, index, &value));
  ort::TensorInfo* info = nullptr;
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
  return api.data(const_cast<ort::Value*>(value), &out->data);
}

Status* write(const ort::Api& api, ort::KernelContext* context, size_t index, const int64_t* shape, size_t rank,
              void** data) {
  ort::Value* value = nullptr;
  RETURN_IF_ERROR(api.output(context, index, shape, rank, &value));
  return api.data(value, data);
}

struct LatticeKernel {
  ort::Api api;
  float spatial_sigma = 0, color_sigma = 0;

  static constexpr const char* kName = "BilateralLattice";
  static constexpr size_t kInputs = 1, kOutputs = 3;
  static int input_type(size_t) { return ort::kFloat; }
  static int output_type(size_t index) { return index == 1 ? ort::kFloat : ort::kInt32; }

  Status* read_attributes(const ort::KernelInfo* info) {
    RETURN_IF_ERROR(api.attribute(info, "spatial_sigma", &spatial_sigma));
    return api.attribute(info, "color_sigma", &color_sigma);
  }

  Status* compute(ort::KernelContext* context) const {
    Tensor image;
    RETURN_IF_ERROR(read(api, context, 0, 4, "BilateralLattice: image", &image));
    const int64_t *s = image.shape, shape[2] = {s[0] * s[2] * s[3], kCorners};
    if (s[1] != 3) return api.create_status("BilateralLattice: image must have 3 channels");
    void *vertex, *weight, *neighbor;
    RETURN_IF_ERROR(write(api, context, 0, shape, 2, &vertex));
    RETURN_IF_ERROR(write(api, context, 1, shape, 2, &weight));
    int64_t vertex_count = 0;
    segtool_lattice* lattice = nullptr;
    if (segtool_lattice_build(static_cast<float*>(image.data), s[0], s[2], s[3], spatial_sigma, color_sigma,
                              static_cast<int32_t*>(vertex), static_cast<float*>(weight), &vertex_count, &lattice)) {
      return api.create_status((std::string("BilateralLattice: ") + segtool_error_message()).c_str());
    }
    const int64_t neighbor_shape[3] = {kCorners, 2, vertex_count};
    Status* status = write(api, context, 2, neighbor_shape, 3, &neighbor);
    if (!status) segtool_lattice_neighbors(lattice, static_cast<int32_t*>(neighbor));
    segtool_lattice_free(lattice);
    return status;
  }
};

struct FilterKernel {
  ort::Api api;
  int64_t reverse = 0;

  static constexpr const char* kName = "BilateralFilter";
  static constexpr size_t kInputs = 4, kOutputs = 1;
  static int input_type(size_t index) { return index == 0 || index == 2 ? ort::kFloat : ort::kInt32; }
  static int output_type(size_t) { return ort::kFloat; }

  Status* read_attributes(const ort::KernelInfo* info) { return api.attribute(info, "reverse", &reverse); }

  Status* compute(ort::KernelContext* context) const {
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
    if (segtool_filter(static_cast<float*>(values.data), static_cast<int32_t*>(vertex.data),
                       static_cast<float*>(weight.data), static_cast<int32_t*>(neighbor.data), s[0], s[1], pixels,
                       neighbor.shape[2], reverse != 0, 0, static_cast<float*>(out))) {
      return api.create_status((std::string("BilateralFilter: ") + segtool_error_message()).c_str());
    }
    return nullptr;
  }
};

// Fills the table of callbacks for a kernel. version 17: errors travel as a returned status.
template <class Kernel>
ort::CustomOp make_op() {
  ort::CustomOp op = {};
  op.version = 17;
  op.name = [](const ort::CustomOp*) { return Kernel::kName; };
  op.provider = [](const ort::CustomOp*) -> const char* { return "CPUExecutionProvider"; };
  op.input_type = [](const ort::CustomOp*, size_t i) { return Kernel::input_type(i); };
  op.input_count = [](const ort::CustomOp*) { return Kernel::kInputs; };
  op.output_type = [](const ort::CustomOp*, size_t i) { return Kernel::output_type(i); };
  op.output_count = [](const ort::CustomOp*) { return Kernel::kOutputs; };
  op.input_characteristic = [](const ort::CustomOp*, size_t) { return 0; };  // required
  op.output_characteristic = op.input_characteristic;
  op.input_memory_type = [](const ort::CustomOp*, size_t) { return 0; };  // default
  op.variadic_input_min = [](const ort::CustomOp*) { return 1; };
  op.variadic_output_min = op.variadic_input_min;
  op.variadic_input_homogeneity = op.variadic_input_min;
  op.variadic_output_homogeneity = op.variadic_input_min;
  op.start_version = [](const ort::CustomOp*) { return 1; };
  op.end_version = [](const ort::CustomOp*) { return INT32_MAX; };
  op.create_kernel_v2 = [](const ort::CustomOp*, const void* const* table, const ort::KernelInfo* info,
                           void** out) -> Status* {
    auto kernel = std::unique_ptr<Kernel>(new Kernel{ort::Api(table)});
    RETURN_IF_ERROR(kernel->read_attributes(info));
    *out = kernel.release();
    return nullptr;
  };
  op.compute_v2 = [](void* kernel, ort::KernelContext* context) {
    return static_cast<Kernel*>(kernel)->compute(context);
  };
  op.destroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
  return op;
}

}  // namespace

// The entry point that SessionOptions.register_custom_ops_library looks for.
SEGTOOL_API Status* RegisterCustomOps(ort::SessionOptions* options, const ort::ApiBase* base) {
  const ort::Api api(base->get_api(ort::kApiVersion));
  if (!api.table() || !api.self_test()) return nullptr;  // unknown layout: the portable bodies still run
  static const ort::CustomOp lattice = make_op<LatticeKernel>();
  static const ort::CustomOp filter = make_op<FilterKernel>();
  // The domain must outlive every session made with these options, so it is kept for the process.
  static ort::CustomOpDomain* domain = nullptr;
  static Status* const failed = [&]() -> Status* {
    RETURN_IF_ERROR(api.create_domain("segtool", &domain));
    RETURN_IF_ERROR(api.add_op(domain, &lattice));
    return api.add_op(domain, &filter);
  }();
  if (failed) return api.create_status(api.message(failed));
  return api.add_domain(options, domain);
}
