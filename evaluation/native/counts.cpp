#include "counts.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <vector>

// Compiled for several x86-64 instruction sets and chosen when the library is loaded.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(SEGTOOL_NO_CLONES)
#define SEGTOOL_COUNT_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define SEGTOOL_COUNT_CLONES
#endif

namespace {

constexpr uint8_t kNone = 255;
constexpr uint32_t kUnit = 1 << 16;     // confidences are summed as integers of this fraction
constexpr int64_t kLargestReach = 120;  // pixels; squares of distances are held in 16 bits

// Counts in bins of confidence. Neighbouring pixels often share a bin, and adding to what was just stored is slow: so
// there are several tables, used in turn.
class Calibration {
 public:
  explicit Calibration(int bins) : bins_(bins), tables_(kTables * (bins + 1)) {}

  void add(int64_t pixel, float confidence, bool right) {
    // Written so that NaN counts as 0. Bins are open below and closed above.
    const float c = confidence > 0.0f ? std::min(confidence, 1.0f) : 0.0f;
    const uint32_t units = uint32_t(int32_t(c * float(kUnit) + 0.5f));
    const uint32_t bin = (units * uint32_t(bins_) + kUnit - 1) / kUnit;  // 0 for a confidence of exactly 0
    Bin& found = tables_[uint64_t(pixel) % kTables * (bins_ + 1) + bin];
    ++found.pixels;
    found.right += right;
    found.units += units;
  }

  void add_to(int64_t* out) const {
    for (size_t i = 0; i < tables_.size(); ++i) {
      const int64_t bin = std::max<int64_t>(int64_t(i) % (bins_ + 1) - 1, 0);
      out[bin] += tables_[i].pixels;
      out[bins_ + bin] += tables_[i].right;
      out[2 * bins_ + bin] += tables_[i].units;
    }
  }

 private:
  static constexpr uint64_t kTables = 4;
  struct Bin {
    int64_t pixels = 0, right = 0, units = 0;
  };
  int bins_;
  std::vector<Bin> tables_;
};

// out[i] = labels[i] where one of its neighbours has another label and a boundary can be known, else kNone.
SEGTOOL_COUNT_CLONES void boundary_row(const uint8_t* labels, const uint8_t* above, const uint8_t* below,
                                 const uint8_t* known, int64_t width, uint8_t* out) {
  const auto keep = [&](int64_t x, uint8_t left, uint8_t right) __attribute__((always_inline)) {
    const uint8_t l = labels[x];
    const bool edge = (l != above[x]) | (l != below[x]) | (l != left) | (l != right);
    out[x] = edge & (known[x] != 0) ? l : kNone;
  };
  keep(0, labels[0], labels[std::min<int64_t>(1, width - 1)]);
  for (int64_t x = 1; x + 1 < width; ++x) keep(x, labels[x - 1], labels[x + 1]);
  if (width > 1) keep(width - 1, labels[width - 2], labels[width - 1]);
}

// The class of each boundary pixel, kNone elsewhere and in a margin.
struct BoundaryMap {
  int64_t height, width, margin, stride;
  std::vector<uint8_t> labels;

  BoundaryMap(const uint8_t* from, const uint8_t* known, int64_t h, int64_t w, int64_t m)
      : height(h), width(w), margin(m), stride(w + 2 * m), labels((h + 2 * m) * stride, kNone) {
    for (int64_t y = 0; y < h; ++y) {
      const uint8_t* row = from + y * w;
      boundary_row(row, y ? row - w : row, y + 1 < h ? row + w : row, known + y * w, w, this->row(y));
    }
  }

  uint8_t* row(int64_t y) { return &labels[(y + margin) * stride + margin]; }
  const uint8_t* row(int64_t y) const { return &labels[(y + margin) * stride + margin]; }
};

struct Offset {
  int64_t at;  // in a boundary map
  int ring;    // the first tolerance that reaches it
};

// All offsets within the last tolerance, the nearest first: most boundaries are near.
std::vector<Offset> offsets(const int64_t* tolerances, int count, int64_t stride) {
  struct Place {
    int64_t square, y, x;
  };
  std::vector<Place> places;
  const int64_t reach = tolerances[count - 1];
  for (int64_t y = -reach; y <= reach; ++y) {
    for (int64_t x = -reach; x <= reach; ++x) {
      if (y * y + x * x <= reach * reach) places.push_back({y * y + x * x, y, x});
    }
  }
  std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) { return a.square < b.square; });
  std::vector<Offset> found;
  for (const Place& p : places) {
    const auto ring = std::find_if(tolerances, tolerances + count, [&](int64_t t) { return t * t >= p.square; });
    found.push_back({p.y * stride + p.x, int(ring - tolerances)});
  }
  return found;
}

// Most pixels are no boundary.
bool none_of_eight(const uint8_t* labels) {
  uint64_t eight;
  std::memcpy(&eight, labels, 8);
  return eight == ~uint64_t{0};
}

// Boundary pixels of `own` into pixels[c], those with one of the same class in `other` within tolerance k into
// matched[k * step + c].
void match(const BoundaryMap& own, const BoundaryMap& other, const std::vector<Offset>& near, int count,
           int64_t* pixels, int64_t* matched, int64_t step) {
  std::vector<int64_t> by_ring((count + 1) * 256);  // the last: not matched
  for (int64_t y = 0; y < own.height; ++y) {
    const uint8_t *row = own.row(y), *there = other.row(y);
    for (int64_t x = 0; x < own.width; ++x) {
      if (x + 8 <= own.width && none_of_eight(row + x)) {
        x += 7;
        continue;
      }
      const uint8_t label = row[x];
      if (label == kNone) continue;
      const auto same = [&](const Offset& o) { return there[x + o.at] == label; };
      const auto found = std::find_if(near.begin(), near.end(), same);
      ++by_ring[(found == near.end() ? count : found->ring) * 256 + label];
    }
  }
  for (int64_t label = 0; label < 256; ++label) {
    int64_t within = 0, all = 0;
    for (int k = 0; k <= count; ++k) all += by_ring[k * 256 + label];
    for (int k = 0; k < count; ++k) {
      within += by_ring[k * 256 + label];
      pixels[k * step + label] += all;
      matched[k * step + label] += within;
    }
  }
}

// out[i] = min over |d| <= reach of in[i + d * step] + d^2, for `count` values; `in` may be read that far outside.
SEGTOOL_COUNT_CLONES void nearest_along(const uint16_t* __restrict in, int64_t step, int64_t reach, int64_t count,
                                  uint16_t* __restrict out) {
  std::copy_n(in, count, out);
  for (int64_t d = 1; d <= reach; ++d) {
    const uint16_t *before = in - d * step, *after = in + d * step, square = uint16_t(d * d);
    for (int64_t i = 0; i < count; ++i) {
      const uint16_t there = uint16_t(std::min(before[i], after[i]) + square);
      out[i] = std::min(out[i], there);
    }
  }
}

int check(int64_t height, int64_t width, const int64_t* tolerances, int count) {
  if (height < 1 || width < 1 || count < 1) return SEGTOOL_BAD_SIZE;
  if (tolerances[0] < 0 || tolerances[count - 1] > kLargestReach || !std::is_sorted(tolerances, tolerances + count)) {
    return SEGTOOL_BAD_TOLERANCES;
  }
  return 0;
}

}  // namespace

int segtool_count_pixels(const uint8_t* truth, const uint8_t* predicted, const uint8_t* band, const float* confidence,
                         int64_t pixels, int classes, int bands, int bins, int64_t* cells, int64_t* calibration) try {
  for (int64_t i = 0; i < pixels; ++i) {
    const int t = truth[i], p = predicted[i];
    if (t >= classes) continue;
    if (p >= classes || band[i] >= bands) return SEGTOOL_BAD_LABEL;
    ++cells[(int64_t(band[i]) * classes + t) * classes + p];
  }
  if (!confidence) return 0;
  Calibration found(bins);
  for (int64_t i = 0; i < pixels; ++i) {
    if (truth[i] < classes) found.add(i, confidence[i], truth[i] == predicted[i]);
  }
  found.add_to(calibration);
  return 0;
} catch (const std::bad_alloc&) {
  return SEGTOOL_OUT_OF_MEMORY;
}

int segtool_boundary_bands(const uint8_t* labels, const uint8_t* known, int64_t height, int64_t width,
                           const int64_t* widths, int count, uint8_t* bands) try {
  if (const int refused = check(height, width, widths, count)) return refused;
  const int64_t reach = widths[count - 1];
  const uint16_t far = uint16_t((reach + 1) * (reach + 1));
  const BoundaryMap map(labels, known, height, width, 0);
  std::vector<uint16_t> squares((height + 2 * reach) * width, far), row(width + 2 * reach, far), nearest(width);
  for (int64_t i = 0; i < height * width; ++i) squares[reach * width + i] = map.labels[i] == kNone ? far : 0;
  std::vector<uint8_t> band_of(far + 1);
  for (int64_t square = 0; square <= far; ++square) {
    const auto band = std::find_if(widths, widths + count, [&](int64_t w) { return w * w >= square; });
    band_of[square] = uint8_t(band - widths);
  }
  for (int64_t y = 0; y < height; ++y) {
    nearest_along(&squares[(y + reach) * width], width, reach, width, &row[reach]);
    nearest_along(&row[reach], 1, reach, width, nearest.data());
    for (int64_t x = 0; x < width; ++x) bands[y * width + x] = band_of[nearest[x]];
  }
  return 0;
} catch (const std::bad_alloc&) {
  return SEGTOOL_OUT_OF_MEMORY;
}

int segtool_match_boundaries(const uint8_t* predicted, const uint8_t* truth, const uint8_t* known, int64_t height,
                             int64_t width, const int64_t* tolerances, int count, int64_t* counts) try {
  if (const int refused = check(height, width, tolerances, count)) return refused;
  const int64_t reach = tolerances[count - 1];
  const BoundaryMap p(predicted, known, height, width, reach), t(truth, known, height, width, reach);
  const std::vector<Offset> near = offsets(tolerances, count, p.stride);
  const int64_t step = 4 * 256;
  match(p, t, near, count, counts, counts + 256, step);
  match(t, p, near, count, counts + 2 * 256, counts + 3 * 256, step);
  return 0;
} catch (const std::bad_alloc&) {
  return SEGTOOL_OUT_OF_MEMORY;
}
