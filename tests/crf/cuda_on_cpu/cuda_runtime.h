// Enough of CUDA to run the kernels' source on a CPU. Thread after thread in a scrambled order, which shows that their
// logic is right whatever the order. Or, with SEGTOOL_CUDA_ON_THREADS, on several threads of the CPU at once, blocks and
// the threads of a block both, so that the thread sanitizer sees what races. Or, with SEGTOOL_CUDA_IN_STEP, in step, which
// shows what comes of all of them being at the same place. Nothing is said of how fast they are.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#if defined(SEGTOOL_CUDA_IN_STEP)
#include "in_step.h"
#endif

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
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }

enum cudaMemAllocationType { cudaMemAllocationTypePinned = 1 };
enum cudaMemLocationType { cudaMemLocationTypeDevice = 1 };
enum cudaMemPoolAttr { cudaMemPoolAttrReleaseThreshold = 4 };
struct cudaMemLocation {
  cudaMemLocationType type;
  int id;
};
struct cudaMemPoolProps {
  cudaMemAllocationType allocType;
  cudaMemLocation location;
};
using cudaMemPool_t = cudaMemPoolProps*;
inline cudaError_t cudaMemPoolCreate(cudaMemPool_t* pool, const cudaMemPoolProps* properties) {
  return *pool = new cudaMemPoolProps(*properties), cudaSuccess;  // for as long as the process lives
}
inline cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) { return cudaSuccess; }
inline cudaError_t cudaMallocFromPoolAsync(void** out, size_t bytes, cudaMemPool_t, cudaStream_t) {
  *out = std::malloc(bytes);
  return *out ? cudaSuccess : 2;
}
inline cudaError_t cudaFreeAsync(void* data, cudaStream_t) {
  std::free(data);
  return cudaSuccess;
}

// Relaxed, as they are on a device.
template <class T, class Change>
T atomic_change(T* at, const Change& change) {
  T old, wanted;
  __atomic_load(at, &old, __ATOMIC_RELAXED);
  do {
    wanted = change(old);
  } while (!__atomic_compare_exchange(at, &old, &wanted, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return old;
}
template <class T>
T atomicAdd(T* at, T value) {
#if defined(SEGTOOL_CUDA_IN_STEP)
  for (int step = 0; step < InStep::lag(); ++step) InStep::wait();
#endif
  return atomic_change(at, [=](T old) { return old + value; });
}
inline int32_t atomicCAS(int32_t* at, int32_t expected, int32_t value) {
  return atomic_change(at, [=](int32_t old) { return old == expected ? value : old; });
}
inline int32_t atomicOr(int32_t* at, int32_t bits) {
  return atomic_change(at, [=](int32_t old) { return old | bits; });
}
inline uint32_t atomicMax(uint32_t* at, uint32_t value) {
  return atomic_change(at, [=](uint32_t old) { return old < value ? value : old; });
}

namespace segtool::cuda {

#if defined(SEGTOOL_CUDA_IN_STEP)
inline int32_t current_value(const int32_t* at) {
  InStep::wait();
  const int32_t value = *at;
  InStep::wait();
  return value;
}
#else
inline int32_t current_value(const int32_t* at) { return __atomic_load_n(at, __ATOMIC_RELAXED); }
#endif

// Calls work(w) for w = 0 .. kWorkers - 1, at once if there are several.
#if defined(SEGTOOL_CUDA_ON_THREADS)
constexpr int kWorkers = 4;
template <class Work>
void at_once(const Work& work) {
  std::vector<std::thread> workers;
  for (int w = 0; w < kWorkers; ++w) workers.emplace_back([&work, w] { work(w); });
  for (std::thread& worker : workers) worker.join();
}
#else
constexpr int kWorkers = 1;
template <class Work>
void at_once(const Work& work) {
  work(0);
}
#endif

inline int64_t& thread_index_slot() {
  static thread_local int64_t index = 0;
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
#if defined(SEGTOOL_CUDA_IN_STEP)
  if (threads <= 2048) {  // more run one after the other: each has a stack
    InStep(int64_t(threads), [&](int64_t index) {
      thread_index_slot() = index;
      kernel(arguments...);
    });
    return;
  }
#endif
  uint64_t padded = 256;  // an odd step visits all of a power of two
  while (padded < threads) padded *= 2;
  at_once([&](int worker) {
    for (uint64_t i = uint64_t(worker); i < padded; i += kWorkers) {
      const uint64_t index = (i * (2 * thread_order() * 40503 + 1) + thread_order()) % padded;
      if (index >= threads) continue;
      thread_index_slot() = int64_t(index);
      kernel(arguments...);
    }
  });
}

// Threads of the block that runs now, and what they share.
struct Block {
  int64_t index = 0;
  int threads = 0;
  std::vector<float> memory;
};
inline Block*& block() {
  static thread_local Block* now = nullptr;
  return now;
}
inline int64_t block_index() { return block()->index; }
inline float* shared_memory() { return block()->memory.data(); }

template <class Phase>
void each_thread(const Phase& phase) {
  Block* const shared = block();
  const int threads = shared->threads, begin = int(thread_order() % uint64_t(threads));
  at_once([&](int worker) {
    block() = shared;
    for (int i = 0; i < threads; ++i) {
      // No pattern: threads that work on the same pixel shall meet as different workers.
      if (int(uint32_t(i) * 2654435761u >> 16) % kWorkers == worker) phase((begin + i) % threads, threads);
    }
  });
}

template <class... Parameters, class... Arguments>
void launch_blocks(void (*kernel)(Parameters...), int64_t blocks, int threads, int64_t bytes, cudaStream_t,
                   Arguments... arguments) {
  at_once([&](int worker) {
    for (int64_t i = worker; i < blocks; i += kWorkers) {
      // What it holds at first is not a number: nobody may count on it.
      Block shared{blocks - 1 - i, threads, std::vector<float>(size_t(bytes) / sizeof(float), NAN)};
      block() = &shared;
      kernel(arguments...);
    }
  });
}

}  // namespace segtool::cuda
