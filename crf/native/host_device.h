// Functions that run on the host and on a CUDA device.
#pragma once

#if defined(__CUDACC__)
#define SEGTOOL_HD __host__ __device__ inline
#else
#define SEGTOOL_HD inline __attribute__((always_inline))
#endif
