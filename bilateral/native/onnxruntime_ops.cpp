// The operators' CPU kernels for ONNX Runtime, and the registration of all of them.
#include "onnxruntime_kernel.h"

namespace {

using ort::Status;

struct Cpu {
  static constexpr const char* kProvider = "CPUExecutionProvider";

  template <class NewNeighbor>
  static Status* build(const ort::Api& api, ort::KernelContext*, const ort::LatticeArguments& a,
                       const NewNeighbor& new_neighbor) {
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

  static Status* filter(const ort::Api& api, ort::KernelContext*, const ort::FilterArguments& a) {
    const int status = segtool_filter(a.values, a.vertex, a.weight, a.neighbor, a.n, a.channels, a.pixels, a.capacity,
                                      a.reverse, 0, a.out);
    return status ? failure(api, "BilateralFilter") : nullptr;
  }
};

}  // namespace

// The entry point that SessionOptions.register_custom_ops_library looks for.
SEGTOOL_API Status* RegisterCustomOps(ort::SessionOptions* options, const ort::ApiBase* base) {
  const ort::Api api(base->get_api(ort::kApiVersion));
  if (!api.table() || !api.self_test()) return nullptr;  // unknown layout: the portable bodies still run
  static const ort::CustomOp lattice = ort::make_op<ort::LatticeKernel<Cpu>>();
  static const ort::CustomOp filter = ort::make_op<ort::FilterKernel<Cpu>>();
  // The domain must outlive every session made with these options, so it is kept for the process.
  static ort::CustomOpDomain* domain = nullptr;
  static Status* const failed = [&]() -> Status* {
    RETURN_IF_ERROR(api.create_domain("segtool", &domain));
#if !defined(SEGTOOL_CUDA_ON_CPU)  // the tests run the CUDA kernels in the CPU's place
    RETURN_IF_ERROR(api.add_op(domain, &lattice));
    RETURN_IF_ERROR(api.add_op(domain, &filter));
#endif
#if defined(SEGTOOL_WITH_CUDA)
    RETURN_IF_ERROR(api.add_op(domain, ort::cuda_lattice_op()));
    RETURN_IF_ERROR(api.add_op(domain, ort::cuda_filter_op()));
#endif
    return nullptr;
  }();
  if (failed) return api.create_status(api.message(failed));
  return api.add_domain(options, domain);
}
