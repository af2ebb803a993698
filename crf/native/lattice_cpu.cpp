// Lattice build on the CPU. Each image is cut into bands of rows; threads enclose the pixels of a band and number
// its vertices in the order in which they come. The bands' tables are then joined in order, which gives every
// vertex the number that it would have got in one pass: the result does not depend on the number of threads.
#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "api.h"
#include "checks.h"
#include "errors.h"
#include "simplex_lanes.h"
#include "threads.h"
#include "vertex_table.h"

namespace {

using segtool::Key;
using segtool::kCorners;
using segtool::kDim;
using segtool::kLanes;
using segtool::Lanes;
using segtool::load_some;
using segtool::share_each;
using segtool::VertexTable;

constexpr int64_t kBandPixels = 8192;
constexpr int64_t kChunk = 4096;  // of what is quickly done

// A batch of images and where its vertices and weights go.
struct Batch {
  const float* image;
  int64_t n, height, width;
  segtool::FeatureScale scale;
  int32_t* vertex;
  float* weight;

  int64_t pixels() const { return height * width; }
};

struct Band {
  int64_t image, first_row, last_row;  // rows [first_row, last_row)
  VertexTable table;
  std::vector<int32_t> number;  // in the batch, of the table's vertices
};

std::vector<Band> cut_into_bands(const Batch& batch) {
  const int64_t count = std::clamp<int64_t>(batch.pixels() / kBandPixels, 1, batch.height);
  std::vector<Band> bands;
  for (int64_t b = 0; b < batch.n; ++b) {
    for (int64_t i = 0; i < count; ++i) {
      bands.push_back({b, batch.height * i / count, batch.height * (i + 1) / count, {}, {}});
    }
  }
  return bands;
}

// The simplices of up to kLanes neighbouring pixels of a row, by vertex, coordinate and pixel.
struct Run {
  int32_t key[kCorners][kDim][kLanes];
  float barycentric[kCorners][kLanes];
};

// `red` are the levels of the pixel at (x, y), and `plane` floats farther on are those of the next colour.
SEGTOOL_CLONES void enclose_run(const float* red, int64_t plane, int64_t x, int64_t y, int64_t count,
                                const segtool::FeatureScale& scale, Run* run) {
  const Lanes feature[kDim] = {Lanes{0, 1, 2, 3, 4, 5, 6, 7} + float(x), Lanes{} + float(y), load_some(red, count),
                               load_some(red + plane, count), load_some(red + 2 * plane, count)};
  const auto simplex = segtool::enclosing_simplex(feature, scale);
  for (int k = 0; k < kCorners; ++k) {
    segtool::store(run->barycentric[k], simplex.barycentric[k]);
    for (int i = 0; i < kDim; ++i) {
      const segtool::IntLanes coordinate = segtool::vertex_coordinate(simplex, k, i);
      std::memcpy(run->key[k][i], &coordinate, sizeof(coordinate));
    }
  }
}

// Writes the vertices and weights of the run's first `count` pixels.
void number_run(const Run& run, int64_t count, VertexTable& table, int32_t* vertex, float* weight) {
  for (int64_t p = 0; p < count; ++p) {
    for (int k = 0; k < kCorners; ++k) {
      Key key;
      for (int i = 0; i < kDim; ++i) key[i] = run.key[k][i][p];
      *vertex++ = table.find_or_add(key);
      *weight++ = run.barycentric[k][p];
    }
  }
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
      number_run(run, count, band.table, batch.vertex + entry, batch.weight + entry);
    }
  }
}

// Joins the tables of one image's bands; `first` is the number of its first vertex in the batch.
VertexTable join_bands(Band* begin, Band* end, int64_t first) {
  VertexTable table;
  for (Band* band = begin; band != end; ++band) {
    band->number.resize(band->table.size());
    for (int64_t v = 0; v < band->table.size(); ++v) {
      band->number[v] = int32_t(first + table.find_or_add(band->table.key(v)));
    }
  }
  return table;
}

void renumber(const Batch& batch, const Band& band) {
  const int64_t begin = (band.image * batch.pixels() + band.first_row * batch.width) * kCorners;
  const int64_t count = (band.last_row - band.first_row) * batch.width * kCorners;
  for (int32_t* v = batch.vertex + begin; v != batch.vertex + begin + count; ++v) *v = band.number[*v];
}

// Calls body(i) for i in [0, count), kChunk of them at a time.
template <class Body>
void share_chunks(int64_t count, const Body& body) {
  share_each((count + kChunk - 1) / kChunk, [&](int64_t chunk) {
    for (int64_t i = chunk * kChunk; i < std::min(count, (chunk + 1) * kChunk); ++i) body(i);
  });
}

// Writes one image's neighbours into the table of the batch, whose vertices start at `first`. The relation is
// symmetric: whoever is found on one side of a vertex has that vertex on the other.
void link_neighbors(const VertexTable& table, int64_t first, int64_t total, int32_t* neighbor) {
  for (int axis = 0; axis < kCorners; ++axis) {
    int32_t *ahead = neighbor + axis * 2 * total, *behind = ahead + total;
    std::fill_n(behind + first, table.size(), int32_t(total));
    share_chunks(table.size(), [&](int64_t v) {
      Key key = table.key(v);
      for (int i = 0; i < kDim; ++i) key[i] = segtool::neighbor_coordinate(key[i], i, axis, 1);
      const int32_t found = table.find(key);
      ahead[first + v] = found < 0 ? int32_t(total) : int32_t(first + found);
      if (found >= 0) behind[first + found] = int32_t(first + v);
    });
  }
}

// Turns barycentric weights into weights that hold the symmetric normalisation D^-1/2, D = K 1.
int normalize(const int32_t* vertex, float* weight, const int32_t* neighbor, int64_t n, int64_t pixels, int64_t m) {
  std::vector<float> ones(n * pixels, 1.0f), degree(n * pixels);
  if (segtool_filter(ones.data(), vertex, weight, neighbor, n, 1, pixels, m, 0, 0, degree.data())) return 1;
  share_chunks(n * pixels, [&](int64_t p) {
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

struct segtool_lattice {
  int64_t vertex_count = 0;
  std::vector<int32_t> neighbor;
};

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
    tables.push_back(join_bands(begin, begin + bands_each, first[b]));
    first.push_back(first[b] + tables[b].size());
  }
  share_each(int64_t(bands.size()), [&](int64_t i) { renumber(batch, bands[i]); });
  auto owned = std::make_unique<segtool_lattice>();
  owned->vertex_count = first[n];
  owned->neighbor.resize(2 * kCorners * first[n]);
  for (int64_t b = 0; b < n; ++b) link_neighbors(tables[b], first[b], first[n], owned->neighbor.data());
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
