// Drives the C interface with random shapes, for the address and undefined-behaviour sanitizers: every array is
// allocated exactly as large as the interface says. Usage: drive SEED COUNT
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "api.h"
#include "counts.h"

namespace {

std::mt19937 random_bits;

int64_t between(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random_bits); }
double sigma() { return std::exp(std::uniform_real_distribution<double>(-3, 6)(random_bits)); }

std::unique_ptr<float[]> floats(int64_t count, float low, float high) {
  std::unique_ptr<float[]> out(new float[count]);
  std::uniform_real_distribution<float> number(low, high);
  for (int64_t i = 0; i < count; ++i) out[i] = number(random_bits);
  return out;
}

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "%s: %s\n", what, segtool_error_message());
  std::exit(1);
}

struct Lattice {
  std::unique_ptr<int32_t[]> vertex, neighbor;
  std::unique_ptr<float[]> weight;
  int64_t count = 0;
};

Lattice build(const float* image, int64_t n, int64_t h, int64_t w) {
  Lattice l;
  l.vertex.reset(new int32_t[n * h * w * 6]);
  l.weight.reset(new float[n * h * w * 6]);
  segtool_lattice* handle = nullptr;
  if (segtool_lattice_build(image, n, h, w, sigma(), sigma(), l.vertex.get(), l.weight.get(), &l.count, &handle)) {
    die("lattice");
  }
  l.neighbor.reset(new int32_t[12 * l.count]);
  segtool_lattice_neighbors(handle, l.neighbor.get());
  segtool_lattice_free(handle);
  return l;
}

void filter(const Lattice& l, const float* values, int64_t n, int64_t c, int64_t pixels, float* out) {
  if (segtool_filter(values, l.vertex.get(), l.weight.get(), l.neighbor.get(), n, c, pixels, l.count,
                     int(between(0, 1)), int(between(0, 1)), out)) {
    die("filter");
  }
}

// Broken indices must be refused, not followed.
void filter_with_broken_index(Lattice l, const float* values, int64_t n, int64_t c, int64_t pixels, float* out) {
  int32_t* table = between(0, 1) ? l.vertex.get() : l.neighbor.get();
  const int64_t size = table == l.vertex.get() ? n * pixels * 6 : 12 * l.count;
  table[between(0, size - 1)] = between(0, 1) ? -1 : int32_t(l.count + 1);
  if (!segtool_filter(values, l.vertex.get(), l.weight.get(), l.neighbor.get(), n, c, pixels, l.count, 0, 0, out)) {
    die("a broken index was accepted");
  }
}

#if defined(SEGTOOL_WITH_CUDA)

// The CUDA kernels, run on the CPU: too little room, just enough, and room to spare.
void cuda_once(const float* image, const float* values, int64_t n, int64_t c, int64_t h, int64_t w, float* out) {
  const int64_t pixels = n * h * w, capacity = between(1, 8 * pixels);
  std::unique_ptr<int32_t[]> vertex(new int32_t[6 * pixels]), status(new int32_t[2]);
  std::unique_ptr<float[]> weight(new float[6 * pixels]);
  std::unique_ptr<char[]> work(new char[segtool_cuda_lattice_workspace(n, h, w, capacity)]);
  const double alpha = sigma(), beta = sigma();
  if (segtool_cuda_lattice_insert(image, n, h, w, alpha, beta, capacity, vertex.get(), weight.get(), status.get(),
                                  work.get(), nullptr)) {
    die("CUDA insert");
  }
  const bool fits = status[1] == 0;
  const int64_t count = fits && between(0, 1) ? status[0] : capacity;
  std::unique_ptr<int32_t[]> neighbor(new int32_t[12 * count]);
  if (segtool_cuda_lattice_link(image, n, h, w, alpha, beta, capacity, count, vertex.get(), weight.get(),
                                neighbor.get(), status.get(), work.get(), nullptr)) {
    die("CUDA link");
  }
  const int deterministic = int(between(0, 1));
  work.reset(new char[segtool_cuda_filter_workspace(c, count, deterministic)]);
  const int32_t* used = between(0, 1) ? status.get() : nullptr;
  if (segtool_cuda_filter(values, vertex.get(), weight.get(), neighbor.get(), used, n, c, h * w, count,
                          int(between(0, 1)), int(between(0, 1)), deterministic, out, work.get(), nullptr)) {
    die("CUDA filter");
  }
  const double gamma = sigma();
  const bool last = between(0, 1);
  const int64_t planes = last ? n : n * c, inner = last ? c : 1;
  work.reset(new char[segtool_cuda_spatial_workspace(planes, h, w, inner, gamma)]);
  if (segtool_cuda_spatial_filter(values, planes, h, w, inner, gamma, out, work.get(), nullptr)) die("CUDA spatial");
  const auto table = floats(c * c, -1, 1);
  if (segtool_cuda_mean_field_update(values, values, values, table.get(), table.get(), n, c, h * w,
                                     int(between(0, 1)), last, out, nullptr)) {
    die("CUDA update");
  }
  work.reset(new char[segtool_cuda_mean_field_workspace(n, c, h, w, gamma, capacity, last)]);
  if (segtool_cuda_mean_field(values, image, n, c, h, w, gamma, alpha, beta, table.get(), table.get(),
                              int(between(0, 2)), capacity, last, out, status.get(), work.get(), nullptr)) {
    die("CUDA mean field");
  }
}

#endif

void once() {
  const int64_t n = between(1, 3), c = between(1, 70), h = between(1, 60), w = between(1, 60), pixels = h * w;
  const auto image = floats(n * 3 * pixels, 0, 255), values = floats(n * c * pixels, -5, 5);
  const auto spatial = floats(n * c * pixels, -5, 5), tables = floats(2 * c * c, -1, 1);
  const std::unique_ptr<float[]> out(new float[n * c * pixels]);
  const Lattice lattice = build(image.get(), n, h, w);
  filter(lattice, values.get(), n, c, pixels, out.get());
  if (segtool_spatial_filter(values.get(), n, h, w, c, sigma(), out.get())) die("spatial filter");
  if (segtool_mean_field_update(values.get(), spatial.get(), spatial.get(), tables.get(), tables.get() + c * c, n, c,
                                pixels, int(between(0, 1)), int(between(0, 1)), out.get())) {
    die("update");
  }
  if (segtool_mean_field(values.get(), image.get(), n, c, h, w, sigma(), sigma(), sigma(), tables.get(),
                         tables.get() + c * c, int(between(0, 3)), out.get())) {
    die("mean field");
  }
#if defined(SEGTOOL_WITH_CUDA)
  cuda_once(image.get(), values.get(), n, c, h, w, out.get());
#endif
  Lattice broken = build(image.get(), n, h, w);
  filter_with_broken_index(std::move(broken), values.get(), n, c, pixels, out.get());
  image[between(0, n * 3 * pixels - 1)] = between(0, 1) ? std::nanf("") : 256.0f;
  int64_t count = 0;
  segtool_lattice* handle = nullptr;
  if (!segtool_lattice_build(image.get(), n, h, w, 5, 5, lattice.vertex.get(), lattice.weight.get(), &count, &handle)) {
    die("a bad level was accepted");
  }
}

// Label maps of random sizes, some of their values no class.
void count_labels() {
  const int64_t h = between(1, 40), w = between(1, 40), pixels = h * w;
  const int classes = int(between(1, 255)), count = int(between(1, 5)), bins = int(between(1, 20));
  std::unique_ptr<uint8_t[]> truth(new uint8_t[pixels]), predicted(new uint8_t[pixels]), known(new uint8_t[pixels]),
      bands(new uint8_t[pixels]);
  const int values = int(between(1, 256));
  for (int64_t i = 0; i < pixels; ++i) {
    truth[i] = uint8_t(between(0, values - 1));
    predicted[i] = uint8_t(between(0, classes - 1));
    known[i] = uint8_t(between(0, 3) > 0);
  }
  std::vector<int64_t> tolerances(count), counts(count * 4 * 256), cells(int64_t(count + 1) * classes * classes),
      calibration(3 * bins);
  for (int k = 0; k < count; ++k) tolerances[k] = (k ? tolerances[k - 1] : 0) + between(0, 20);
  if (segtool_boundary_bands(truth.get(), known.get(), h, w, tolerances.data(), count, bands.get())) die("bands");
  if (segtool_match_boundaries(predicted.get(), truth.get(), known.get(), h, w, tolerances.data(), count,
                               counts.data())) {
    die("boundaries");
  }
  auto confidence = floats(pixels, -1, 2);
  confidence[0] = NAN;
  if (segtool_count_pixels(truth.get(), predicted.get(), bands.get(), confidence.get(), pixels, classes, count + 1,
                           bins, cells.data(), calibration.data())) {
    die("counts");
  }
}

}  // namespace

int main(int, char** arguments) {
  random_bits.seed(unsigned(std::atoi(arguments[1])));
  for (int i = 0; i < std::atoi(arguments[2]); ++i) {
    once();
    count_labels();
  }
}
