// Enough of CUDA to run the kernels' source on a CPU, thread after thread in a scrambled order. It shows that their
// logic is right whatever the order; not that they are free of races, nor how fast they are.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#define __global__
#define __device__
using std::exp;
using std::fabs;
using std::frexp;
using std::ldexp;
using std::rint;
using std::sqrt;

using cudaStream_t = void*;
using cudaError_t = int;
constexpr cudaError_t cudaSuccess = 0;
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return ""; }
inline cudaError_t cudaMemsetAsync(void* data, int value, size_t bytes, cudaStream_t) {
  std::memset(data, value, bytes);
  return cudaSuccess;
}

enum cudaMemcpyKind { cudaMemcpyDeviceToHost };
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaMallocAsync(void** out, size_t bytes, cudaStream_t) {
  *out = std::malloc(bytes);
  return *out ? cudaSuccess : 2;
}
inline cudaError_t cudaFreeAsync(void* data, cudaStream_t) {
  std::free(data);
  return cudaSuccess;
}

template <class T>
T atomicAdd(T* at, T value) {
  const T old = *at;
  *at = old + value;
  return old;
}
inline int32_t atomicCAS(int32_t* at, int32_t expected, int32_t value) {
  const int32_t old = *at;
  if (old == expected) *at = value;
  return old;
}
inline int32_t atomicOr(int32_t* at, int32_t bits) {
  const int32_t old = *at;
  *at = old | bits;
  return old;
}
inline uint32_t atomicMax(uint32_t* at, uint32_t value) {
  const uint32_t old = *at;
  if (value > old) *at = value;
  return old;
}

namespace segtool::cuda {

inline int64_t& thread_index_slot() {
  static int64_t index = 0;
  return index;
}
inline int64_t thread_index() { return thread_index_slot(); }

// Which order threads run in; the test changes it between calls.
inline uint64_t& thread_order() {
  static uint64_t order = 1;
  return order;
}

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), int64_t count, cudaStream_t, Arguments... arguments) {
  if (count <= 0) return;
  const uint64_t threads = (uint64_t(count) + 255) / 256 * 256;
  uint64_t padded = 256;  // an odd step visits all of a power of two
  while (padded < threads) padded *= 2;
  for (uint64_t i = 0; i < padded; ++i) {
    const uint64_t index = (i * (2 * thread_order() * 40503 + 1) + thread_order()) % padded;
    if (index >= threads) continue;
    thread_index_slot() = int64_t(index);
    kernel(arguments...);
  }
}

// Threads of the block that runs now, and what they share.
struct Block {
  int64_t index = 0;
  int threads = 0;
  std::vector<float> memory;
};
inline Block& block() {
  static Block now;
  return now;
}
inline int64_t block_index() { return block().index; }
inline float* shared_memory() { return block().memory.data(); }

template <class Phase>
void each_thread(const Phase& phase) {
  const int threads = block().threads, begin = int(thread_order() % uint64_t(threads));
  for (int i = 0; i < threads; ++i) phase((begin + i) % threads, threads);
}

template <class... Parameters, class... Arguments>
void launch_blocks(void (*kernel)(Parameters...), int64_t blocks, int threads, int64_t bytes, cudaStream_t,
                   Arguments... arguments) {
  for (int64_t i = 0; i < blocks; ++i) {
    // What it holds at first is not a number: nobody may count on it.
    block() = {blocks - 1 - i, threads, std::vector<float>(size_t(bytes) / sizeof(float), NAN)};
    kernel(arguments...);
  }
}

}  // namespace segtool::cuda
