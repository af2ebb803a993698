// The spatial Gaussian kernel, normalised symmetrically: an exact separable convolution. The degree of a
// pixel is the product of one factor for its row and one for its column, so normalising costs nothing:
// out = (Ay V) Ax with A[i,j] = g(i-j) r(i) r(j), r = (sum of g over the image's side)^-1/2.
//
// Every value of the result is computed by one thread in one order: the same bits for any number of threads.
#include <algorithm>
#include <cmath>
#include <memory>
#include <new>
#include <vector>

#include "api.h"
#include "checks.h"
#include "errors.h"
#include "lanes.h"
#include "threads.h"

namespace {

using segtool::kLanes;
using segtool::Lanes;
using segtool::load;
using segtool::store;
constexpr int kRows = 6;                   // of the result, made together
constexpr int64_t kBandRows = 96;          // of the result, made by one thread
constexpr int64_t kStripFloats = 1 << 17;  // half a megabyte
constexpr int64_t kNarrowest = 1024;

// g(x) = exp(-x^2 / 2 sigma^2) for x = -radius..radius.
std::vector<float> gaussian_taps(double sigma, int64_t radius) {
  std::vector<float> taps;
  for (int64_t x = -radius; x <= radius; ++x) {
    const double t = double(x) / sigma;  // the square of a very small sigma would be zero
    taps.push_back(float(std::exp(-0.5 * t * t)));
  }
  return taps;
}

// r of every position on a side of the given length.
std::vector<float> normalisation(const std::vector<float>& taps, int64_t length) {
  const int64_t radius = int64_t(taps.size()) / 2;
  std::vector<float> scale(length);
  for (int64_t i = 0; i < length; ++i) {
    double degree = 0;
    const int64_t first = std::max<int64_t>(0, i - radius), last = std::min(length - 1, i + radius);
    for (int64_t j = first; j <= last; ++j) degree += taps[j - i + radius];
    scale[i] = float(1.0 / std::sqrt(degree));
  }
  return scale;
}

// out[r][i] = post[i] * sum over k of factor[k][r] * in[i + k * in_stride], for R rows of the result at once: what
// is loaded serves them all. V vectors of each row are summed in registers.
template <int R, int V>
SEGTOOL_INLINE int64_t weighted_sums_as(const float* in, int64_t in_stride, const float (*factor)[kRows],
                                        int64_t terms, int64_t begin, int64_t end, const float* post, float* out,
                                        int64_t out_stride) {
  int64_t i = begin;
  for (; i + V * kLanes <= end; i += V * kLanes) {
    Lanes sum[R][V] = {};
    for (int64_t k = 0; k < terms; ++k) {
      for (int v = 0; v < V; ++v) {
        const Lanes value = load(in + k * in_stride + i + v * kLanes);
        for (int r = 0; r < R; ++r) sum[r][v] += factor[k][r] * value;
      }
    }
    for (int r = 0; r < R; ++r) {
      for (int v = 0; v < V; ++v) {
        store(out + r * out_stride + i + v * kLanes, load(post + i + v * kLanes) * sum[r][v]);
      }
    }
  }
  return i;  // the first value left over
}

// The same for a whole row. Its last vectors overlap those before, so that nothing outside is touched.
template <int R, int V>
SEGTOOL_INLINE void weighted_sums(const float* in, int64_t in_stride, const float (*factor)[kRows], int64_t terms,
                                  int64_t count, const float* post, float* out, int64_t out_stride) {
  constexpr int64_t kWidth = V * kLanes;
  int64_t i = weighted_sums_as<R, V>(in, in_stride, factor, terms, 0, count, post, out, out_stride);
  if (i == count) return;
  if (count >= kWidth) {
    weighted_sums_as<R, V>(in, in_stride, factor, terms, count - kWidth, count, post, out, out_stride);
    return;
  }
  if constexpr (V > 1) return weighted_sums<R, V / 2>(in, in_stride, factor, terms, count, post, out, out_stride);
  for (; i < count; ++i) {
    for (int r = 0; r < R; ++r) {
      float sum = 0.0f;
      for (int64_t k = 0; k < terms; ++k) sum += factor[k][r] * in[k * in_stride + i];
      out[r * out_stride + i] = post[i] * sum;
    }
  }
}

// A plane is [height, width, inner]; a step along x is `inner` floats in memory.
struct Blur {
  int64_t height, width, inner;
  std::vector<float> taps;              // g(-radius) .. g(radius)
  std::vector<float> scale_y, scale_x;  // scale_x is repeated for every inner value

  int64_t radius() const { return int64_t(taps.size()) / 2; }
  int64_t row_size() const { return width * inner; }
  int64_t margin() const { return radius() * inner; }
  // Floats of a row handled at a time: the input rows of one result must stay in the second cache, and what is
  // computed twice because it lies in two strips' margins must stay less than what is not.
  int64_t strip() const {
    const int64_t wanted = std::max({kStripFloats / int64_t(taps.size()) - 2 * margin(), 4 * margin(), kNarrowest});
    return std::min(wanted, row_size());
  }
};

// Memory of one thread: kRows blurred rows of a strip with its margins, and the factors of their inputs.
struct Workspace {
  int64_t row;
  std::vector<float> rows;
  std::unique_ptr<float[][kRows]> factor;

  explicit Workspace(const Blur& b)
      : row(b.strip() + 2 * b.margin()), rows(kRows * row), factor(new float[b.taps.size() + kRows][kRows]) {}
};

// Rows [y, y + kRows) of Ay V times the columns' scale, floats [begin, end) of the row; zero outside the image.
SEGTOOL_CLONES void blur_columns(const Blur& b, const float* plane, int64_t y, int64_t begin, int64_t end,
                                 Workspace& work) {
  const int64_t first = std::max<int64_t>(0, y - b.radius());
  const int64_t last = std::min(b.height - 1, y + kRows - 1 + b.radius());
  for (int64_t j = first; j <= last; ++j) {
    for (int64_t r = 0; r < kRows; ++r) {
      const int64_t distance = j - (y + r);
      const bool used = y + r < b.height && std::abs(distance) <= b.radius();
      work.factor[j - first][r] = used ? b.taps[distance + b.radius()] * b.scale_y[y + r] * b.scale_y[j] : 0.0f;
    }
  }
  const int64_t from = std::max<int64_t>(begin, 0), to = std::min(end, b.row_size());
  for (int r = 0; r < kRows; ++r) {
    std::fill_n(&work.rows[r * work.row], from - begin, 0.0f);
    std::fill_n(&work.rows[r * work.row] + (to - begin), end - to, 0.0f);
  }
  weighted_sums<kRows, 2>(plane + first * b.row_size() + from, b.row_size(), work.factor.get(), last - first + 1,
                          to - from, b.scale_x.data() + from, &work.rows[from - begin], work.row);
}

// Floats [begin, end) of a row times Ax; `padded` holds them with their margins.
SEGTOOL_CLONES void blur_row(const Blur& b, const float* padded, int64_t begin, int64_t end, Workspace& work,
                             float* out) {
  for (size_t k = 0; k < b.taps.size(); ++k) work.factor[k][0] = b.taps[k];
  weighted_sums<1, 8>(padded, b.inner, work.factor.get(), int64_t(b.taps.size()), end - begin,
                      b.scale_x.data() + begin, out + begin, 0);
}

// One strip of the rows [top, bottom) of a plane.
void filter_strip(const Blur& b, const float* plane, int64_t top, int64_t bottom, int64_t begin, Workspace& work,
                  float* out) {
  const int64_t end = std::min(begin + b.strip(), b.row_size());
  for (int64_t y = top; y < bottom; y += kRows) {
    blur_columns(b, plane, y, begin - b.margin(), end + b.margin(), work);
    for (int64_t r = 0; r < kRows && y + r < bottom; ++r) {
      blur_row(b, &work.rows[r * work.row], begin, end, work, out + (y + r) * b.row_size());
    }
  }
}

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

int segtool_spatial_filter(const float* values, int64_t planes, int64_t height, int64_t width, int64_t inner,
                           double sigma, float* out) {
  if (segtool::check_spatial(planes, height, width, inner, sigma)) return 1;
  bool enough = false;
  try {
    Blur blur{height, width, inner, gaussian_taps(sigma, segtool::spatial_radius(sigma, height, width)), {}, {}};
    blur.scale_y = normalisation(blur.taps, height);
    for (float scale : normalisation(blur.taps, width)) blur.scale_x.insert(blur.scale_x.end(), inner, scale);
    const int64_t bands = divide_up(height, kBandRows), strips = divide_up(blur.row_size(), blur.strip());
    enough = segtool::share(planes * bands * strips, [&](segtool::Tasks& tasks) {
      Workspace work(blur);
      for (int64_t task; tasks.next(&task);) {
        const int64_t band = task / strips % bands, plane = task / strips / bands * height * blur.row_size();
        filter_strip(blur, values + plane, band * kBandRows, std::min(height, (band + 1) * kBandRows),
                     task % strips * blur.strip(), work, out + plane);
      }
    });
  } catch (const std::bad_alloc&) {
  }
  return enough ? 0 : segtool::fail("out of memory while filtering");
}
