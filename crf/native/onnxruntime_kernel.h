// What the operators' kernels for ONNX Runtime are made with: reading inputs, writing outputs, the table of callbacks.
#pragma once
#include <cstring>
#include <memory>
#include <string>

#include "api.h"
#include "onnxruntime_api.h"

namespace ort {

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

inline Status* failure(const Api& api, const char* what) {
  return api.create_status((std::string(what) + ": " + segtool_error_message()).c_str());
}

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
