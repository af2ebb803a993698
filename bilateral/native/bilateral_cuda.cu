// Lattice and filter on CUDA: the straightforward version. Everything runs on the caller's stream in the
// caller's workspace; nothing is allocated and nothing waits.
#include <cuda_runtime.h>

#include <algorithm>
#include <string>

#include "api.h"
#include "errors.h"
#include "simplex.h"

namespace {

using segtool::FeatureScale;
using segtool::kCorners;
using segtool::kDim;
using segtool::Simplex;
constexpr int kThreads = 256;

// A vertex in the hash table: owner is the pixel corner that claimed the slot. Its key is recomputed from
// the image when slots are compared, so no key is stored and none can be too wide to pack.
struct Image {
  const float* data;
  int64_t n, height, width;
  FeatureScale scale;

  __device__ Simplex simplex(int64_t pixel) const {
    const int64_t plane = height * width, image = pixel / plane, at = pixel % plane;
    const float* p = data + image * 3 * plane + at;
    const float feature[kDim] = {float(at % width), float(at / width), p[0], p[plane], p[2 * plane]};
    return segtool::enclosing_simplex(feature, scale);
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

__device__ Key corner_key(const Image& image, int64_t corner) {
  const Simplex s = image.simplex(corner / kCorners);
  Key key;
  key.image = int32_t(corner / kCorners / (image.height * image.width));
  for (int i = 0; i < kDim; ++i) key.coordinate[i] = segtool::vertex_coordinate(s, int(corner % kCorners), i);
  return key;
}

// Workspace of a build, carved from one buffer. slot_* have `slots` entries, vertex_* have `capacity`.
struct Table {
  int64_t slots, capacity;
  int32_t* slot_owner;    // pixel corner that claimed the slot, or -1
  int32_t* slot_vertex;   // vertex number of the slot
  int32_t* vertex_owner;  // pixel corner of each vertex
  float* degree;          // [pixels of the batch]
  float* blur;            // two lattice channels for the normalisation, [2, capacity + 1]
};

// At most capacity + 1 distinct keys are admitted, so twice as many slots always leave a free one.
int64_t slot_count(int64_t capacity) {
  int64_t slots = 1024;
  while (slots < 2 * (capacity + 1)) slots *= 2;
  return slots;
}

int64_t table_bytes(int64_t pixels, int64_t capacity) {
  return 4 * (2 * slot_count(capacity) + capacity + pixels + 2 * (capacity + 1));
}

Table carve(void* workspace, int64_t pixels, int64_t capacity) {
  Table t;
  t.slots = slot_count(capacity);
  t.capacity = capacity;
  t.slot_owner = static_cast<int32_t*>(workspace);
  t.slot_vertex = t.slot_owner + t.slots;
  t.vertex_owner = t.slot_vertex + t.slots;
  t.degree = reinterpret_cast<float*>(t.vertex_owner + capacity);
  t.blur = t.degree + pixels;
  return t;
}

__global__ void fill(int32_t* data, int64_t count, int32_t value) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) data[i] = value;
}

// Claims a slot for each corner's key. status[0] counts vertices, status[1] is set on overflow.
__global__ void insert(Image image, Table table, int64_t corners, int32_t* vertex, float* weight, int32_t* status) {
  const int64_t corner = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (corner >= corners) return;
  weight[corner] = image.simplex(corner / kCorners).barycentric[corner % kCorners];
  vertex[corner] = -1;
  const Key key = corner_key(image, corner);
  uint64_t slot = key.hash() & (table.slots - 1);
  for (int64_t probe = 0; probe < table.slots; ++probe, slot = (slot + 1) & (table.slots - 1)) {
    int32_t owner = table.slot_owner[slot];
    if (owner < 0) {
      if (*reinterpret_cast<volatile int32_t*>(status) >= table.capacity) break;
      owner = atomicCAS(table.slot_owner + slot, -1, int32_t(corner));
      if (owner < 0) {
        const int32_t number = atomicAdd(status, 1);
        if (number >= table.capacity) break;
        table.slot_vertex[slot] = number;
        table.vertex_owner[number] = int32_t(corner);
        owner = int32_t(corner);
      }
    }
    if (owner == corner || corner_key(image, owner) == key) {
      vertex[corner] = int32_t(slot);  // number_corners turns slots into vertex numbers
      return;
    }
  }
  status[1] = 1;
}

__global__ void number_corners(Table table, int64_t corners, int32_t* vertex) {
  const int64_t corner = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (corner >= corners) return;
  const int32_t number = vertex[corner] < 0 ? -1 : table.slot_vertex[vertex[corner]];
  vertex[corner] = number < 0 ? int32_t(table.capacity) : number;
}

__global__ void link(Image image, Table table, const int32_t* status, int32_t* neighbor) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= 2 * kCorners * table.capacity) return;
  const int64_t vertex = i % table.capacity;
  neighbor[i] = int32_t(table.capacity);
  if (vertex >= status[0]) return;
  const int axis = int(i / table.capacity / 2), direction = i / table.capacity % 2 == 0 ? 1 : -1;
  Key key = corner_key(image, table.vertex_owner[vertex]);
  for (int c = 0; c < kDim; ++c) {
    key.coordinate[c] = segtool::neighbor_coordinate(key.coordinate[c], c, axis, direction);
  }
  uint64_t slot = key.hash() & (table.slots - 1);
  while (table.slot_owner[slot] >= 0) {
    if (table.slot_vertex[slot] >= 0 && corner_key(image, table.slot_owner[slot]) == key) {
      neighbor[i] = table.slot_vertex[slot];
      return;
    }
    slot = (slot + 1) & (table.slots - 1);
  }
}

__global__ void normalize(int64_t corners, const float* degree, float* weight) {
  const int64_t corner = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (corner < corners) weight[corner] *= 1.0f / sqrtf(degree[corner / kCorners]);
}

// values == nullptr stands for one channel of ones. lattice is [capacity + 1, channels].
__global__ void splat(const float* values, const int32_t* vertex, const float* weight, int64_t total,
                      int64_t channels, int64_t pixels, float* lattice) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= total) return;
  const int64_t channel = i / pixels % channels, pixel = i / pixels / channels * pixels + i % pixels;
  const float value = values ? values[i] : 1.0f;
  for (int k = 0; k < kCorners; ++k) {
    atomicAdd(lattice + int64_t(vertex[pixel * kCorners + k]) * channels + channel,
              weight[pixel * kCorners + k] * value);
  }
}

__global__ void blur(const int32_t* neighbor, int axis, int64_t channels, int64_t capacity, const float* in,
                     float* out) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= (capacity + 1) * channels) return;
  const int64_t vertex = i / channels, channel = i % channels;
  if (vertex == capacity) {  // "no such vertex" stays zero
    out[i] = 0.0f;
    return;
  }
  const int32_t* n = neighbor + 2 * axis * capacity + vertex;
  out[i] = in[i] + 0.5f * (in[n[0] * channels + channel] + in[n[capacity] * channels + channel]);
}

__global__ void slice(const float* lattice, const int32_t* vertex, const float* weight, int64_t total,
                      int64_t channels, int64_t pixels, float* out) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= total) return;
  const int64_t channel = i / pixels % channels, pixel = i / pixels / channels * pixels + i % pixels;
  float sum = 0.0f;
  for (int k = 0; k < kCorners; ++k) {
    sum += weight[pixel * kCorners + k] * lattice[int64_t(vertex[pixel * kCorners + k]) * channels + channel];
  }
  out[i] = sum;
}

unsigned blocks(int64_t count) { return unsigned((count + kThreads - 1) / kThreads); }

int launched(const char* what) {
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? 0 : segtool::fail(std::string(what) + ": " + cudaGetErrorString(error));
}

// lattice: [2, capacity + 1, channels] workspace.
int filter(const float* values, const int32_t* vertex, const float* weight, const int32_t* neighbor, int64_t n,
           int64_t channels, int64_t pixels, int64_t capacity, bool reverse, float* out, float* lattice,
           cudaStream_t stream) {
  const int64_t total = n * channels * pixels, rows = (capacity + 1) * channels;
  float *from = lattice, *to = lattice + rows;
  cudaMemsetAsync(from, 0, rows * sizeof(float), stream);
  splat<<<blocks(total), kThreads, 0, stream>>>(values, vertex, weight, total, channels, pixels, from);
  // A pixel without a vertex (overflow) splats into the last row, which must stay zero.
  cudaMemsetAsync(from + capacity * channels, 0, channels * sizeof(float), stream);
  for (int step = 0; step < kCorners; ++step) {
    const int axis = reverse ? kCorners - 1 - step : step;
    blur<<<blocks(rows), kThreads, 0, stream>>>(neighbor, axis, channels, capacity, from, to);
    std::swap(from, to);
  }
  slice<<<blocks(total), kThreads, 0, stream>>>(from, vertex, weight, total, channels, pixels, out);
  return launched("CUDA filter");
}

}  // namespace

int64_t segtool_cuda_lattice_workspace(int64_t n, int64_t height, int64_t width, int64_t capacity) {
  return table_bytes(n * height * width, capacity);
}

int segtool_cuda_lattice_build(const float* image, int64_t n, int64_t height, int64_t width, double spatial_sigma,
                               double color_sigma, int64_t capacity, int32_t* vertex, float* weight,
                               int32_t* neighbor, int32_t* status, void* workspace, void* stream_handle) {
  if (!(spatial_sigma > 0) || !(color_sigma > 0)) return segtool::fail("sigmas must be positive and finite");
  const auto stream = static_cast<cudaStream_t>(stream_handle);
  const int64_t pixels = n * height * width, corners = pixels * kCorners;
  if (corners > INT32_MAX || capacity > INT32_MAX / kCorners) return segtool::fail("image: too many pixels");
  const Image source{image, n, height, width, segtool::feature_scale(spatial_sigma, color_sigma)};
  const Table table = carve(workspace, pixels, capacity);
  cudaMemsetAsync(status, 0, 2 * sizeof(int32_t), stream);
  fill<<<blocks(2 * table.slots), kThreads, 0, stream>>>(table.slot_owner, 2 * table.slots, -1);
  insert<<<blocks(corners), kThreads, 0, stream>>>(source, table, corners, vertex, weight, status);
  number_corners<<<blocks(corners), kThreads, 0, stream>>>(table, corners, vertex);
  link<<<blocks(2 * kCorners * capacity), kThreads, 0, stream>>>(source, table, status, neighbor);
  if (filter(nullptr, vertex, weight, neighbor, 1, 1, pixels, capacity, false, table.degree, table.blur, stream)) {
    return 1;
  }
  normalize<<<blocks(corners), kThreads, 0, stream>>>(corners, table.degree, weight);
  return launched("CUDA lattice build");
}

int64_t segtool_cuda_filter_workspace(int64_t channels, int64_t capacity) {
  return 2 * (capacity + 1) * channels * int64_t(sizeof(float));
}

int segtool_cuda_filter(const float* values, const int32_t* vertex, const float* weight, const int32_t* neighbor,
                        int64_t n, int64_t channels, int64_t pixels, int64_t capacity, int reverse, float* out,
                        void* workspace, void* stream) {
  return filter(values, vertex, weight, neighbor, n, channels, pixels, capacity, reverse != 0, out,
                static_cast<float*>(workspace), static_cast<cudaStream_t>(stream));
}
