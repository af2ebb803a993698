#include "cuda_runtime.h"

extern "C" __attribute__((visibility("default"))) void segtool_cuda_on_cpu_order(uint64_t order) {
  segtool::cuda::thread_order() = order;
}
