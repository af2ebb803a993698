// The filter in two halves, for those who want its result pixel by pixel and not as an array.
#pragma once
#include <cstdint>

#include "big_array.h"
#include "tiles.h"

namespace segtool {

constexpr int kWidest = 32;  // channels that lattice rows can hold

// Values splatted onto a lattice and blurred there.
struct Blurred {
  BigArray<float> rows;  // [vertices + 1, width]; made once, for any number of calls with the same sizes
  const int32_t* vertex;
  const float* weight;
  int width;  // channels, rounded up to whole vectors
};

// `values` has at most kWidest channels and the given layout. Returns a status; throws std::bad_alloc.
int splat_and_blur(const float* values, const int32_t* vertex, const float* weight, const int32_t* neighbor, int64_t n,
                   const Layout& layout, int64_t vertex_count, Blurred* out);

// The filtered values of pixels [start, start + count), rows of `width` floats.
void slice_rows(const Blurred& b, int64_t start, int count, float* rows);

}  // namespace segtool
