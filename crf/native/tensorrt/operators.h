// What TensorRT must know of the CRF's operators: data types, shapes, workspace, and how each starts on the CUDA
// library. The same as `crf/tensorrt_operators.py`, so that engines do not care which of the two runs them.
#pragma once
#include <NvInfer.h>

#include <cstdint>
#include <vector>

namespace segtool::tensorrt {

constexpr char kNamespace[] = "segtool";
constexpr char kVersion[] = "1";

using Values = std::vector<double>;  // of the fields; a double holds their float32 and int32 exactly

struct Field {
  const char* name;
  nvinfer1::PluginFieldType type;  // kFLOAT32 or kINT32
  double standard;
};

// One start of an operator, on device memory.
struct Launch {
  const nvinfer1::PluginTensorDesc* inputs;
  const nvinfer1::PluginTensorDesc* outputs;
  const Values& fields;
  const void* const* given;
  void* const* wanted;
  void* workspace;
  cudaStream_t stream;
};

struct Operator {
  const char* name;
  std::vector<Field> fields;
  std::vector<nvinfer1::DataType> inputs, outputs;
  void (*shapes)(const nvinfer1::DimsExprs* inputs, const Values& fields, nvinfer1::IExprBuilder& builder,
                 nvinfer1::DimsExprs* outputs);
  // Bytes, or -1; of the largest shapes that an engine takes.
  int64_t (*workspace)(const nvinfer1::Dims* inputs, const nvinfer1::Dims* outputs, const Values& fields);
  int (*enqueue)(const Launch& launch);  // 0 on success
};

const std::vector<Operator>& operators();

}  // namespace segtool::tensorrt
