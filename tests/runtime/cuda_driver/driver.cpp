// A CUDA driver whose device is the processor: what cuda.core asks of libcuda.so.1, and no more. Memory is the host's.
// Each stream has a thread of its own and is late, so that whoever forgets to wait for it finds what was there before.
// There are no kernels: work comes as host functions.
#include <cuda.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace {

using Work = std::function<void()>;

struct Graph {
  std::vector<Work> nodes;
};

class Event {
 public:
  unsigned long record() { return ++recorded_; }
  unsigned long recorded() const { return recorded_; }
  void reach(unsigned long number) {
    const std::lock_guard<std::mutex> held(mutex_);
    reached_ = std::max(reached_, number);
    changed_.notify_all();
  }
  void wait(unsigned long number) {
    std::unique_lock<std::mutex> held(mutex_);
    changed_.wait(held, [&] { return reached_ >= number; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  unsigned long recorded_ = 0, reached_ = 0;
};

class Stream {
 public:
  Stream() : thread_([this] { run(); }) {}
  ~Stream() {
    {
      const std::lock_guard<std::mutex> held(mutex_);
      closed_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  void put(Work work) {
    if (captured) return captured->nodes.push_back(std::move(work));
    {
      const std::lock_guard<std::mutex> held(mutex_);
      waiting_.push_back(std::move(work));
    }
    changed_.notify_all();
  }
  void drain() {
    std::unique_lock<std::mutex> held(mutex_);
    changed_.wait(held, [this] { return waiting_.empty() && !busy_; });
  }

  Graph* captured = nullptr;

 private:
  void run() {
    std::unique_lock<std::mutex> held(mutex_);
    for (;;) {
      changed_.wait(held, [this] { return closed_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      const Work work = std::move(waiting_.front());
      waiting_.pop_front();
      busy_ = true;
      held.unlock();
      std::this_thread::sleep_for(std::chrono::microseconds(500));
      work();
      held.lock();
      busy_ = false;
      changed_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Work> waiting_;
  bool busy_ = false, closed_ = false;
  std::thread thread_;
};

struct Memory {
  size_t size;
  bool on_device;
};

struct Device {
  std::mutex mutex;
  std::map<CUdeviceptr, Memory> memory;
  std::map<size_t, int> copies;  // by size
  size_t used = 0, limit = size_t(1) << 30;
} device;

char context, pool;  // only their addresses are used
thread_local bool current = false;

Stream* of(CUstream stream) {
  static Stream* const standard = new Stream;
  return stream == nullptr || stream == CU_STREAM_LEGACY ? standard : reinterpret_cast<Stream*>(stream);
}
Event* of(CUevent event) { return reinterpret_cast<Event*>(event); }
Graph* of(CUgraph graph) { return reinterpret_cast<Graph*>(graph); }
Graph* of(CUgraphExec graph) { return reinterpret_cast<Graph*>(graph); }
void* at(CUdeviceptr address) { return reinterpret_cast<void*>(address); }

CUresult take(void** found, size_t size, bool on_device) {
  const std::lock_guard<std::mutex> held(device.mutex);
  if (on_device && device.used + size > device.limit) return CUDA_ERROR_OUT_OF_MEMORY;
  *found = std::malloc(size);
  std::memset(*found, 0xA5, size);
  device.memory[CUdeviceptr(*found)] = {size, on_device};
  if (on_device) device.used += size;
  return CUDA_SUCCESS;
}

void give(CUdeviceptr address) {
  const std::lock_guard<std::mutex> held(device.mutex);
  const auto found = device.memory.find(address);
  if (found == device.memory.end()) std::abort();  // given back twice, or never taken
  std::memset(at(address), 0xDD, found->second.size);
  if (found->second.on_device) device.used -= found->second.size;
  device.memory.erase(found);
  std::free(at(address));
}

void copy(CUdeviceptr to, CUdeviceptr from, size_t size) {
  std::memcpy(at(to), at(from), size);
  const std::lock_guard<std::mutex> held(device.mutex);
  ++device.copies[size];
}

CUresult refuse_captured(CUstream stream) {
  return of(stream)->captured ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : CUDA_SUCCESS;
}

std::map<std::string, void*>& functions() {
  static std::map<std::string, void*> all;
  return all;
}

struct Known {
  Known(const char* name, void* function) { functions()[name] = function; }
};

}  // namespace

#define EXPORTED extern "C" __attribute__((visibility("default")))

EXPORTED CUresult cuGetProcAddress_v2(const char* name, void** found, int, cuuint64_t,
                                      CUdriverProcAddressQueryResult* result) {
  const auto one = functions().find(name);
  const bool there = one != functions().end();
  *found = there ? one->second : nullptr;
  if (result) *result = there ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
  return there ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

// For the tests.
EXPORTED size_t played_buffers() {
  const std::lock_guard<std::mutex> held(device.mutex);
  return device.memory.size();
}
EXPORTED int played_copies(size_t size) {
  const std::lock_guard<std::mutex> held(device.mutex);
  return device.copies[size];
}
EXPORTED void played_limit(size_t bytes) { device.limit = bytes; }

// A function that is found by the name that stands here, whatever version the header makes of it.
#define PLAYED(name, parameters)                                   \
  CUresult name parameters;                                        \
  const Known known_##name(#name, reinterpret_cast<void*>(&name)); \
  CUresult name parameters

PLAYED(cuInit, (unsigned int)) { return CUDA_SUCCESS; }
PLAYED(cuDriverGetVersion, (int* version)) { return *version = 13000, CUDA_SUCCESS; }
PLAYED(cuGetErrorName, (CUresult error, const char** name)) {
  *name = error == CUDA_ERROR_OUT_OF_MEMORY               ? "CUDA_ERROR_OUT_OF_MEMORY"
          : error == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED ? "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"
                                                           : "another";
  return CUDA_SUCCESS;
}
PLAYED(cuGetErrorString, (CUresult error, const char** text)) { return cuGetErrorName(error, text); }
PLAYED(cuDeviceGetCount, (int* count)) { return *count = 1, CUDA_SUCCESS; }
PLAYED(cuDeviceGet, (CUdevice* found, int ordinal)) { return *found = ordinal, CUDA_SUCCESS; }
PLAYED(cuDeviceGetName, (char* name, int size, CUdevice)) {
  return std::strncpy(name, "Played GPU", size), CUDA_SUCCESS;
}
PLAYED(cuDeviceGetAttribute, (int* value, CUdevice_attribute which, CUdevice)) {
  *value = which == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR   ? 9
           : which == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR ? 0
                                                                   : 1;  // whatever it is, it can do it
  return CUDA_SUCCESS;
}
PLAYED(cuDevicePrimaryCtxRetain, (CUcontext* found, CUdevice)) {
  return *found = reinterpret_cast<CUcontext>(&context), CUDA_SUCCESS;
}
PLAYED(cuDevicePrimaryCtxRelease, (CUdevice)) { return CUDA_SUCCESS; }
PLAYED(cuCtxSetCurrent, (CUcontext given)) { return current = given != nullptr, CUDA_SUCCESS; }
PLAYED(cuCtxGetCurrent, (CUcontext* found)) {
  return *found = current ? reinterpret_cast<CUcontext>(&context) : nullptr, CUDA_SUCCESS;
}
PLAYED(cuCtxGetDevice, (CUdevice* found)) { return *found = 0, current ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT; }
PLAYED(cuCtxGetStreamPriorityRange, (int* least, int* greatest)) { return *least = *greatest = 0, CUDA_SUCCESS; }

PLAYED(cuStreamCreateWithPriority, (CUstream* made, unsigned int, int)) {
  if (!current) return CUDA_ERROR_INVALID_CONTEXT;
  return *made = reinterpret_cast<CUstream>(new Stream), CUDA_SUCCESS;
}
PLAYED(cuStreamDestroy, (CUstream stream)) { return delete of(stream), CUDA_SUCCESS; }
PLAYED(cuStreamGetCtx, (CUstream, CUcontext* found)) {
  return *found = reinterpret_cast<CUcontext>(&context), CUDA_SUCCESS;
}
PLAYED(cuStreamGetFlags, (CUstream, unsigned int* flags)) { return *flags = CU_STREAM_NON_BLOCKING, CUDA_SUCCESS; }
PLAYED(cuStreamGetPriority, (CUstream, int* priority)) { return *priority = 0, CUDA_SUCCESS; }
PLAYED(cuStreamSynchronize, (CUstream stream)) {
  if (const CUresult refused = refuse_captured(stream)) return refused;
  return of(stream)->drain(), CUDA_SUCCESS;
}
PLAYED(cuStreamWaitEvent, (CUstream stream, CUevent event, unsigned int)) {
  if (const CUresult refused = refuse_captured(stream)) return refused;
  const unsigned long number = of(event)->recorded();
  return of(stream)->put([=] { of(event)->wait(number); }), CUDA_SUCCESS;
}

PLAYED(cuEventCreate, (CUevent* made, unsigned int)) {
  return *made = reinterpret_cast<CUevent>(new Event), CUDA_SUCCESS;
}
PLAYED(cuEventRecord, (CUevent event, CUstream stream)) {
  if (const CUresult refused = refuse_captured(stream)) return refused;
  const unsigned long number = of(event)->record();
  return of(stream)->put([=] { of(event)->reach(number); }), CUDA_SUCCESS;
}
// Streams may still have to come to it: it lives until the end.
PLAYED(cuEventDestroy, (CUevent)) { return CUDA_SUCCESS; }

PLAYED(cuDeviceGetMemPool, (CUmemoryPool* found, CUdevice)) {
  return *found = reinterpret_cast<CUmemoryPool>(&pool), CUDA_SUCCESS;
}
PLAYED(cuDeviceGetDefaultMemPool, (CUmemoryPool* found, CUdevice given)) { return cuDeviceGetMemPool(found, given); }
PLAYED(cuMemPoolGetAttribute, (CUmemoryPool, CUmemPool_attribute, void* value)) {
  return *static_cast<cuuint64_t*>(value) = 0, CUDA_SUCCESS;
}
PLAYED(cuMemPoolSetAttribute, (CUmemoryPool, CUmemPool_attribute, void*)) { return CUDA_SUCCESS; }
PLAYED(cuMemAllocHost, (void** found, size_t size)) { return take(found, size, false); }
PLAYED(cuMemFreeHost, (void* address)) { return give(CUdeviceptr(address)), CUDA_SUCCESS; }
PLAYED(cuMemAllocFromPoolAsync, (CUdeviceptr* found, size_t size, CUmemoryPool, CUstream stream)) {
  if (const CUresult refused = refuse_captured(stream)) return refused;
  return take(reinterpret_cast<void**>(found), size, true);
}
PLAYED(cuMemFreeAsync, (CUdeviceptr address, CUstream stream)) {
  return of(stream)->put([=] { give(address); }), CUDA_SUCCESS;
}
PLAYED(cuMemcpyAsync, (CUdeviceptr to, CUdeviceptr from, size_t size, CUstream stream)) {
  return of(stream)->put([=] { copy(to, from, size); }), CUDA_SUCCESS;
}
PLAYED(cuPointerGetAttribute, (void* value, CUpointer_attribute, CUdeviceptr address)) {
  const std::lock_guard<std::mutex> held(device.mutex);
  const auto found = device.memory.find(address);
  if (found == device.memory.end() || !found->second.on_device) return CUDA_ERROR_INVALID_VALUE;
  return *static_cast<int*>(value) = 0, CUDA_SUCCESS;  // the ordinal of its device, which alone is asked for
}

PLAYED(cuLaunchHostFunc, (CUstream stream, CUhostFn call, void* data)) {
  return of(stream)->put([=] { call(data); }), CUDA_SUCCESS;
}
PLAYED(cuStreamBeginCapture, (CUstream stream, CUstreamCaptureMode)) {
  return of(stream)->captured = new Graph, CUDA_SUCCESS;
}
PLAYED(cuStreamEndCapture, (CUstream stream, CUgraph* made)) {
  *made = reinterpret_cast<CUgraph>(of(stream)->captured);
  return of(stream)->captured = nullptr, CUDA_SUCCESS;
}
PLAYED(cuStreamIsCapturing, (CUstream stream, CUstreamCaptureStatus* status)) {
  *status = of(stream)->captured ? CU_STREAM_CAPTURE_STATUS_ACTIVE : CU_STREAM_CAPTURE_STATUS_NONE;
  return CUDA_SUCCESS;
}
PLAYED(cuStreamGetCaptureInfo, (CUstream stream, CUstreamCaptureStatus* status, cuuint64_t* id, CUgraph* graph,
                                const CUgraphNode**, const CUgraphEdgeData**, size_t* count)) {
  if (id) *id = 1;
  if (graph) *graph = reinterpret_cast<CUgraph>(of(stream)->captured);
  if (count) *count = 0;
  return cuStreamIsCapturing(stream, status);
}
PLAYED(cuGraphInstantiateWithParams, (CUgraphExec* made, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS* parameters)) {
  parameters->result_out = CUDA_GRAPH_INSTANTIATE_SUCCESS;
  return *made = reinterpret_cast<CUgraphExec>(new Graph(*of(graph))), CUDA_SUCCESS;
}
PLAYED(cuGraphLaunch, (CUgraphExec graph, CUstream stream)) {
  for (const Work& node : of(graph)->nodes) of(stream)->put(node);
  return CUDA_SUCCESS;
}
PLAYED(cuGraphDestroy, (CUgraph graph)) { return delete of(graph), CUDA_SUCCESS; }
PLAYED(cuGraphExecDestroy, (CUgraphExec graph)) { return delete of(graph), CUDA_SUCCESS; }
// What a graph keeps alive, lives until the end.
PLAYED(cuUserObjectCreate, (CUuserObject* made, void* object, CUhostFn, unsigned int, unsigned int)) {
  return *made = static_cast<CUuserObject>(object), CUDA_SUCCESS;
}
PLAYED(cuUserObjectRelease, (CUuserObject, unsigned int)) { return CUDA_SUCCESS; }
PLAYED(cuGraphRetainUserObject, (CUgraph, CUuserObject, unsigned int, unsigned int)) { return CUDA_SUCCESS; }
PLAYED(cuGraphReleaseUserObject, (CUgraph, CUuserObject, unsigned int)) { return CUDA_SUCCESS; }
