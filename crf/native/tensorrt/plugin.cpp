// The CRF's operators as a TensorRT plugin library: for trtexec (--dynamicPlugins), Triton and C++ programs, which load
// it by `getCreators`. In Python, `crf/tensorrt_plugin.py` does the same without this library.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <memory>

#include "../api.h"
#include "operators.h"

namespace segtool::tensorrt {
namespace {

using namespace nvinfer1;

// Calls cross a boundary that no exception may cross; what could throw here is only want of memory.
template <class Call, class Result>
Result guarded(Call call, Result failed) noexcept {
  try {
    return call();
  } catch (...) {
    return failed;
  }
}

class Plugin final : public IPluginV3, public IPluginV3OneCore, public IPluginV3OneBuild, public IPluginV3OneRuntime {
 public:
  Plugin(const Operator& op, Values values) : op_(op), values_(std::move(values)) {}

  IPluginCapability* getCapabilityInterface(PluginCapabilityType type) noexcept override {
    if (type == PluginCapabilityType::kBUILD) return static_cast<IPluginV3OneBuild*>(this);
    if (type == PluginCapabilityType::kRUNTIME) return static_cast<IPluginV3OneRuntime*>(this);
    return static_cast<IPluginV3OneCore*>(this);
  }
  IPluginV3* clone() noexcept override {
    return guarded([this]() -> IPluginV3* { return new Plugin(op_, values_); }, static_cast<IPluginV3*>(nullptr));
  }

  const char* getPluginName() const noexcept override { return op_.name; }
  const char* getPluginVersion() const noexcept override { return kVersion; }
  const char* getPluginNamespace() const noexcept override { return kNamespace; }

  int32_t getNbOutputs() const noexcept override { return int32_t(op_.outputs.size()); }
  int32_t getOutputDataTypes(DataType* types, int32_t count, const DataType*, int32_t) const noexcept override {
    std::copy_n(op_.outputs.begin(), count, types);
    return 0;
  }
  int32_t getOutputShapes(const DimsExprs* inputs, int32_t, const DimsExprs*, int32_t, DimsExprs* outputs, int32_t,
                          IExprBuilder& builder) noexcept override {
    return guarded([&] { return op_.shapes(inputs, values_, builder, outputs), 0; }, 1);
  }
  bool supportsFormatCombination(int32_t at, const DynamicPluginTensorDesc* all, int32_t inputs,
                                 int32_t) noexcept override {
    const DataType wanted = at < inputs ? op_.inputs[at] : op_.outputs[at - inputs];
    return all[at].desc.type == wanted && all[at].desc.format == TensorFormat::kLINEAR;
  }
  int32_t configurePlugin(const DynamicPluginTensorDesc*, int32_t, const DynamicPluginTensorDesc*,
                          int32_t) noexcept override {
    return 0;
  }
  size_t getWorkspaceSize(const DynamicPluginTensorDesc* inputs, int32_t, const DynamicPluginTensorDesc* outputs,
                          int32_t) const noexcept override {
    std::array<Dims, 8> given, wanted;
    for (size_t i = 0; i < op_.inputs.size(); ++i) given[i] = inputs[i].max;
    for (size_t i = 0; i < op_.outputs.size(); ++i) wanted[i] = outputs[i].max;
    const int64_t bytes = op_.workspace(given.data(), wanted.data(), values_);
    if (bytes >= 0) return size_t(bytes);
    std::fprintf(stderr, "segtool: %s: %s\n", op_.name, segtool_error_message());
    return SIZE_MAX;  // more than any builder has: it says that the plugin cannot be used
  }
  // Attributes decide nothing about speed but what shapes already say.
  const char* getTimingCacheID() noexcept override { return "1"; }

  int32_t onShapeChange(const PluginTensorDesc*, int32_t, const PluginTensorDesc*, int32_t) noexcept override {
    return 0;
  }
  int32_t enqueue(const PluginTensorDesc* inputs, const PluginTensorDesc* outputs, const void* const* given,
                  void* const* wanted, void* workspace, cudaStream_t stream) noexcept override {
    const int failed = op_.enqueue({inputs, outputs, values_, given, wanted, workspace, stream});
    if (failed) std::fprintf(stderr, "segtool: %s: %s\n", op_.name, segtool_error_message());
    return failed;
  }
  IPluginV3* attachToContext(IPluginResourceContext*) noexcept override { return clone(); }

  const PluginFieldCollection* getFieldsToSerialize() noexcept override {
    // TensorRT reads the buffers later: they belong to the plugin.
    for (size_t i = 0; i < values_.size(); ++i) {
      const Field& field = op_.fields[i];
      const float real = float(values_[i]);
      const int32_t whole = int32_t(values_[i]);
      std::memcpy(bytes_[i].data(), field.type == PluginFieldType::kFLOAT32 ? (const void*)&real : &whole, 4);
      fields_[i] = {field.name, bytes_[i].data(), field.type, 1};
    }
    collection_ = {int32_t(values_.size()), fields_.data()};
    return &collection_;
  }

 private:
  const Operator& op_;
  Values values_;
  std::array<std::array<char, 4>, 4> bytes_;
  std::array<PluginField, 4> fields_;
  PluginFieldCollection collection_;
};

// Parsers give integers of 64 bits where an engine keeps 32.
double number(const PluginField& field, double standard) {
  if (!field.data || field.length < 1) return standard;
  switch (field.type) {
    case PluginFieldType::kFLOAT32: return *static_cast<const float*>(field.data);
    case PluginFieldType::kFLOAT64: return float(*static_cast<const double*>(field.data));
    case PluginFieldType::kINT32: return *static_cast<const int32_t*>(field.data);
    case PluginFieldType::kINT64: return double(*static_cast<const int64_t*>(field.data));
    default: return standard;
  }
}

class Creator final : public IPluginCreatorV3One {
 public:
  explicit Creator(const Operator& op) : op_(op) {
    for (const Field& field : op.fields) names_.push_back({field.name, nullptr, field.type, 1});
    collection_ = {int32_t(names_.size()), names_.data()};
  }
  IPluginV3* createPlugin(const char*, const PluginFieldCollection* given, TensorRTPhase) noexcept override {
    return guarded(
        [&]() -> IPluginV3* {
          Values values;
          for (const Field& field : op_.fields) {
            values.push_back(field.standard);
            for (int32_t i = 0; given && i < given->nbFields; ++i) {
              if (!std::strcmp(given->fields[i].name, field.name)) {
                values.back() = number(given->fields[i], field.standard);
              }
            }
          }
          return new Plugin(op_, std::move(values));
        },
        static_cast<IPluginV3*>(nullptr));
  }
  const PluginFieldCollection* getFieldNames() noexcept override { return &collection_; }
  const char* getPluginName() const noexcept override { return op_.name; }
  const char* getPluginVersion() const noexcept override { return kVersion; }
  const char* getPluginNamespace() const noexcept override { return kNamespace; }

 private:
  const Operator& op_;
  std::vector<PluginField> names_;
  PluginFieldCollection collection_;
};

}  // namespace
}  // namespace segtool::tensorrt

// What TensorRT's registry looks for in a plugin library.
SEGTOOL_API nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
  using segtool::tensorrt::Creator;
  static const auto creators = [] {
    std::vector<std::unique_ptr<Creator>> made;
    for (const auto& op : segtool::tensorrt::operators()) made.push_back(std::make_unique<Creator>(op));
    return made;
  }();
  static const auto pointers = [] {
    std::vector<nvinfer1::IPluginCreatorInterface*> found;
    for (const auto& creator : creators) found.push_back(creator.get());
    return found;
  }();
  count = int32_t(pointers.size());
  return pointers.data();
}

SEGTOOL_API void setLoggerFinder(nvinfer1::ILoggerFinder*) {}
