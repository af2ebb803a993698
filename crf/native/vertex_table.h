// Lattice vertices by their coordinates: a hash table that numbers them in the order in which they come.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "simplex.h"

namespace segtool {

using Key = std::array<int32_t, kDim>;  // the sixth coordinate is minus the sum of these

// Open addressing with linear probing; slots hold vertex numbers, keys lie in numbering order.
class VertexTable {
 public:
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
  static size_t hash(const Key& key) {
    const uint64_t a = uint64_t(uint32_t(key[0])) << 32 | uint32_t(key[1]);
    const uint64_t b = uint64_t(uint32_t(key[2])) << 32 | uint32_t(key[3]);
    const uint64_t h = a * 0x9E3779B97F4A7C15ull + b * 0xC2B2AE3D27D4EB4Full + uint32_t(key[4]) * 0x165667B19E3779F9ull;
    return size_t(h ^ (h >> 32));
  }
  // Not std::array's comparison, which calls memcmp: that took a third of the build.
  static bool same(const Key& a, const Key& b) {
    int32_t different = 0;
    for (int i = 0; i < kDim; ++i) different |= a[i] ^ b[i];
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
