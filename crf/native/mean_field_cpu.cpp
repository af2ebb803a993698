// A mean-field iteration's last step, and the whole of the inference for those who link against the library.
#include <memory>
#include <new>

#include "api.h"
#include "big_array.h"
#include "errors.h"
#include "simplex.h"
#include "update_cpu.h"

namespace {

struct FreeLattice {
  void operator()(segtool_lattice* lattice) const { segtool_lattice_free(lattice); }
};

// The lattice of a batch, with its memory.
struct Lattice {
  segtool::BigArray<int32_t> vertex, neighbor;
  segtool::BigArray<float> weight;
  int64_t vertex_count = 0;
};

int build(const float* image, int64_t n, int64_t height, int64_t width, double alpha, double beta, Lattice* out) {
  const int64_t corners = n * height * width * segtool::kCorners;
  out->vertex = segtool::big_array<int32_t>(corners);
  out->weight = segtool::big_array<float>(corners);
  segtool_lattice* lattice = nullptr;
  const int status = segtool_lattice_build(image, n, height, width, alpha, beta, out->vertex.get(),
                                           out->weight.get(), &out->vertex_count, &lattice);
  const std::unique_ptr<segtool_lattice, FreeLattice> owner(lattice);
  if (status) return status;
  out->neighbor = segtool::big_array<int32_t>(2 * segtool::kCorners * out->vertex_count);
  segtool_lattice_neighbors(lattice, out->neighbor.get());
  return 0;
}

// The bilateral message of q, and the update with it; q may be overwritten. Up to 32 classes the message is never stored.
int bilateral_update(const Lattice& lattice, segtool::Blurred* blurred, segtool::Update step, float* q) {
  const int32_t *vertex = lattice.vertex.get(), *neighbor = lattice.neighbor.get();
  const float* weight = lattice.weight.get();
  const segtool::Layout layout{step.channels, step.pixels, false};
  if (step.channels <= segtool::kWidest) {
    if (splat_and_blur(q, vertex, weight, neighbor, step.n, layout, lattice.vertex_count, blurred)) return 1;
    segtool::update_planes(step, blurred);
  } else {
    if (segtool_filter(q, vertex, weight, neighbor, step.n, step.channels, step.pixels, lattice.vertex_count, 0, 0, q)) {
      return 1;
    }
    step.bilateral = q;
    segtool::update_planes(step);
  }
  return 0;
}

}  // namespace

int segtool_mean_field_update(const float* unary, const float* spatial, const float* bilateral,
                              const float* spatial_table, const float* bilateral_table, int64_t n, int64_t channels,
                              int64_t pixels, int normalize, int channels_last, float* out) try {
  const segtool::Update u{unary, spatial, bilateral, spatial_table, bilateral_table, n, channels, pixels, normalize != 0,
                          out};
  if (channels_last) {
    segtool::update_rows(u);
  } else {
    segtool::update_planes(u);
  }
  return 0;
} catch (const std::bad_alloc&) {
  return segtool::fail("out of memory in a mean-field update");
}

int segtool_mean_field(const float* logits, const float* image, int64_t n, int64_t classes, int64_t height,
                       int64_t width, double spatial_gamma, double bilateral_alpha, double bilateral_beta,
                       const float* spatial_table, const float* bilateral_table, int iterations, float* out) try {
  if (n < 1 || classes < 1 || height < 1 || width < 1) {
    return segtool::fail("logits: every dimension must be at least 1");
  }
  if (iterations < 0) return segtool::fail("iterations must not be negative");
  Lattice lattice;
  if (build(image, n, height, width, bilateral_alpha, bilateral_beta, &lattice)) return 1;
  const int64_t pixels = height * width;
  // `out` holds the spatial message until the last update puts the result in its place.
  const auto q = segtool::big_array<float>(iterations ? n * classes * pixels : 0);
  float* first = iterations ? q.get() : out;
  segtool::update_planes({logits, nullptr, nullptr, nullptr, nullptr, n, classes, pixels, true, first});
  segtool::Blurred blurred;
  for (int i = 1; i <= iterations; ++i) {
    if (segtool_spatial_filter(q.get(), n * classes, height, width, 1, spatial_gamma, out)) return 1;
    float* next = i < iterations ? q.get() : out;
    const segtool::Update step{logits, out, nullptr, spatial_table, bilateral_table, n, classes, pixels, true, next};
    if (bilateral_update(lattice, &blurred, step, q.get())) return 1;
  }
  return 0;
} catch (const std::bad_alloc&) {
  return segtool::fail("out of memory in the mean field");
}
