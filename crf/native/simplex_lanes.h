// The simplices of eight pixels at once.
#pragma once
#include "lanes.h"
#include "simplex.h"

namespace segtool {

template <>
struct Arithmetic<Lanes> {
  using Integer = IntLanes;
  SEGTOOL_INLINE static Lanes multiply(Lanes a, Lanes b) { return a * b; }
  SEGTOOL_INLINE static Lanes add(Lanes a, Lanes b) { return a + b; }
  // By truncation: what is rounded here fits into an integer.
  SEGTOOL_INLINE static Lanes floor(Lanes x) {
    const Lanes whole = real(integer(x));
    return whole - real(one_if(whole > x));
  }
  SEGTOOL_INLINE static Lanes ceil(Lanes x) {
    const Lanes whole = real(integer(x));
    return whole + real(one_if(whole < x));
  }
  SEGTOOL_INLINE static IntLanes integer(Lanes x) { return __builtin_convertvector(x, IntLanes); }
  SEGTOOL_INLINE static Lanes real(IntLanes x) { return __builtin_convertvector(x, Lanes); }
  SEGTOOL_INLINE static IntLanes one_if(IntLanes condition) { return -condition; }
};

}  // namespace segtool
