// Counting the pixels and matching the boundaries of label maps: what evaluation spends its time on.
//
// Functions return 0, or the reason for a refusal.
#pragma once
#include <stdint.h>

#if defined(_WIN32)
#define SEGTOOL_API extern "C" __declspec(dllexport)
#else
#define SEGTOOL_API extern "C" __attribute__((visibility("default")))
#endif

enum { SEGTOOL_OUT_OF_MEMORY = 1, SEGTOOL_BAD_SIZE = 2, SEGTOOL_BAD_TOLERANCES = 3, SEGTOOL_BAD_LABEL = 4 };

// For scores: adds the pixels of two label maps, uint8 [pixels], to cells [bands,classes,classes] by band (uint8
// [pixels], below bands), truth and prediction; truth >= classes is left out. With the prediction's confidence (or
// null) also to calibration [3,bins]: pixels, right ones, and the sum of confidences as integers of 1/65536.
SEGTOOL_API int segtool_count_pixels(const uint8_t* truth, const uint8_t* predicted, const uint8_t* band,
                                     const float* confidence, int64_t pixels, int classes, int bands, int bins,
                                     int64_t* cells, int64_t* calibration);

// For trimaps: bands [height,width] gets the index of the least of the widths (count of them, pixels, ascending) within
// which a boundary between two labels lies, Euclidean; count where there is none. Only where known [height,width]
// is not 0 can there be a boundary. Widths and tolerances may be 0..120.
SEGTOOL_API int segtool_boundary_bands(const uint8_t* labels, const uint8_t* known, int64_t height, int64_t width,
                                       const int64_t* widths, int count, uint8_t* bands);

// For boundary scores: adds to counts [count,4,256], for each tolerance (count of them, pixels, ascending) and class,
// the predicted boundary pixels, those that have a true one of the same class within the tolerance, the true ones,
// and those that have a predicted one. A boundary pixel has a 4-neighbour of another label; 255 is no label.
SEGTOOL_API int segtool_match_boundaries(const uint8_t* predicted, const uint8_t* truth, const uint8_t* known,
                                         int64_t height, int64_t width, const int64_t* tolerances, int count,
                                         int64_t* counts);
