// Lattice build on the CPU: simplices in parallel, vertices numbered in pixel order (so that the result does
// not depend on the number of threads), neighbours in parallel.
#include <array>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "api.h"
#include "errors.h"
#include "simplex.h"

namespace {

using segtool::kCorners;
using segtool::kDim;
using Key = std::array<int32_t, kDim>;

// Open addressing with linear probing; slots hold vertex numbers, keys lie in numbering order.
class VertexTable {
 public:
  VertexTable() : slots_(1 << 12, -1) {}

  int32_t find_or_add(const Key& key) {
    size_t slot = find_slot(key);
    if (slots_[slot] >= 0) return slots_[slot];
    if (keys_.size() * 2 >= slots_.size()) {
      grow();
      slot = find_slot(key);
    }
    slots_[slot] = int32_t(keys_.size());
    keys_.push_back(key);
    return slots_[slot];
  }
  int32_t find(const Key& key) const { return slots_[find_slot(key)]; }
  const Key& key(int64_t vertex) const { return keys_[vertex]; }
  int64_t size() const { return int64_t(keys_.size()); }

 private:
  static size_t hash(const Key& key) {
    uint64_t h = 0;
    for (int32_t c : key) h = (h + uint32_t(c)) * 0x9E3779B97F4A7C15ull;
    return size_t(h ^ (h >> 29));
  }
  size_t find_slot(const Key& key) const {
    const size_t mask = slots_.size() - 1;
    size_t slot = hash(key) & mask;
    while (slots_[slot] >= 0 && keys_[slots_[slot]] != key) slot = (slot + 1) & mask;
    return slot;
  }
  void grow() {
    slots_.assign(slots_.size() * 2, -1);
    for (size_t v = 0; v < keys_.size(); ++v) slots_[find_slot(keys_[v])] = int32_t(v);
  }

  std::vector<int32_t> slots_;
  std::vector<Key> keys_;
};

// Encloses the pixels of one image; returns their vertices, numbered within the image.
void enclose_pixels(const float* image, int64_t height, int64_t width, const segtool::FeatureScale& scale,
                    VertexTable& table, int32_t* vertex, float* weight) {
  const int64_t pixels = height * width;
  std::vector<segtool::Simplex> row(width);
  for (int64_t y = 0; y < height; ++y) {
#pragma omp parallel for schedule(static)
    for (int64_t x = 0; x < width; ++x) {
      const float* p = image + y * width + x;
      const float feature[kDim] = {float(x), float(y), p[0], p[pixels], p[2 * pixels]};
      row[x] = segtool::enclosing_simplex(feature, scale);
      std::memcpy(weight + (y * width + x) * kCorners, row[x].barycentric, sizeof(row[x].barycentric));
    }
    for (int64_t x = 0; x < width; ++x) {
      for (int k = 0; k < kCorners; ++k) {
        Key key;
        for (int i = 0; i < kDim; ++i) key[i] = segtool::vertex_coordinate(row[x], k, i);
        vertex[(y * width + x) * kCorners + k] = table.find_or_add(key);
      }
    }
  }
}

// Writes one image's neighbours into the table of the batch, whose vertices start at `first`.
void link_neighbors(const VertexTable& table, int64_t first, int64_t total, int32_t* neighbor) {
  for (int axis = 0; axis < kCorners; ++axis) {
    for (int side = 0; side < 2; ++side) {
      int32_t* out = neighbor + (axis * 2 + side) * total + first;
#pragma omp parallel for schedule(static)
      for (int64_t v = 0; v < table.size(); ++v) {
        Key key = table.key(v);
        for (int i = 0; i < kDim; ++i) {
          key[i] = segtool::neighbor_coordinate(key[i], i, axis, side == 0 ? 1 : -1);
        }
        const int32_t found = table.find(key);
        out[v] = found < 0 ? int32_t(total) : int32_t(found + first);
      }
    }
  }
}

// Turns barycentric weights into weights that hold the symmetric normalisation D^-1/2, D = K 1.
int normalize(const int32_t* vertex, float* weight, const int32_t* neighbor, int64_t n, int64_t pixels, int64_t m) {
  std::vector<float> ones(n * pixels, 1.0f), degree(n * pixels);
  if (segtool_filter(ones.data(), vertex, weight, neighbor, n, 1, pixels, m, 0, 0, degree.data())) return 1;
#pragma omp parallel for schedule(static)
  for (int64_t p = 0; p < n * pixels; ++p) {
    const float scale = 1.0f / std::sqrt(degree[p]);
    for (int k = 0; k < kCorners; ++k) weight[p * kCorners + k] *= scale;
  }
  return 0;
}

int check(const float* image, int64_t n, int64_t height, int64_t width, double spatial_sigma, double color_sigma) {
  if (n < 1 || height < 1 || width < 1) return segtool::fail("image: every dimension must be at least 1");
  if (n * height * width > INT32_MAX / kCorners) {
    return segtool::fail("image: more than 357,913,941 pixels in a batch; use a smaller batch");
  }
  if (!(spatial_sigma > 0) || !(color_sigma > 0) || std::isinf(spatial_sigma) || std::isinf(color_sigma)) {
    return segtool::fail("spatial_sigma and color_sigma must be positive and finite");
  }
  const double reach = double(height > width ? height : width) / spatial_sigma + 255.0 / color_sigma;
  if (reach > 1e8) return segtool::fail("spatial_sigma or color_sigma is too small for the image's size");
  for (int64_t i = 0; i < n * 3 * height * width; ++i) {
    // Written so that NaN fails too.
    if (!(image[i] >= 0.0f && image[i] <= 255.0f)) {
      return segtool::fail("image: value " + std::to_string(image[i]) + " at index " + std::to_string(i) +
                           "; levels must be finite and within 0..255");
    }
  }
  return 0;
}

}  // namespace

struct segtool_lattice {
  int64_t vertex_count = 0;
  std::vector<int32_t> neighbor;
};

int segtool_lattice_build(const float* image, int64_t n, int64_t height, int64_t width, double spatial_sigma,
                          double color_sigma, int32_t* vertex, float* weight, int64_t* vertex_count,
                          segtool_lattice** lattice) try {
  *lattice = nullptr;
  if (check(image, n, height, width, spatial_sigma, color_sigma)) return 1;
  const segtool::FeatureScale scale = segtool::feature_scale(spatial_sigma, color_sigma);
  const int64_t pixels = height * width;

  std::vector<VertexTable> tables(n);
  std::vector<int64_t> first(n + 1, 0);
  for (int64_t b = 0; b < n; ++b) {
    int32_t* image_vertex = vertex + b * pixels * kCorners;
    enclose_pixels(image + b * 3 * pixels, height, width, scale, tables[b], image_vertex,
                   weight + b * pixels * kCorners);
    for (int64_t i = 0; i < pixels * kCorners; ++i) image_vertex[i] += int32_t(first[b]);
    first[b + 1] = first[b] + tables[b].size();
  }
  auto owned = std::make_unique<segtool_lattice>();
  owned->vertex_count = first[n];
  owned->neighbor.resize(2 * kCorners * first[n]);
  for (int64_t b = 0; b < n; ++b) link_neighbors(tables[b], first[b], first[n], owned->neighbor.data());
  if (normalize(vertex, weight, owned->neighbor.data(), n, pixels, first[n])) return 1;
  *vertex_count = first[n];
  *lattice = owned.release();
  return 0;
} catch (const std::bad_alloc&) {
  return segtool::fail("out of memory while building the lattice");
}

void segtool_lattice_neighbors(const segtool_lattice* lattice, int32_t* neighbor) {
  std::memcpy(neighbor, lattice->neighbor.data(), lattice->neighbor.size() * sizeof(int32_t));
}

void segtool_lattice_free(segtool_lattice* lattice) { delete lattice; }
