// The spatial kernel row by row, for those who want its result at once and not as an array.
#pragma once
#include <cstdint>

namespace segtool {

// Takes the filtered pixels [first, first + count) of all planes together, `inner` floats each, in the calling thread. A
// few floats behind them may be read, which hold nothing of meaning.
class TakesRows {
 public:
  virtual void take(int64_t first, int64_t count, const float* rows) const = 0;

 protected:
  ~TakesRows() = default;
};

// As segtool_spatial_filter, but hands what it computes to `to`. The values must stay as they are meanwhile.
int filter_spatially(const float* values, int64_t planes, int64_t height, int64_t width, int64_t inner, double sigma,
                     const TakesRows& to);

}  // namespace segtool
