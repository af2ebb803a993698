// Launching kernels. A kernel is a function of thread_index() and of its arguments; it uses no shared memory and no
// warp operations, so that the tests can run the same source on a CPU (tests/bilateral/cuda_on_cpu).
#pragma once
#include <cuda_runtime.h>

#include <cstdint>
#include <string>

#include "errors.h"

namespace segtool::cuda {

#if defined(__CUDACC__)

__device__ inline int64_t thread_index() { return int64_t(blockIdx.x) * blockDim.x + threadIdx.x; }

// Runs `kernel` for thread_index() = 0 .. count - 1 and somewhat beyond; never waits.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), int64_t count, cudaStream_t stream, Arguments... arguments) {
  constexpr int kThreads = 256;
  if (count > 0) kernel<<<unsigned((count + kThreads - 1) / kThreads), kThreads, 0, stream>>>(arguments...);
}

#endif

// Whether all launches so far were accepted.
inline int launched(const char* what) {
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? 0 : fail(std::string(what) + ": " + cudaGetErrorString(error));
}

}  // namespace segtool::cuda
