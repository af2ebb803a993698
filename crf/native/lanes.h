// Vector arithmetic for the CPU kernels.
//
// Functions marked SEGTOOL_CLONES are compiled for several x86-64 instruction sets and chosen when the library
// is loaded; what they call is marked SEGTOOL_INLINE, to be compiled with them.
#pragma once
#include <cstdint>
#include <cstring>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(SEGTOOL_NO_CLONES)
#define SEGTOOL_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define SEGTOOL_CLONES
#endif
#define SEGTOOL_INLINE inline __attribute__((always_inline))

namespace segtool {

constexpr int kLanes = 8;
using Lanes = float __attribute__((vector_size(kLanes * sizeof(float))));  // one AVX register
using IntLanes = int32_t __attribute__((vector_size(kLanes * sizeof(int32_t))));

SEGTOOL_INLINE Lanes load(const float* from) {
  Lanes lanes;
  std::memcpy(&lanes, from, sizeof(lanes));
  return lanes;
}
SEGTOOL_INLINE void store(float* to, const Lanes& lanes) { std::memcpy(to, &lanes, sizeof(lanes)); }

// The same where only `count` floats are left, which may be fewer than a vector has; what is not read is 0.
SEGTOOL_INLINE Lanes load_some(const float* from, int64_t count) {
  if (count >= kLanes) return load(from);
  Lanes lanes{};
  std::memcpy(&lanes, from, count * sizeof(float));
  return lanes;
}
SEGTOOL_INLINE void store_some(float* to, const Lanes& lanes, int64_t count) {
  if (count >= kLanes) return store(to, lanes);
  std::memcpy(to, &lanes, count * sizeof(float));
}

// e^x for x <= 0, within 2 units of the last place; at least e^-87, so that it stays a normal number. NaN stays NaN.
// The polynomial is that of Cephes' expf.
SEGTOOL_INLINE Lanes exp_of_negative(Lanes x) {
  constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the last bits
  const Lanes lowest = Lanes{} - 87.0f;
  x = x < lowest ? lowest : x;
  const Lanes shifted = x * 1.44269504088896341f + kRounder;
  const Lanes n = shifted - kRounder;
  const Lanes r = x - n * 0.693359375f + n * 2.12194440e-4f;
  Lanes y = r * 1.9875691500e-4f + 1.3981999507e-3f;
  y = y * r + 8.3334519073e-3f;
  y = y * r + 4.1665795894e-2f;
  y = y * r + 1.6666665459e-1f;
  y = y * r + 5.0000001201e-1f;
  y = y * r * r + r + 1.0f;
  IntLanes exponent;
  std::memcpy(&exponent, &shifted, sizeof(exponent));
  exponent = (exponent + 127) << 23;  // the bits of kRounder above the integer are shifted out
  Lanes power;
  std::memcpy(&power, &exponent, sizeof(power));
  return y * power;
}

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define SEGTOOL_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#endif
#endif

// True (all bits) in the first `count` lanes.
SEGTOOL_INLINE IntLanes lanes_below(int count) {
  const IntLanes lane = {0, 1, 2, 3, 4, 5, 6, 7};
  return lane < count;
}

// The largest lane and the sum of the lanes, in every lane.
SEGTOOL_INLINE Lanes largest(Lanes x) {
#if defined(SEGTOOL_SHUFFLE)
  const Lanes halves = SEGTOOL_SHUFFLE(x, x, 4, 5, 6, 7, 0, 1, 2, 3);
  x = x > halves ? x : halves;
  const Lanes pairs = SEGTOOL_SHUFFLE(x, x, 2, 3, 0, 1, 6, 7, 4, 5);
  x = x > pairs ? x : pairs;
  const Lanes lanes = SEGTOOL_SHUFFLE(x, x, 1, 0, 3, 2, 5, 4, 7, 6);
  return x > lanes ? x : lanes;
#else
  float most = x[0];
  for (int i = 1; i < kLanes; ++i) most = x[i] > most ? x[i] : most;
  return Lanes{} + most;
#endif
}
SEGTOOL_INLINE Lanes sum(Lanes x) {
#if defined(SEGTOOL_SHUFFLE)
  x += SEGTOOL_SHUFFLE(x, x, 4, 5, 6, 7, 0, 1, 2, 3);
  x += SEGTOOL_SHUFFLE(x, x, 2, 3, 0, 1, 6, 7, 4, 5);
  return x + SEGTOOL_SHUFFLE(x, x, 1, 0, 3, 2, 5, 4, 7, 6);
#else
  float total = 0;
  for (int i = 0; i < kLanes; ++i) total += x[i];
  return Lanes{} + total;
#endif
}

// to[j * to_stride + i] = from[i * from_stride + j] for i, j < kLanes.
SEGTOOL_INLINE void transpose_square(const float* from, int64_t from_stride, float* to, int64_t to_stride) {
#if defined(SEGTOOL_SHUFFLE)
  Lanes pairs[8], quads[8];
  for (int i = 0; i < 8; i += 2) {
    const Lanes a = load(from + i * from_stride), b = load(from + (i + 1) * from_stride);
    pairs[i] = SEGTOOL_SHUFFLE(a, b, 0, 8, 1, 9, 4, 12, 5, 13);
    pairs[i + 1] = SEGTOOL_SHUFFLE(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
  }
  for (int i = 0; i < 8; i += 4) {
    for (int k = 0; k < 2; ++k) {
      const Lanes a = pairs[i + k], b = pairs[i + k + 2];
      quads[i + 2 * k] = SEGTOOL_SHUFFLE(a, b, 0, 1, 8, 9, 4, 5, 12, 13);
      quads[i + 2 * k + 1] = SEGTOOL_SHUFFLE(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
    }
  }
  for (int j = 0; j < 4; ++j) {
    store(to + j * to_stride, SEGTOOL_SHUFFLE(quads[j], quads[j + 4], 0, 1, 2, 3, 8, 9, 10, 11));
    store(to + (j + 4) * to_stride, SEGTOOL_SHUFFLE(quads[j], quads[j + 4], 4, 5, 6, 7, 12, 13, 14, 15));
  }
#else
  for (int i = 0; i < kLanes; ++i) {
    for (int j = 0; j < kLanes; ++j) to[j * to_stride + i] = from[i * from_stride + j];
  }
#endif
}

}  // namespace segtool
