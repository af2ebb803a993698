// Mean-field inference on CUDA: the steps one after the other, on the caller's stream and in one workspace.
#include "api.h"
#include "errors.h"
#include "filter_cuda.h"
#include "spatial_cuda.h"

namespace {

using segtool::kCorners;
using segtool::cuda::Filter;
using segtool::cuda::Spatial;

struct Sizes {
  int64_t n, classes, height, width, capacity;
  double gamma;
  bool channels_last;

  int64_t pixels() const { return height * width; }
  int64_t planes() const { return channels_last ? n : n * classes; }
  int64_t inner() const { return channels_last ? classes : 1; }
  int64_t message_bytes() const { return int64_t(sizeof(float)) * n * classes * pixels(); }
};

// The lattice; then, in one place, what its build needs, and what an iteration needs once that is done.
struct Workspace {
  int32_t *vertex, *neighbor;
  float* weight;
  void* build;
  float *near, *alike;  // the messages of the spatial and of the bilateral kernel
  void *spatial, *filter;
  int64_t bytes;
};

// Hands out parts of a buffer, or only counts them.
class Parts {
 public:
  explicit Parts(void* buffer) : buffer_(static_cast<char*>(buffer)) {}
  template <class T>
  T* take(int64_t bytes) {
    T* const part = buffer_ ? reinterpret_cast<T*>(buffer_ + used_) : nullptr;
    used_ += (bytes + 255) / 256 * 256;
    return part;
  }
  int64_t used() const { return used_; }

 private:
  char* buffer_;
  int64_t used_ = 0;
};

// `bytes` is -1 for sizes that are refused.
Workspace carve(const Sizes& s, void* buffer) {
  const int64_t corners = 4 * s.n * s.pixels() * kCorners;
  const int64_t spatial = segtool::cuda::spatial_workspace(s.planes(), s.height, s.width, s.inner(), s.gamma);
  Workspace w{};
  w.bytes = -1;
  if (spatial < 0) return w;
  if (s.capacity < 1) return segtool::fail("capacity must be at least 1"), w;
  Parts lattice(buffer);
  w.vertex = lattice.take<int32_t>(corners);
  w.weight = lattice.take<float>(corners);
  w.neighbor = lattice.take<int32_t>(4 * 2 * kCorners * s.capacity);
  Parts build = lattice, iteration = lattice;
  w.build = build.take<char>(segtool_cuda_lattice_workspace(s.n, s.height, s.width, s.capacity));
  w.near = iteration.take<float>(s.message_bytes());
  w.alike = iteration.take<float>(s.message_bytes());
  w.spatial = iteration.take<char>(spatial);
  w.filter = iteration.take<char>(segtool::cuda::filter_workspace(s.classes, s.capacity, false));
  w.bytes = build.used() > iteration.used() ? build.used() : iteration.used();
  return w;
}

}  // namespace

int64_t segtool_cuda_mean_field_workspace(int64_t n, int64_t classes, int64_t height, int64_t width,
                                          double spatial_gamma, int64_t capacity, int channels_last) {
  return carve({n, classes, height, width, capacity, spatial_gamma, channels_last != 0}, nullptr).bytes;
}

int segtool_cuda_mean_field(const float* logits, const float* image, int64_t n, int64_t classes, int64_t height,
                            int64_t width, double spatial_gamma, double bilateral_alpha, double bilateral_beta,
                            const float* spatial_table, const float* bilateral_table, int iterations, int64_t capacity,
                            int channels_last, float* out, int32_t* status, void* workspace, void* stream_handle) {
  if (iterations < 0) return segtool::fail("iterations must not be negative");
  const Sizes s{n, classes, height, width, capacity, spatial_gamma, channels_last != 0};
  const Workspace w = carve(s, workspace);
  if (w.bytes < 0) return 1;
  if (segtool_cuda_lattice_insert(image, n, height, width, bilateral_alpha, bilateral_beta, capacity, w.vertex, w.weight,
                                  status, w.build, stream_handle) ||
      segtool_cuda_lattice_link(image, n, height, width, bilateral_alpha, bilateral_beta, capacity, capacity, w.vertex,
                                w.weight, w.neighbor, status, w.build, stream_handle)) {
    return 1;
  }
  const auto update = [&](const float* near, const float* alike) {
    return segtool_cuda_mean_field_update(logits, near, alike, spatial_table, bilateral_table, n, classes, s.pixels(), 1,
                                          channels_last, out, stream_handle);
  };
  const auto stream = static_cast<cudaStream_t>(stream_handle);
  const Spatial spatial =
      segtool::cuda::spatial_in(w.spatial, s.planes(), height, width, s.inner(), spatial_gamma);
  const Filter filter{out,     w.vertex,   w.weight, w.neighbor, status, n, classes, s.pixels(), capacity, false,
                      s.channels_last, false, w.alike};
  segtool::cuda::prepare_spatial(spatial, stream);
  if (update(nullptr, nullptr)) return 1;
  for (int i = 0; i < iterations; ++i) {
    if (segtool::cuda::spatial_filter(spatial, out, w.near, stream) || segtool::cuda::filter(filter, w.filter, stream) ||
        update(w.near, w.alike)) {
      return 1;
    }
  }
  return 0;
}
