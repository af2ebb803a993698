// A stand-in for the CUDA runtime under what nvcc compiled, the host's part too: it runs the kernels' PTX, made C++ by
// translate.py, in the same process and memory. It keeps a device's rules (sizes of launches, alignment, barriers that
// all threads come to, no races in shared memory) and tells what broke them as a failed launch does.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>

#include "machine.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace {

struct Kernel {
  std::string name;
  Run run;
  size_t frame_bytes;
  std::vector<std::string> opcodes;
  std::vector<uint64_t> counts;
  uint64_t launches = 0;
};

std::map<std::string, Kernel>& kernels() {
  static std::map<std::string, Kernel> all;
  return all;
}
std::map<const void*, Kernel*>& kernel_of_function() {
  static std::map<const void*, Kernel*> all;
  return all;
}

uint64_t order = 1;  // in which threads and blocks run
thread_local cudaError_t last_error = cudaSuccess;
thread_local std::string last_fault;

cudaError_t fail(cudaError_t error, const std::string& what) {
  last_fault = what;
  return last_error = error;
}

struct Launch {
  dim3 grid, block;
  size_t shared;
  cudaStream_t stream;
};
thread_local Launch pushed;

// The i-th of `count` in an order of its own: an odd step visits all of a power of two.
class Order {
 public:
  explicit Order(uint64_t count) : count_(count) {
    while (padded_ < count) padded_ *= 2;
  }
  template <class Visit>
  void each(const Visit& visit) const {
    for (uint64_t i = 0; i < padded_; ++i) {
      const uint64_t at = (i * (2 * order * 40503 + 1) + order) % padded_;
      if (at < count_) visit(at);
    }
  }

 private:
  uint64_t count_, padded_ = 1;
};

// The registers of a block's threads. What the threads of the block before left in them stays there.
class Frames {
 public:
  Frames(const Kernel& kernel, uint64_t threads)
      : stride_((kernel.frame_bytes + 63) / 64), lines_(new Line[stride_ * threads]()) {}
  void* of(uint64_t thread) const { return &lines_[stride_ * thread]; }
  void begin(uint64_t thread) const { *static_cast<int*>(of(thread)) = 0; }  // the first member: where it is

 private:
  struct alignas(64) Line {
    char bytes[64];
  };
  size_t stride_;
  std::unique_ptr<Line[]> lines_;
};

// All threads of a block, from barrier to barrier.
void run_block(Kernel& kernel, Block& block, void* const* arguments, const Frames& frames) {
  const Order threads{uint64_t(block.threads)};
  threads.each([&](uint64_t i) { frames.begin(i); });
  for (int at = 0; at >= 0 && block.fault.empty(); block.shared.barrier()) {
    std::vector<int> reached(static_cast<size_t>(block.threads));
    threads.each([&](uint64_t i) {
      Thread thread{int(i), &block, kernel.counts.data()};
      if (block.fault.empty()) reached[i] = kernel.run(thread, frames.of(i), arguments);
    });
    at = reached[0];
    const bool together = std::all_of(reached.begin(), reached.end(), [&](int where) { return where == at; });
    if (!together && block.fault.empty()) block.fault = "some threads of a block come to a barrier, others do not";
  }
}

cudaError_t launch(Kernel& kernel, const Launch& how, void* const* arguments) {
  // Of every device since compute capability 3.0; more shared memory must be asked for, and never is.
  if (how.grid.x < 1 || how.grid.x > 2147483647u || how.grid.y != 1 || how.grid.z != 1 || how.block.x < 1 ||
      how.block.x > 1024 || how.block.y != 1 || how.block.z != 1 || how.shared > 48 * 1024) {
    return fail(cudaErrorInvalidConfiguration, kernel.name + ": no device takes a launch of this size");
  }
  const Frames frames(kernel, how.block.x);
  ++kernel.launches;
  std::string fault;
  Order(how.grid.x).each([&](uint64_t index) {
    if (!fault.empty()) return;
    Block block{int64_t(index), int(how.block.x), Shared(how.shared), ""};
    run_block(kernel, block, arguments, frames);
    fault = block.fault;
  });
  return fault.empty() ? cudaSuccess : fail(cudaErrorLaunchFailure, kernel.name + ": " + fault);
}

}  // namespace

bool allocated([[maybe_unused]] uint64_t at, [[maybe_unused]] uint64_t size) {
#if defined(__SANITIZE_ADDRESS__)
  return !__asan_region_is_poisoned(reinterpret_cast<void*>(at), size);
#else
  return true;
#endif
}

Registered::Registered(const char* name, Run run, size_t frame_bytes, const char* const* opcodes) {
  Kernel& kernel = kernels()[name];
  kernel.name = name;
  kernel.run = run;
  kernel.frame_bytes = frame_bytes;
  for (; *opcodes; ++opcodes) kernel.opcodes.push_back(*opcodes);
  kernel.counts.resize(kernel.opcodes.size());
}

// As the stubs that nvcc makes call them (crt/host_runtime.h).
extern "C" {

void** __cudaRegisterFatBinary(void*) {
  static void* handle = nullptr;
  return &handle;
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}

// The host's functions may be registered before the translated ones are: they are looked for when launched.
void __cudaRegisterFunction(void**, const char* function, char*, const char* name, int, uint3*, uint3*, dim3*, dim3*,
                            int*) {
  kernel_of_function()[function] = &kernels()[name];
}
cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* function) {
  *kernel = reinterpret_cast<cudaKernel_t>(kernel_of_function().at(function));
  return cudaSuccess;
}
unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, CUstream_st* stream) {
  pushed = {grid, block, shared, stream};
  return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared, void* stream) {
  *grid = pushed.grid;
  *block = pushed.block;
  *shared = pushed.shared;
  *static_cast<cudaStream_t*>(stream) = pushed.stream;
  return cudaSuccess;
}
cudaError_t __cudaLaunchKernel(cudaKernel_t handle, dim3 grid, dim3 block, void** arguments, size_t shared,
                               cudaStream_t stream) {
  Kernel& kernel = *reinterpret_cast<Kernel*>(handle);
  if (!kernel.run) return fail(cudaErrorInvalidDeviceFunction, "a kernel without PTX");
  return launch(kernel, {grid, block, shared, stream}, arguments);
}

cudaError_t cudaGetLastError() {
  const cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}
const char* cudaGetErrorString(cudaError_t) { return last_fault.c_str(); }

cudaError_t cudaMemsetAsync(void* data, int value, size_t bytes, cudaStream_t) {
  std::memset(data, value, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
cudaError_t cudaMemPoolCreate(cudaMemPool_t* pool, const cudaMemPoolProps*) {
  static int one;
  return *pool = reinterpret_cast<cudaMemPool_t>(&one), cudaSuccess;
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) { return cudaSuccess; }
cudaError_t cudaMallocFromPoolAsync(void** out, size_t bytes, cudaMemPool_t, cudaStream_t) {
  *out = std::malloc(bytes);
  return *out ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFreeAsync(void* data, cudaStream_t) {
  std::free(data);
  return cudaSuccess;
}

__attribute__((visibility("default"))) void segtool_cuda_on_cpu_order(uint64_t threads) { order = threads; }

// Lines "kernel launches opcode count" of all since the last call, if compiled with SEGTOOL_COUNT.
__attribute__((visibility("default"))) const char* segtool_cuda_on_cpu_counts() {
  static std::string text;
  text.clear();
  for (auto& [name, kernel] : kernels()) {
    for (size_t i = 0; i < kernel.counts.size(); ++i) {
      if (!kernel.counts[i]) continue;
      text += name + " " + std::to_string(kernel.launches) + " " + kernel.opcodes[i] + " " +
              std::to_string(kernel.counts[i]) + "\n";
    }
    std::fill(kernel.counts.begin(), kernel.counts.end(), 0);
    kernel.launches = 0;
  }
  return text.c_str();
}

}  // extern "C"
