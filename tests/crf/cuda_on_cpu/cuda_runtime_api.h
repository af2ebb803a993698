// TensorRT's headers ask for the types of CUDA alone.
#pragma once
#include "cuda_runtime.h"

using cudaEvent_t = void*;
