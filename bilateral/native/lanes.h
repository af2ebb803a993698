// Vector arithmetic for the CPU kernels.
//
// Functions marked SEGTOOL_CLONES are compiled for several x86-64 instruction sets and chosen when the library
// is loaded; what they call is marked SEGTOOL_INLINE, to be compiled with them.
#pragma once
#include <cstring>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define SEGTOOL_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define SEGTOOL_CLONES
#endif
#define SEGTOOL_INLINE inline __attribute__((always_inline))

namespace segtool {

constexpr int kLanes = 8;
using Lanes = float __attribute__((vector_size(kLanes * sizeof(float))));  // one AVX register

SEGTOOL_INLINE Lanes load(const float* from) {
  Lanes lanes;
  std::memcpy(&lanes, from, sizeof(lanes));
  return lanes;
}
SEGTOOL_INLINE void store(float* to, const Lanes& lanes) { std::memcpy(to, &lanes, sizeof(lanes)); }

}  // namespace segtool
