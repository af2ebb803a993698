// Lattice vertices by their coordinates: a hash table that numbers them in the order in which they come.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "simplex.h"

namespace segtool {

template <int D>
using KeyOf = std::array<int32_t, D>;  // the last coordinate is minus the sum of these

// Open addressing with linear probing; slots hold vertex numbers, keys lie in numbering order.
template <int D>
class VertexTable {
 public:
  using Key = KeyOf<D>;
  VertexTable() : slots_(1 << 10, -1) {}

  int32_t find_or_add(const Key& key) {
    size_t slot = find_slot(key);
    if (slots_[slot] >= 0) return slots_[slot];
    if (keys_.size() * 2 >= slots_.size()) {
      grow();
      slot = find_slot(key);
    }
    slots_[slot] = int32_t(keys_.size());
    keys_.push_back(key);
    return slots_[slot];
  }
  // The number of a vertex, -1 if there is none.
  int32_t find(const Key& key) const { return slots_[find_slot(key)]; }
  const Key& key(int64_t vertex) const { return keys_[vertex]; }
  int64_t size() const { return int64_t(keys_.size()); }

 private:
  // Two coordinates at a time, each pair times a factor of its own.
  static size_t hash(const Key& key) {
    constexpr uint64_t kFactor[8] = {0x9E3779B97F4A7C15ull, 0xC2B2AE3D27D4EB4Full, 0x165667B19E3779F9ull,
                                     0xD6E8FEB86659FD93ull, 0xA0761D6478BD642Full, 0xE7037ED1A0B428DBull,
                                     0x8EBC6AF09C88C6E3ull, 0x589965CC75374CC3ull};
    uint64_t h = 0;
    for (int i = 0; i + 1 < D; i += 2) h += (uint64_t(uint32_t(key[i])) << 32 | uint32_t(key[i + 1])) * kFactor[i / 2];
    if (D % 2) h += uint32_t(key[D - 1]) * kFactor[D / 2];
    return size_t(h ^ (h >> 32));
  }
  // Not std::array's comparison, which calls memcmp: that took a third of the build.
  static bool same(const Key& a, const Key& b) {
    int32_t different = 0;
    for (int i = 0; i < D; ++i) different |= a[i] ^ b[i];
    return !different;
  }
  size_t find_slot(const Key& key) const {
    const size_t mask = slots_.size() - 1;
    size_t slot = hash(key) & mask;
    while (slots_[slot] >= 0 && !same(keys_[slots_[slot]], key)) slot = (slot + 1) & mask;
    return slot;
  }
  void grow() {
    slots_.assign(slots_.size() * 2, -1);
    for (size_t v = 0; v < keys_.size(); ++v) slots_[find_slot(keys_[v])] = int32_t(v);
  }

  std::vector<int32_t> slots_;
  std::vector<Key> keys_;
};

}  // namespace segtool
