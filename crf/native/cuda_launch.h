// Launching kernels, of two kinds, so that the tests can run the same source on a CPU (tests/crf/cuda_on_cpu).
// Either a function of thread_index() and of its arguments. Or, where the threads of a block work together, a function of
// block_index() and its arguments that is a sequence of phases, each_thread(...): every phase of a block ends before the
// next begins, and what one hands to the next lies in shared_memory(). Neither uses warp operations.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>
#include <string>

#include "errors.h"

namespace segtool::cuda {

constexpr int64_t kSharedBytes = 48 * 1024;  // that a block can have on any device

// Floats that are read and written together.
template <int kWidth>
struct alignas(4 * kWidth) Piece {
  float at[kWidth];
};

#if defined(__CUDACC__)

__device__ inline int64_t thread_index() { return int64_t(blockIdx.x) * blockDim.x + threadIdx.x; }

// Runs `kernel` for thread_index() = 0 .. count - 1 and somewhat beyond; never waits.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), int64_t count, cudaStream_t stream, Arguments... arguments) {
  constexpr int kThreads = 256;
  if (count > 0) kernel<<<unsigned((count + kThreads - 1) / kThreads), kThreads, 0, stream>>>(arguments...);
}

// What other threads change meanwhile by atomic operations.
__device__ inline int32_t current_value(const int32_t* at) { return *const_cast<const volatile int32_t*>(at); }

__device__ inline int64_t block_index() { return blockIdx.x; }

__device__ inline float* shared_memory() {
  extern __shared__ float memory[];
  return memory;
}

// Calls phase(thread of the block, threads of the block). All threads of a block must come here.
template <class Phase>
__device__ void each_thread(const Phase& phase) {
  phase(int(threadIdx.x), int(blockDim.x));
  __syncthreads();
}

// Runs `kernel` for block_index() = 0 .. blocks - 1, with so many bytes of shared memory each; never waits.
template <class... Parameters, class... Arguments>
void launch_blocks(void (*kernel)(Parameters...), int64_t blocks, int threads, int64_t bytes, cudaStream_t stream,
                   Arguments... arguments) {
  kernel<<<unsigned(blocks), unsigned(threads), size_t(bytes), stream>>>(arguments...);
}

#endif

// Whether all launches so far were accepted.
inline int launched(const char* what) {
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? 0 : fail(std::string(what) + ": " + cudaGetErrorString(error));
}

}  // namespace segtool::cuda
