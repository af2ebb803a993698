// The part of ONNX Runtime's C API that the two operators use.
//
// The Python wheels ship no headers. OrtApi is an append-only table of function pointers, so the slots below
// hold for every release since API version 12 (ONNX Runtime 1.12); `self_test` checks them before use.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace ort {

struct Status;
struct SessionOptions;
struct CustomOpDomain;
struct KernelInfo;
struct KernelContext;
struct Value;
struct TensorInfo;

constexpr uint32_t kApiVersion = 12, kParallelFor = 17;
constexpr int kErrorCode = 1;  // ORT_FAIL
enum ElementType { kFloat = 1, kInt32 = 6 };

struct ApiBase {
  const void* const* (*get_api)(uint32_t version);
  const char* (*get_version)();
};

// A view of the table: each member names its slot.
class Api {
 public:
  explicit Api(const void* const* table) : table_(table) {}
  const void* const* table() const { return table_; }

  Status* create_status(const char* message) const { return at<Status* (*)(int, const char*)>(0)(kErrorCode, message); }
  const char* message(const Status* s) const { return at<const char* (*)(const Status*)>(2)(s); }
  Status* create_domain(const char* name, CustomOpDomain** out) const {
    return at<Status* (*)(const char*, CustomOpDomain**)>(26)(name, out);
  }
  Status* add_op(CustomOpDomain* domain, const struct CustomOp* op) const {
    return at<Status* (*)(CustomOpDomain*, const CustomOp*)>(27)(domain, op);
  }
  Status* add_domain(SessionOptions* options, CustomOpDomain* domain) const {
    return at<Status* (*)(SessionOptions*, CustomOpDomain*)>(28)(options, domain);
  }
  Status* data(Value* value, void** out) const { return at<Status* (*)(Value*, void**)>(51)(value, out); }
  Status* rank(const TensorInfo* info, size_t* out) const {
    return at<Status* (*)(const TensorInfo*, size_t*)>(61)(info, out);
  }
  Status* dimensions(const TensorInfo* info, int64_t* out, size_t count) const {
    return at<Status* (*)(const TensorInfo*, int64_t*, size_t)>(62)(info, out, count);
  }
  Status* tensor_info(const Value* value, TensorInfo** out) const {
    return at<Status* (*)(const Value*, TensorInfo**)>(65)(value, out);
  }
  Status* attribute(const KernelInfo* info, const char* name, float* out) const {
    return at<Status* (*)(const KernelInfo*, const char*, float*)>(85)(info, name, out);
  }
  Status* attribute(const KernelInfo* info, const char* name, int64_t* out) const {
    return at<Status* (*)(const KernelInfo*, const char*, int64_t*)>(86)(info, name, out);
  }
  Status* input(const KernelContext* context, size_t index, const Value** out) const {
    return at<Status* (*)(const KernelContext*, size_t, const Value**)>(90)(context, index, out);
  }
  Status* output(KernelContext* context, size_t index, const int64_t* shape, size_t rank, Value** out) const {
    return at<Status* (*)(KernelContext*, size_t, const int64_t*, size_t, Value**)>(91)(context, index, shape, rank, out);
  }
  void release(Status* s) const { at<void (*)(Status*)>(93)(s); }
  void release(TensorInfo* info) const { at<void (*)(TensorInfo*)>(99)(info); }

  Status* gpu_stream(const KernelContext* context, void** out) const {
    return at<Status* (*)(const KernelContext*, void**)>(193)(context, out);
  }

  // Calls fn(data, i) for i < total from the session's threads. Since API version kParallelFor.
  Status* parallel_for(const KernelContext* context, void (*fn)(void*, size_t), size_t total, void* data) const {
    return at<Status* (*)(const KernelContext*, void (*)(void*, size_t), size_t, size_t, void*)>(274)(context, fn, total,
                                                                                                    0, data);
  }

  // Proves that the table is laid out as expected: a message put into a status comes back.
  bool self_test() const {
    Status* status = create_status("segtool");
    const bool same = std::strcmp(message(status), "segtool") == 0;
    release(status);
    return same;
  }

 private:
  template <class F>
  F at(int slot) const { return reinterpret_cast<F>(const_cast<void*>(table_[slot])); }
  const void* const* table_;
};

// OrtCustomOp as of version 17. Later members are absent by the version number; room is left all the same.
struct CustomOp {
  uint32_t version;
  void* (*create_kernel)(const CustomOp*, const void* const* api, const KernelInfo*);
  const char* (*name)(const CustomOp*);
  const char* (*provider)(const CustomOp*);
  int (*input_type)(const CustomOp*, size_t);
  size_t (*input_count)(const CustomOp*);
  int (*output_type)(const CustomOp*, size_t);
  size_t (*output_count)(const CustomOp*);
  void (*compute)(void* kernel, KernelContext*);
  void (*destroy)(void* kernel);
  int (*input_characteristic)(const CustomOp*, size_t);
  int (*output_characteristic)(const CustomOp*, size_t);
  int (*input_memory_type)(const CustomOp*, size_t);
  int (*variadic_input_min)(const CustomOp*);
  int (*variadic_input_homogeneity)(const CustomOp*);
  int (*variadic_output_min)(const CustomOp*);
  int (*variadic_output_homogeneity)(const CustomOp*);
  Status* (*create_kernel_v2)(const CustomOp*, const void* const* api, const KernelInfo*, void** kernel);
  Status* (*compute_v2)(void* kernel, KernelContext*);
  Status* (*infer_shape)(const CustomOp*, void* context);
  int (*start_version)(const CustomOp*);
  int (*end_version)(const CustomOp*);
  void* reserved[8];
};

}  // namespace ort
