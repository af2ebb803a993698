// The operators' CPU kernels for ONNX Runtime, and the registration of all of them.
#include <optional>

#include "onnxruntime_operators.h"
#include "threads.h"

namespace {

using ort::Status;

bool sessions_share_threads = false;

// While it lives, the library works with the threads of a session: as many as that has, and no others beside them.
class SessionThreads {
 public:
  SessionThreads(const ort::Api& api, const ort::KernelContext* context) : api_(api), context_(context) {
    if (sessions_share_threads) threads_.emplace(this, run);
  }

 private:
  struct Call {
    void (*entry)(void*);
    void* data;
  };

  static void run(void* self, int64_t copies, void (*entry)(void*), void* data) {
    const auto* session = static_cast<SessionThreads*>(self);
    Call call{entry, data};
    const auto one = [](void* c, size_t) { static_cast<Call*>(c)->entry(static_cast<Call*>(c)->data); };
    if (Status* status = session->api_.parallel_for(session->context_, one, size_t(copies), &call)) {
      session->api_.release(status);
      entry(data);  // the tasks that are left
    }
  }

  const ort::Api& api_;
  const ort::KernelContext* context_;
  std::optional<segtool::ThreadsOf> threads_;
};

struct Cpu {
  static constexpr const char* kProvider = "CPUExecutionProvider";

  template <class NewNeighbor>
  static Status* build(const ort::Api& api, ort::KernelContext* context, const ort::LatticeArguments& a,
                       const NewNeighbor& new_neighbor) {
    const SessionThreads threads(api, context);
    int64_t vertex_count = 0;
    segtool_lattice* lattice = nullptr;
    if (segtool_lattice_build(a.image, a.n, a.height, a.width, a.spatial_sigma, a.color_sigma, a.vertex, a.weight,
                              &vertex_count, &lattice)) {
      return failure(api, "BilateralLattice");
    }
    int32_t* neighbor = nullptr;
    Status* status = new_neighbor(vertex_count, &neighbor);
    if (!status) segtool_lattice_neighbors(lattice, neighbor);
    segtool_lattice_free(lattice);
    return status;
  }

  static Status* filter(const ort::Api& api, ort::KernelContext* context, const ort::FilterArguments& a) {
    const SessionThreads threads(api, context);
    const int status = segtool_filter(a.values, a.vertex, a.weight, a.neighbor, a.n, a.channels, a.pixels, a.capacity,
                                      a.reverse, 0, a.out);
    return status ? failure(api, "BilateralFilter") : nullptr;
  }

  static Status* spatial(const ort::Api& api, ort::KernelContext* context, const ort::SpatialArguments& a) {
    const SessionThreads threads(api, context);
    const int status = segtool_spatial_filter(a.values, a.planes, a.height, a.width, 1, a.sigma, a.out);
    return status ? failure(api, "SpatialFilter") : nullptr;
  }

  static Status* update(const ort::Api& api, ort::KernelContext* context, const ort::UpdateArguments& a) {
    const SessionThreads threads(api, context);
    const int status = segtool_mean_field_update(a.unary, a.spatial, a.bilateral, a.spatial_table, a.bilateral_table,
                                                 a.n, a.channels, a.pixels, a.normalize, 0, a.out);
    return status ? failure(api, "MeanFieldUpdate") : nullptr;
  }
};

}  // namespace

// The entry point that SessionOptions.register_custom_ops_library looks for.
SEGTOOL_API Status* RegisterCustomOps(ort::SessionOptions* options, const ort::ApiBase* base) {
  const ort::Api api(base->get_api(ort::kApiVersion));
  if (!api.table() || !api.self_test()) return nullptr;  // unknown layout: the portable bodies still run
  // The domain must outlive every session made with these options, so it is kept for the process.
  static ort::CustomOpDomain* domain = nullptr;
  sessions_share_threads = base->get_api(ort::kParallelFor) != nullptr;
  static Status* const failed = [&]() -> Status* {
    RETURN_IF_ERROR(api.create_domain("segtool", &domain));
#if !defined(SEGTOOL_CUDA_ON_CPU)  // the tests run the CUDA kernels in the CPU's place
    RETURN_IF_ERROR(ort::add_operators<Cpu>(api, domain));
#endif
#if defined(SEGTOOL_WITH_CUDA)
    RETURN_IF_ERROR(ort::add_cuda_operators(api, domain));
#endif
    return nullptr;
  }();
  if (failed) return api.create_status(api.message(failed));
  return api.add_domain(options, domain);
}
