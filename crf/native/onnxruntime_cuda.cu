// The operators' CUDA kernels for ONNX Runtime: on its stream, with workspace from a pool of its own.
#include <cuda_runtime.h>

#include <map>
#include <mutex>

#include "onnxruntime_operators.h"

namespace {

using ort::Status;

// A pool on the device in use that keeps what is given back; null if there can be none. The device's own pool hands it on
// to the system whenever somebody waits for the device, as ONNX Runtime does after each run: hundreds of
// megabytes would have to be asked for anew in the next.
cudaMemPool_t pool() {
  static std::mutex making;
  static std::map<int, cudaMemPool_t> pools;
  int device = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return nullptr;
  const std::lock_guard<std::mutex> lock(making);
  cudaMemPool_t& found = pools[device];
  if (!found) {
    cudaMemPoolProps properties{};
    properties.allocType = cudaMemAllocationTypePinned;
    properties.location = {cudaMemLocationTypeDevice, device};
    uint64_t kept = UINT64_MAX;
    if (cudaMemPoolCreate(&found, &properties) != cudaSuccess) return found = nullptr;
    cudaMemPoolSetAttribute(found, cudaMemPoolAttrReleaseThreshold, &kept);
  }
  return found;
}

// Memory of the device that is freed in the order of the stream: neither end waits.
class Workspace {
 public:
  Workspace(int64_t bytes, cudaStream_t stream) : stream_(stream) {
    const cudaMemPool_t from = bytes < 0 ? nullptr : pool();
    if (!from || cudaMallocFromPoolAsync(&data_, size_t(bytes), from, stream) != cudaSuccess) data_ = nullptr;
    cudaGetLastError();  // what went wrong is told by `failed`, not by the next launch
  }
  Workspace(const Workspace&) = delete;
  ~Workspace() {
    if (data_) cudaFreeAsync(data_, stream_);
  }
  bool failed() const { return !data_; }
  void* data() const { return data_; }

 private:
  void* data_ = nullptr;
  cudaStream_t stream_;
};

struct Cuda {
#if defined(SEGTOOL_CUDA_ON_CPU)
  static constexpr const char* kProvider = "CPUExecutionProvider";
#else
  static constexpr const char* kProvider = "CUDAExecutionProvider";
#endif

  // Waits once, for the number of vertices: the shape of an output depends on it.
  template <class NewNeighbor>
  static Status* build(const ort::Api& api, ort::KernelContext* context, const ort::LatticeArguments& a,
                       const NewNeighbor& new_neighbor) {
    void* stream = nullptr;
    RETURN_IF_ERROR(api.gpu_stream(context, &stream));
    const auto on = static_cast<cudaStream_t>(stream);
    const int64_t capacity = a.n * a.height * a.width * ort::kCorners;
    const Workspace work(segtool_cuda_lattice_workspace(a.n, a.height, a.width, capacity), on);
    const Workspace status(2 * sizeof(int32_t), on);
    if (work.failed() || status.failed()) return api.create_status("BilateralLattice: out of device memory");
    auto* device_status = static_cast<int32_t*>(status.data());
    if (segtool_cuda_lattice_insert(a.image, a.n, a.height, a.width, a.spatial_sigma, a.color_sigma, capacity,
                                    a.vertex, a.weight, device_status, work.data(), stream)) {
      return failure(api, "BilateralLattice");
    }
    int32_t found[2] = {};
    cudaMemcpyAsync(found, device_status, sizeof(found), cudaMemcpyDeviceToHost, on);
    const cudaError_t error = cudaStreamSynchronize(on);
    if (error != cudaSuccess) return api.create_status(cudaGetErrorString(error));
    if (found[1]) return api.create_status("BilateralLattice: image: levels must be finite and within 0..255");
    int32_t* neighbor = nullptr;
    RETURN_IF_ERROR(new_neighbor(found[0], &neighbor));
    if (segtool_cuda_lattice_link(a.image, a.n, a.height, a.width, a.spatial_sigma, a.color_sigma, capacity, found[0],
                                  a.vertex, a.weight, neighbor, device_status, work.data(), stream)) {
      return failure(api, "BilateralLattice");
    }
    return nullptr;
  }

  static Status* filter(const ort::Api& api, ort::KernelContext* context, const ort::FilterArguments& a) {
    void* stream = nullptr;
    RETURN_IF_ERROR(api.gpu_stream(context, &stream));
    const Workspace work(segtool_cuda_filter_workspace(a.channels, a.capacity, 0), static_cast<cudaStream_t>(stream));
    if (work.failed()) return api.create_status("BilateralFilter: out of device memory");
    const int status = segtool_cuda_filter(a.values, a.vertex, a.weight, a.neighbor, nullptr, a.n, a.channels,
                                           a.pixels, a.capacity, a.reverse, 0, 0, a.out, work.data(), stream);
    return status ? failure(api, "BilateralFilter") : nullptr;
  }

  static Status* spatial(const ort::Api& api, ort::KernelContext* context, const ort::SpatialArguments& a) {
    void* stream = nullptr;
    RETURN_IF_ERROR(api.gpu_stream(context, &stream));
    const int64_t bytes = segtool_cuda_spatial_workspace(a.planes, a.height, a.width, 1, a.sigma);
    if (bytes < 0) return failure(api, "SpatialFilter");
    const Workspace work(bytes, static_cast<cudaStream_t>(stream));
    if (work.failed()) return api.create_status("SpatialFilter: out of device memory");
    const int status =
        segtool_cuda_spatial_filter(a.values, a.planes, a.height, a.width, 1, a.sigma, a.out, work.data(), stream);
    return status ? failure(api, "SpatialFilter") : nullptr;
  }

  static Status* update(const ort::Api& api, ort::KernelContext* context, const ort::UpdateArguments& a) {
    void* stream = nullptr;
    RETURN_IF_ERROR(api.gpu_stream(context, &stream));
    const int status =
        segtool_cuda_mean_field_update(a.unary, a.spatial, a.bilateral, a.spatial_table, a.bilateral_table, a.n,
                                       a.channels, a.pixels, a.normalize, 0, a.out, stream);
    return status ? failure(api, "MeanFieldUpdate") : nullptr;
  }
};

}  // namespace

ort::Status* ort::add_cuda_operators(const Api& api, CustomOpDomain* domain) {
  return add_operators<Cuda>(api, domain);
}
