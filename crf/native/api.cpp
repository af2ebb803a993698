#include "api.h"
#include "errors.h"

namespace {
thread_local std::string error_message;
}

namespace segtool {
int fail(const std::string& message) {
  error_message = message;
  return 1;
}
}  // namespace segtool

const char* segtool_error_message() { return error_message.c_str(); }

int segtool_has_cuda() {
#if defined(SEGTOOL_WITH_CUDA)
  return 1;
#else
  return 0;
#endif
}

#if !defined(SEGTOOL_WITH_CUDA)
static int no_cuda() { return segtool::fail("this segtool library was built without CUDA"); }
int64_t segtool_cuda_lattice_workspace(int64_t, int64_t, int64_t, int64_t) { return no_cuda(), -1; }
int segtool_cuda_lattice_insert(const float*, int64_t, int64_t, int64_t, double, double, int64_t, int32_t*, float*,
                                int32_t*, void*, void*) {
  return no_cuda();
}
int segtool_cuda_lattice_link(const float*, int64_t, int64_t, int64_t, double, double, int64_t, int64_t, int32_t*,
                              float*, int32_t*, const int32_t*, void*, void*) {
  return no_cuda();
}
int64_t segtool_cuda_filter_workspace(int64_t, int64_t, int) { return no_cuda(), -1; }
int segtool_cuda_filter(const float*, const int32_t*, const float*, const int32_t*, const int32_t*, int64_t, int64_t,
                        int64_t, int64_t, int, int, int, float*, void*, void*) {
  return no_cuda();
}
int64_t segtool_cuda_spatial_workspace(int64_t, int64_t, int64_t, int64_t, double) { return no_cuda(), -1; }
int segtool_cuda_spatial_filter(const float*, int64_t, int64_t, int64_t, int64_t, double, float*, void*, void*) {
  return no_cuda();
}
int segtool_cuda_mean_field_update(const float*, const float*, const float*, const float*, const float*, int64_t,
                                   int64_t, int64_t, int, int, float*, void*) {
  return no_cuda();
}
int64_t segtool_cuda_mean_field_workspace(int64_t, int64_t, int64_t, int64_t, double, int64_t, int) {
  return no_cuda(), -1;
}
int segtool_cuda_mean_field(const float*, const float*, int64_t, int64_t, int64_t, int64_t, double, double, double,
                            const float*, const float*, int, int64_t, int, float*, int32_t*, void*, void*) {
  return no_cuda();
}
#endif
