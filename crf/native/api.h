// The C interface of the segtool bilateral library. No torch, Python, ONNX Runtime or TensorRT types.
//
// Functions return 0 on success; otherwise segtool_error_message() of the same thread says what is wrong.
// All arrays are dense and row-major. The lattice of a batch has one numbering for all its images.
#pragma once
#include <cstdint>

#if defined(_WIN32)
#define SEGTOOL_API extern "C" __declspec(dllexport)
#else
#define SEGTOOL_API extern "C" __attribute__((visibility("default")))
#endif

struct segtool_lattice;  // owns the neighbour table between the two steps of a build

SEGTOOL_API const char* segtool_error_message();
SEGTOOL_API int segtool_has_cuda();

// How many threads calls from this thread may use, themselves counted; 0, as it is at first: as many as OMP_NUM_THREADS
// says, or as the process has cores. The results are the same bits for any number. ONNX Runtime's kernels use the
// threads of their session instead.
SEGTOOL_API int segtool_limit_threads(int threads);

// Builds the permutohedral lattice of a batch of images.
//   image   [n,3,height,width] float32, levels 0..255
//   vertex  [n*height*width,6] int32 out: lattice vertices that enclose each pixel
//   weight  [n*height*width,6] float32 out: barycentric weight times the pixel's symmetric normalisation
// On success *vertex_count is M and *lattice holds the neighbours until segtool_lattice_free.
SEGTOOL_API int segtool_lattice_build(const float* image, int64_t n, int64_t height, int64_t width,
                                      double spatial_sigma, double color_sigma, int32_t* vertex,
                                      float* weight, int64_t* vertex_count, segtool_lattice** lattice);
// Copies the neighbours, [6,2,M] int32; the entry M means "no such vertex".
SEGTOOL_API void segtool_lattice_neighbors(const segtool_lattice* lattice, int32_t* neighbor);
SEGTOOL_API void segtool_lattice_free(segtool_lattice* lattice);

// Filters values [n,channels,pixels] to out of the same layout (pixels = height * width).
// channels_last != 0: both are [n,pixels,channels] instead.
// reverse != 0 blurs the axes in the opposite order, which is the exact adjoint. out may be values.
SEGTOOL_API int segtool_filter(const float* values, const int32_t* vertex, const float* weight,
                               const int32_t* neighbor, int64_t n, int64_t channels, int64_t pixels,
                               int64_t vertex_count, int reverse, int channels_last, float* out);

// The lattice of points with `dims` features each, 1 to 16, which are divided by the kernel's standard deviations.
//   features [dims,count] float32; vertex [count,dims+1] int32 out; weight [count,dims+1] float32 out: barycentric, not
//   normalised. Neighbours, [dims+1,2,M], are copied and freed as those of images.
SEGTOOL_API int segtool_points_build(const float* features, int64_t dims, int64_t count, int32_t* vertex,
                                     float* weight, int64_t* vertex_count, segtool_lattice** lattice);

// Filters values [channels,count], or [count,channels] if channels_last != 0, on a lattice of points; otherwise as
// segtool_filter.
SEGTOOL_API int segtool_points_filter(const float* values, const int32_t* vertex, const float* weight,
                                      const int32_t* neighbor, int64_t dims, int64_t channels, int64_t count,
                                      int64_t vertex_count, int reverse, int channels_last, float* out);

// The spatial Gaussian kernel, normalised symmetrically, on values [planes,height,width,inner]: planes = n *
// channels and inner = 1, or planes = n and inner = channels. The kernel is symmetric, so it is its own adjoint.
SEGTOOL_API int segtool_spatial_filter(const float* values, int64_t planes, int64_t height, int64_t width,
                                       int64_t inner, double sigma, float* out);

// What a mean-field iteration does at each pixel once the messages are there: z = unary + spatial * spatial_table +
// bilateral * bilateral_table, a row of channels times a [channels,channels] matrix; out = softmax(z) over the
// channels if normalize != 0, else z. Arrays are [n,channels,pixels], or [n,pixels,channels] if channels_last != 0.
// A message may be null, its table too: there is none. out may be any of the inputs.
SEGTOOL_API int segtool_mean_field_update(const float* unary, const float* spatial, const float* bilateral,
                                          const float* spatial_table, const float* bilateral_table, int64_t n,
                                          int64_t channels, int64_t pixels, int normalize, int channels_last,
                                          float* out);

// Mean-field inference of the dense CRF (Kraehenbuehl and Koltun 2011, algorithm 1).
//   logits  [n,classes,height,width]; image [n,3,height,width], levels 0..255
//   spatial_table, bilateral_table  [classes,classes] compatibilities; w times the identity is the Potts model
//   out     [n,classes,height,width]: Q after `iterations`; it must not overlap the inputs
SEGTOOL_API int segtool_mean_field(const float* logits, const float* image, int64_t n, int64_t classes,
                                   int64_t height, int64_t width, double spatial_gamma, double bilateral_alpha,
                                   double bilateral_beta, const float* spatial_table, const float* bilateral_table,
                                   int iterations, float* out);

// CUDA: the lattice's functions on device pointers, on `stream` (a cudaStream_t), without allocation and without
// synchronisation: the workspace's size in bytes is asked for first, and a call may be captured in a CUDA graph.
// A workspace must be aligned to 16 bytes, as what cudaMalloc gives is.
//
// Insert finds the vertices, at most `capacity`. After it has run, status[0] (int32[2], on the device) is the number
// of vertices and status[1] holds the bits 1: they did not fit, 2: a level is not finite or outside 0..255. Then
// no index is out of range all the same, and link makes every weight NaN: whatever is filtered with them is NaN.
// Link, with the same workspace, numbers them, finds neighbours [6,2,vertex_count] and normalises the weights.
// vertex_count is what status[0] says, or `capacity` when that is not waited for; it stands for "no such vertex".
SEGTOOL_API int64_t segtool_cuda_lattice_workspace(int64_t n, int64_t height, int64_t width, int64_t capacity);
SEGTOOL_API int segtool_cuda_lattice_insert(const float* image, int64_t n, int64_t height, int64_t width,
                                            double spatial_sigma, double color_sigma, int64_t capacity,
                                            int32_t* vertex, float* weight, int32_t* status, void* workspace,
                                            void* stream);
SEGTOOL_API int segtool_cuda_lattice_link(const float* image, int64_t n, int64_t height, int64_t width,
                                          double spatial_sigma, double color_sigma, int64_t capacity,
                                          int64_t vertex_count, int32_t* vertex, float* weight, int32_t* neighbor,
                                          const int32_t* status, void* workspace, void* stream);
// used, on the device, is how many vertices of the capacity there are (the lattice's status), so that the rest is left
// alone; null stands for all.
// deterministic != 0: the same bits on every call, by sums in fixed point. Indices must be in range: they are not
// checked. out must not be values. vertex and weight must be aligned to 8 bytes.
SEGTOOL_API int64_t segtool_cuda_filter_workspace(int64_t channels, int64_t capacity, int deterministic);
SEGTOOL_API int segtool_cuda_filter(const float* values, const int32_t* vertex, const float* weight,
                                    const int32_t* neighbor, const int32_t* used, int64_t n, int64_t channels,
                                    int64_t pixels, int64_t capacity, int reverse, int channels_last, int deterministic,
                                    float* out, void* workspace, void* stream);

// The other steps of an iteration on the device. Values and layouts are as for segtool_spatial_filter and
// segtool_mean_field_update, with both messages or none. out must not overlap the inputs.
SEGTOOL_API int64_t segtool_cuda_spatial_workspace(int64_t planes, int64_t height, int64_t width, int64_t inner,
                                                   double sigma);
SEGTOOL_API int segtool_cuda_spatial_filter(const float* values, int64_t planes, int64_t height, int64_t width,
                                            int64_t inner, double sigma, float* out, void* workspace, void* stream);
SEGTOOL_API int segtool_cuda_mean_field_update(const float* unary, const float* spatial, const float* bilateral,
                                               const float* spatial_table, const float* bilateral_table, int64_t n,
                                               int64_t channels, int64_t pixels, int normalize, int channels_last,
                                               float* out, void* stream);

// Mean-field inference on the device: segtool_mean_field, with the lattice's capacity and status as for
// segtool_cuda_lattice_insert. Where status[1] is not 0, out is NaN, if there is an iteration. channels_last: logits and out
// are [n,height,width,classes].
SEGTOOL_API int64_t segtool_cuda_mean_field_workspace(int64_t n, int64_t classes, int64_t height, int64_t width,
                                                      double spatial_gamma, int64_t capacity, int channels_last);
SEGTOOL_API int segtool_cuda_mean_field(const float* logits, const float* image, int64_t n, int64_t classes,
                                        int64_t height, int64_t width, double spatial_gamma, double bilateral_alpha,
                                        double bilateral_beta, const float* spatial_table,
                                        const float* bilateral_table, int iterations, int64_t capacity,
                                        int channels_last, float* out, int32_t* status, void* workspace, void* stream);
