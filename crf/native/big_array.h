// Arrays as large as an image's logits. On Linux they ask for huge pages: a fresh array costs a page fault for every
// page, and that took longer than what was computed in it.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace segtool {

struct FreeArray {
  void operator()(void* data) const { std::free(data); }
};

template <class T>
using BigArray = std::unique_ptr<T[], FreeArray>;

// Not initialised. Throws std::bad_alloc.
template <class T>
BigArray<T> big_array(int64_t count) {
  constexpr size_t kHugePage = 1 << 21;
  const size_t bytes = size_t(count) * sizeof(T);
#if defined(__linux__)
  if (bytes >= 2 * kHugePage) {
    const size_t rounded = (bytes + kHugePage - 1) / kHugePage * kHugePage;
    void* data = std::aligned_alloc(kHugePage, rounded);
    if (!data) throw std::bad_alloc();
    madvise(data, rounded, MADV_HUGEPAGE);  // a wish: where it is not granted, nothing is lost
    return BigArray<T>(static_cast<T*>(data));
  }
#endif
  void* data = std::malloc(bytes ? bytes : 1);
  if (!data) throw std::bad_alloc();
  return BigArray<T>(static_cast<T*>(data));
}

}  // namespace segtool
