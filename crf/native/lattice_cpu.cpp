// Lattice build on the CPU, of images: each is cut into bands of rows, see lattice_bands.h.
#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "api.h"
#include "checks.h"
#include "errors.h"
#include "lattice_bands.h"

namespace {

using segtool::kBandPixels;
using segtool::kCorners;
using segtool::kDim;
using segtool::kLanes;
using segtool::Lanes;
using segtool::load_some;
using segtool::share_each;
using Run = segtool::Run<kDim>;
using VertexTable = segtool::VertexTable<kDim>;

// A batch of images and where its vertices and weights go.
struct Batch {
  const float* image;
  int64_t n, height, width;
  segtool::FeatureScale scale;
  int32_t* vertex;
  float* weight;

  int64_t pixels() const { return height * width; }
};

struct Band : segtool::Numbered<kDim> {
  int64_t image, first_row, last_row;  // rows [first_row, last_row)
};

std::vector<Band> cut_into_bands(const Batch& batch) {
  const int64_t count = std::clamp<int64_t>(batch.pixels() / kBandPixels, 1, batch.height);
  std::vector<Band> bands;
  for (int64_t b = 0; b < batch.n; ++b) {
    for (int64_t i = 0; i < count; ++i) {
      Band band;
      band.image = b;
      band.first_row = batch.height * i / count;
      band.last_row = batch.height * (i + 1) / count;
      band.begin = (b * batch.pixels() + band.first_row * batch.width) * kCorners;
      band.end = (b * batch.pixels() + band.last_row * batch.width) * kCorners;
      bands.push_back(std::move(band));
    }
  }
  return bands;
}

// `red` are the levels of the pixel at (x, y), and `plane` floats farther on are those of the next colour.
SEGTOOL_CLONES void enclose_run(const float* red, int64_t plane, int64_t x, int64_t y, int64_t count,
                                const segtool::FeatureScale& scale, Run* run) {
  const Lanes feature[kDim] = {Lanes{0, 1, 2, 3, 4, 5, 6, 7} + float(x), Lanes{} + float(y), load_some(red, count),
                               load_some(red + plane, count), load_some(red + 2 * plane, count)};
  segtool::store_run(segtool::enclosing_simplex(feature, scale), run);
}

// Encloses the band's pixels; its vertices are numbered within the band.
void enclose_band(const Batch& batch, Band& band) {
  const int64_t pixels = batch.pixels();
  const float* levels = batch.image + band.image * 3 * pixels;
  Run run;
  for (int64_t y = band.first_row; y < band.last_row; ++y) {
    for (int64_t x = 0; x < batch.width; x += kLanes) {
      const int64_t count = std::min<int64_t>(kLanes, batch.width - x), pixel = y * batch.width + x;
      const int64_t entry = (band.image * pixels + pixel) * kCorners;
      enclose_run(levels + pixel, pixels, x, y, count, batch.scale, &run);
      segtool::number_run(run, count, band.table, batch.vertex + entry, batch.weight + entry);
    }
  }
}

// Turns barycentric weights into weights that hold the symmetric normalisation D^-1/2, D = K 1.
int normalize(const int32_t* vertex, float* weight, const int32_t* neighbor, int64_t n, int64_t pixels, int64_t m) {
  std::vector<float> ones(n * pixels, 1.0f), degree(n * pixels);
  if (segtool_filter(ones.data(), vertex, weight, neighbor, n, 1, pixels, m, 0, 0, degree.data())) return 1;
  segtool::share_chunks(n * pixels, [&](int64_t p) {
    const float scale = 1.0f / std::sqrt(degree[p]);
    for (int k = 0; k < kCorners; ++k) weight[p * kCorners + k] *= scale;
  });
  return 0;
}

int check(const float* image, int64_t n, int64_t height, int64_t width, double spatial_sigma, double color_sigma) {
  if (segtool::check_lattice(n, height, width, spatial_sigma, color_sigma)) return 1;
  // Written so that NaN fails too. The first loop is quick, the second finds the place.
  const int64_t count = n * 3 * height * width;
  int bad = 0;
  for (int64_t i = 0; i < count; ++i) bad |= !(image[i] >= 0.0f) | !(image[i] <= 255.0f);
  for (int64_t i = 0; bad && i < count; ++i) {
    if (!(image[i] >= 0.0f && image[i] <= 255.0f)) {
      return segtool::fail("image: value " + std::to_string(image[i]) + " at index " + std::to_string(i) +
                           "; levels must be finite and within 0..255");
    }
  }
  return 0;
}

}  // namespace

int segtool_lattice_build(const float* image, int64_t n, int64_t height, int64_t width, double spatial_sigma,
                          double color_sigma, int32_t* vertex, float* weight, int64_t* vertex_count,
                          segtool_lattice** lattice) try {
  *lattice = nullptr;
  if (check(image, n, height, width, spatial_sigma, color_sigma)) return 1;
  const Batch batch{image, n, height, width, segtool::feature_scale(spatial_sigma, color_sigma), vertex, weight};
  std::vector<Band> bands = cut_into_bands(batch);
  const int64_t bands_each = int64_t(bands.size()) / n;
  if (!share_each(int64_t(bands.size()), [&](int64_t i) { enclose_band(batch, bands[i]); })) throw std::bad_alloc();

  std::vector<VertexTable> tables;
  std::vector<int64_t> first(1, 0);
  for (int64_t b = 0; b < n; ++b) {
    Band* begin = bands.data() + b * bands_each;
    tables.push_back(segtool::join_bands<kDim>(begin, begin + bands_each, first[b]));
    first.push_back(first[b] + tables[b].size());
  }
  share_each(int64_t(bands.size()), [&](int64_t i) { segtool::renumber(bands[i], vertex); });
  auto owned = std::make_unique<segtool_lattice>();
  owned->vertex_count = first[n];
  owned->neighbor.resize(2 * kCorners * first[n]);
  for (int64_t b = 0; b < n; ++b) segtool::link_neighbors(tables[b], first[b], first[n], owned->neighbor.data());
  if (normalize(vertex, weight, owned->neighbor.data(), n, batch.pixels(), first[n])) return 1;
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
