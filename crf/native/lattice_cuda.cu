// Building the lattice on CUDA, in two steps: insert finds the vertices, link their neighbours and the weights'
// normalisation. Everything runs on the caller's stream in the caller's workspace; nothing is allocated and nothing
// waits. Which number a vertex gets depends on the threads' order; what a filter does on the lattice does not.
#include "api.h"
#include "checks.h"
#include "cuda_launch.h"
#include "filter_cuda.h"
#include "simplex.h"

#include <algorithm>
#include <cmath>

namespace {

using segtool::FeatureScale;
using segtool::kCorners;
using segtool::kDim;
using Simplex = segtool::Simplex<float>;
using segtool::cuda::current_value;
using segtool::cuda::launch;
using segtool::cuda::thread_index;
enum Problem : int32_t { kOverflow = 1, kBadLevel = 2 };  // bits of status[1]

// Keys are recomputed from the image when slots of the hash table are compared, so no key is stored and none can be
// too wide to pack.
struct Image {
  const float* data;
  int64_t n, height, width;
  FeatureScale scale;

  int64_t pixels() const { return n * height * width; }
  __device__ Simplex simplex(int64_t pixel) const {
    const int64_t plane = height * width, image = pixel / plane, at = pixel % plane;
    const float* p = data + image * 3 * plane + at;
    const float feature[kDim] = {float(at % width), float(at / width), p[0], p[plane], p[2 * plane]};
    return segtool::enclosing_simplex(feature, scale);
  }
  __device__ bool has_levels(int64_t pixel) const {
    const int64_t plane = height * width;
    const float* p = data + pixel / plane * 3 * plane + pixel % plane;
    bool good = true;  // false for NaN
    for (int c = 0; c < 3; ++c) good &= p[c * plane] >= 0.0f && p[c * plane] <= 255.0f;
    return good;
  }
};

struct Key {
  int32_t image;
  int32_t coordinate[kDim];

  __device__ bool operator==(const Key& other) const {
    bool same = image == other.image;
    for (int i = 0; i < kDim; ++i) same &= coordinate[i] == other.coordinate[i];
    return same;
  }
  __device__ uint64_t hash() const {
    uint64_t h = uint32_t(image);
    for (int i = 0; i < kDim; ++i) h = (h + uint32_t(coordinate[i])) * 0x9E3779B97F4A7C15ull;
    return h ^ (h >> 29);
  }
};

__device__ Key vertex_key(const Image& image, const Simplex& simplex, int64_t corner) {
  Key key;
  key.image = int32_t(corner / kCorners / (image.height * image.width));
  for (int i = 0; i < kDim; ++i) key.coordinate[i] = segtool::vertex_coordinate(simplex, int(corner % kCorners), i);
  return key;
}

// `corner` is 6 * pixel + k.
__device__ Key corner_key(const Image& image, int64_t corner) {
  return vertex_key(image, image.simplex(corner / kCorners), corner);
}

// Workspace of a build, carved from one buffer.
struct Table {
  int64_t slots, capacity;
  void* filter;           // workspace of the filter of one channel
  int32_t* slot_owner;    // [slots] pixel corner that claimed the slot, or -1
  int32_t* slot_vertex;   // [slots] vertex number of the slot, or -1
  int32_t* vertex_owner;  // [capacity] pixel corner of each vertex
  float* degree;          // [pixels of the batch]
};

// A power of two, at most half of which is ever claimed: searches end at a free slot, and soon. Claimed are `capacity`
// and, where that does not suffice, one more by every thread that was at it while the last of them went.
int64_t slot_count(int64_t pixels, int64_t capacity) {
  constexpr int64_t kThreadsAtOnce = 1 << 19;  // no device has as many
  int64_t slots = 1024;
  while (slots < 2 * (capacity + std::min(pixels, kThreadsAtOnce))) slots *= 2;
  return slots;
}

// The normalisation is filtered deterministically always: it costs one channel of one filter.
int64_t filter_bytes(int64_t capacity) { return segtool::cuda::filter_workspace(1, capacity, true); }

Table carve(void* workspace, int64_t pixels, int64_t capacity) {
  Table t;
  t.slots = slot_count(pixels, capacity);
  t.capacity = capacity;
  t.filter = workspace;
  t.slot_owner = reinterpret_cast<int32_t*>(static_cast<char*>(workspace) + filter_bytes(capacity));
  t.slot_vertex = t.slot_owner + t.slots;
  t.vertex_owner = t.slot_vertex + t.slots;
  t.degree = reinterpret_cast<float*>(t.vertex_owner + capacity);
  return t;
}

__global__ void fill(int32_t* data, int64_t count, int32_t value) {
  const int64_t i = thread_index();
  if (i < count) data[i] = value;
}

// The slot of a key, claimed by `corner` if it is new; -1 if it is new and there is no room.
__device__ int64_t find_or_claim(const Image& image, const Table& table, const Key& key, int64_t corner,
                                 int32_t* status) {
  uint64_t slot = key.hash() & (table.slots - 1);
  for (int64_t probe = 0; probe < table.slots; ++probe, slot = (slot + 1) & (table.slots - 1)) {
    int32_t owner = current_value(table.slot_owner + slot);
    if (owner < 0) {
      const bool room = current_value(status) < table.capacity;
      // Without room only looked at: whoever took the last of it may have claimed this slot, for this key, since.
      owner = atomicCAS(table.slot_owner + slot, -1, room ? int32_t(corner) : -1);
      if (owner < 0) {
        const int32_t number = room ? atomicAdd(status, 1) : -1;
        if (number < 0 || number >= table.capacity) return -1;
        table.slot_vertex[slot] = number;
        table.vertex_owner[number] = int32_t(corner);
        return int64_t(slot);
      }
    }
    if (corner_key(image, owner) == key) return int64_t(slot);
  }
  return -1;
}

// vertex gets slots, which number_corners turns into vertex numbers. status[0] counts vertices.
__global__ void insert_pixel(Image image, Table table, int64_t pixels, int32_t* vertex, float* weight,
                             int32_t* status) {
  const int64_t pixel = thread_index();
  if (pixel >= pixels) return;
  const bool good = image.has_levels(pixel);
  if (!good) atomicOr(status + 1, kBadLevel);
  const Simplex simplex = good ? image.simplex(pixel) : Simplex{};
  for (int64_t corner = pixel * kCorners; corner < (pixel + 1) * kCorners; ++corner) {
    weight[corner] = simplex.barycentric[corner % kCorners];
    const Key key = vertex_key(image, simplex, corner);
    const int64_t slot = good ? find_or_claim(image, table, key, corner, status) : -1;
    if (good && slot < 0) atomicOr(status + 1, kOverflow);
    vertex[corner] = int32_t(slot);
  }
}

__global__ void number_corners(Table table, int64_t corners, int64_t none, int32_t* vertex) {
  const int64_t corner = thread_index();
  if (corner >= corners) return;
  const int32_t number = vertex[corner] < 0 ? -1 : table.slot_vertex[vertex[corner]];
  vertex[corner] = number < 0 ? int32_t(none) : number;
}

__global__ void find_neighbors(Image image, Table table, const int32_t* status, int64_t none, int32_t* neighbor) {
  const int64_t i = thread_index();
  if (i >= 2 * kCorners * none) return;
  const int64_t vertex = i % none;
  neighbor[i] = int32_t(none);
  if (vertex >= status[0]) return;
  const int axis = int(i / none / 2), direction = i / none % 2 == 0 ? 1 : -1;
  Key key = corner_key(image, table.vertex_owner[vertex]);
  for (int c = 0; c < kDim; ++c) {
    key.coordinate[c] = segtool::neighbor_coordinate(key.coordinate[c], c, axis, direction);
  }
  uint64_t slot = key.hash() & (table.slots - 1);
  for (; table.slot_owner[slot] >= 0; slot = (slot + 1) & (table.slots - 1)) {
    if (table.slot_vertex[slot] >= 0 && corner_key(image, table.slot_owner[slot]) == key) {
      neighbor[i] = table.slot_vertex[slot];
      return;
    }
  }
}

// What a failed lattice filters is NaN, not a picture that looks right to whoever does not read the status.
__global__ void normalize(int64_t corners, const float* degree, const int32_t* status, float* weight) {
  const int64_t corner = thread_index();
  if (corner < corners) weight[corner] *= status[1] ? NAN : 1.0f / sqrtf(degree[corner / kCorners]);
}

int check(const Image& image, double spatial_sigma, double color_sigma, int64_t capacity) {
  if (segtool::check_lattice(image.n, image.height, image.width, spatial_sigma, color_sigma)) return 1;
  if (capacity < 1 || capacity > INT32_MAX / kCorners) return segtool::fail("capacity must be in 1..357,913,941");
  return 0;
}

}  // namespace

int64_t segtool_cuda_lattice_workspace(int64_t n, int64_t height, int64_t width, int64_t capacity) {
  const int64_t pixels = n * height * width;
  return filter_bytes(capacity) + 4 * (2 * slot_count(pixels, capacity) + capacity + pixels);
}

int segtool_cuda_lattice_insert(const float* image, int64_t n, int64_t height, int64_t width, double spatial_sigma,
                                double color_sigma, int64_t capacity, int32_t* vertex, float* weight,
                                int32_t* status, void* workspace, void* stream_handle) {
  const Image source{image, n, height, width, segtool::feature_scale(spatial_sigma, color_sigma)};
  if (check(source, spatial_sigma, color_sigma, capacity)) return 1;
  const auto stream = static_cast<cudaStream_t>(stream_handle);
  const Table table = carve(workspace, source.pixels(), capacity);
  cudaMemsetAsync(status, 0, 2 * sizeof(int32_t), stream);
  launch(fill, 2 * table.slots, stream, table.slot_owner, 2 * table.slots, -1);
  launch(insert_pixel, source.pixels(), stream, source, table, source.pixels(), vertex, weight, status);
  return segtool::cuda::launched("CUDA lattice");
}

int segtool_cuda_lattice_link(const float* image, int64_t n, int64_t height, int64_t width, double spatial_sigma,
                              double color_sigma, int64_t capacity, int64_t vertex_count, int32_t* vertex,
                              float* weight, int32_t* neighbor, const int32_t* status, void* workspace,
                              void* stream_handle) {
  const Image source{image, n, height, width, segtool::feature_scale(spatial_sigma, color_sigma)};
  if (check(source, spatial_sigma, color_sigma, capacity)) return 1;
  if (vertex_count < 1 || vertex_count > capacity) return segtool::fail("vertex_count must be in 1..capacity");
  const auto stream = static_cast<cudaStream_t>(stream_handle);
  const Table table = carve(workspace, source.pixels(), capacity);
  const int64_t corners = source.pixels() * kCorners;
  launch(number_corners, corners, stream, table, corners, vertex_count, vertex);
  launch(find_neighbors, 2 * kCorners * vertex_count, stream, source, table, status, vertex_count, neighbor);
  const segtool::cuda::Filter ones{nullptr, vertex, weight, neighbor, status, 1, 1, source.pixels(), vertex_count,
                                   false, false, true, table.degree};
  if (segtool::cuda::filter(ones, table.filter, stream)) return 1;
  launch(normalize, corners, stream, corners, table.degree, status, weight);
  return segtool::cuda::launched("CUDA lattice");
}
