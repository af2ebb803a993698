// Prints digests of a lattice and of a mean field, to be compared between processors.
#include <cstdint>
#include <cstdio>
#include <vector>

#include "api.h"

int main() {
  const int64_t n = 2, h = 37, w = 53, c = 21, pixels = h * w;
  std::vector<float> image(n * 3 * pixels), logits(n * c * pixels), q(n * c * pixels), tables(2 * c * c);
  uint32_t state = 1;
  const auto next = [&] { return (state = state * 1664525u + 1013904223u) >> 8; };
  for (float& v : image) v = float(next() % 256);
  for (float& v : logits) v = float(next() % 1000) / 200 - 2.5f;
  for (float& v : tables) v = float(next() % 1000) / 4000;

  std::vector<int32_t> vertex(n * pixels * 6);
  std::vector<float> weight(n * pixels * 6);
  int64_t count = 0;
  segtool_lattice* lattice = nullptr;
  if (segtool_lattice_build(image.data(), n, h, w, 20, 15, vertex.data(), weight.data(), &count, &lattice)) return 1;
  std::vector<int32_t> neighbor(12 * count);
  segtool_lattice_neighbors(lattice, neighbor.data());
  segtool_lattice_free(lattice);
  if (segtool_mean_field(logits.data(), image.data(), n, c, h, w, 2, 20, 15, tables.data(), tables.data() + c * c, 5,
                         q.data())) {
    return 1;
  }
  uint64_t vertices = uint64_t(count), labels = 0;
  for (int32_t v : vertex) vertices = vertices * 31 + uint64_t(v);
  for (int32_t v : neighbor) vertices = vertices * 31 + uint64_t(v);
  for (int64_t p = 0; p < n * pixels; ++p) {
    const float* at = q.data() + p / pixels * c * pixels + p % pixels;
    int64_t best = 0;
    for (int64_t k = 1; k < c; ++k) best = at[k * pixels] > at[best * pixels] ? k : best;
    labels = labels * 31 + uint64_t(best);
  }
  std::printf("vertices %llx labels %llx\n", (unsigned long long)vertices, (unsigned long long)labels);
}
