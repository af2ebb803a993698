// Kernels that each break one rule of a device, for the test that the stand-in runtime tells which.
#include <cuda_runtime.h>

#include <cstdint>

namespace {

extern __shared__ float memory[];

__global__ void neighbours(float* data, bool wait) {
  memory[threadIdx.x] = 0;
  __syncthreads();
  memory[threadIdx.x] = data[threadIdx.x];
  if (wait) __syncthreads();
  data[threadIdx.x] += memory[(threadIdx.x + 1) % blockDim.x];
}
__global__ void one_place(float* data) {
  memory[0] = data[threadIdx.x];
  __syncthreads();
  data[threadIdx.x] = memory[0];
}
__global__ void unwritten(float* data) { data[threadIdx.x] = memory[threadIdx.x]; }
__global__ void beyond(float* data) { memory[threadIdx.x + 1] = data[threadIdx.x]; }
__global__ void out_of_line(float* data) {
  char* const from = reinterpret_cast<char*>(data) + 4;
  *data = float(*reinterpret_cast<double*>(from));
}
__global__ void apart(float* data) {
  if (threadIdx.x > 0) __syncthreads();
  data[threadIdx.x] = 1;
}
__global__ void nothing() {}

}  // namespace

// Runs a case on `data` of 32 floats aligned to 8 bytes; what was told, or "".
extern "C" __attribute__((visibility("default"))) const char* run(int which, float* data) {
  if (which == 0) neighbours<<<1, 32, 128>>>(data, true);
  if (which == 1) neighbours<<<1, 32, 128>>>(data, false);
  if (which == 2) one_place<<<1, 32, 128>>>(data);
  if (which == 3) unwritten<<<1, 32, 128>>>(data);
  if (which == 4) beyond<<<1, 32, 128>>>(data);
  if (which == 5) out_of_line<<<1, 1>>>(data);
  if (which == 6) apart<<<1, 32>>>(data);
  if (which == 7) nothing<<<1, 2048>>>();
  if (which == 8) nothing<<<0, 32>>>();
  if (which == 9) nothing<<<1, 32, 48 * 1024 + 4>>>();
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? "" : cudaGetErrorString(error);
}
