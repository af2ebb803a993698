// Builds lattices whose threads run in step (cuda_on_cpu/in_step.h). Usage: drive SEED LAG
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "api.h"
#include "in_step.h"

namespace {

constexpr int64_t kHeight = 40, kWidth = 48, kPixels = kHeight * kWidth;

struct Found {
  int32_t vertices, problems;
  bool in_range;
};

Found build(const std::vector<float>& image, double alpha, double beta, int64_t capacity) {
  std::vector<int32_t> vertex(6 * kPixels), status(2), neighbor(12 * capacity);
  std::vector<float> weight(6 * kPixels);
  std::unique_ptr<char[]> work(new char[segtool_cuda_lattice_workspace(1, kHeight, kWidth, capacity)]);
  if (segtool_cuda_lattice_insert(image.data(), 1, kHeight, kWidth, alpha, beta, capacity, vertex.data(), weight.data(),
                                  status.data(), work.get(), nullptr) ||
      segtool_cuda_lattice_link(image.data(), 1, kHeight, kWidth, alpha, beta, capacity, capacity, vertex.data(),
                                weight.data(), neighbor.data(), status.data(), work.get(), nullptr)) {
    std::fprintf(stderr, "%s\n", segtool_error_message());
    std::exit(1);
  }
  bool in_range = true;
  for (const auto* all : {&vertex, &neighbor}) {
    for (int32_t index : *all) in_range &= index >= 0 && index <= capacity;
  }
  return {status[0], status[1], in_range};
}

void expect(bool right, const char* what) {
  if (right) return;
  std::fprintf(stderr, "%s\n", what);
  std::exit(1);
}

}  // namespace

int main(int, char** arguments) {
  std::mt19937 random(std::atoi(arguments[1]));
  InStep::lag() = std::atoi(arguments[2]);
  std::vector<float> image(3 * kPixels);
  for (float& level : image) level = float(random() % 256);
  for (const auto& [alpha, beta] : {std::pair{20.0, 60.0}, {40.0, 200.0}, {5.0, 1000.0}}) {
    const Found roomy = build(image, alpha, beta, 6 * kPixels);
    expect(roomy.vertices > 10 && roomy.problems == 0 && roomy.in_range, "no lattice");
    const Found tight = build(image, alpha, beta, roomy.vertices);
    expect(tight.vertices == roomy.vertices && tight.problems == 0, "what just fits was refused");
    expect(build(image, alpha, beta, roomy.vertices - 1).problems == 1, "one too many was not told");
  }
  // Every pixel has vertices of its own, and room is for a few: all threads find some room left.
  const Found crowded = build(image, 0.05, 0.5, 8);
  expect(crowded.problems == 1 && crowded.in_range, "a crowd was not refused");
  return 0;
}
