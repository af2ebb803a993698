// Drives plugins as TensorRT does, by its interfaces alone; Python hands the arrays. Which plugins: those of getCreators,
// which the plugin library has, or registry.cpp.
#include <NvInfer.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <vector>

using namespace nvinfer1;

extern "C" IPluginCreatorInterface* const* getCreators(int32_t& count);

namespace {

// TensorRT's expressions on plain integers.
class Number final : public IDimensionExpr, public apiv::VDimensionExpr {
 public:
  explicit Number(int64_t value) : value_(value) { mImpl = this; }
  bool isConstant() const override { return true; }
  int64_t getConstantValue() const override { return value_; }
  bool isSizeTensor() const override { return false; }

 private:
  int64_t value_;
};

class Numbers final : public IExprBuilder, public apiv::VExprBuilder {
 public:
  Numbers() { mImpl = this; }
  const IDimensionExpr* constant(int64_t value) override {
    made_.emplace_back(value);
    return &made_.back();
  }
  const IDimensionExpr* operation(DimensionOperation op, const IDimensionExpr& x, const IDimensionExpr& y) override {
    const int64_t a = x.getConstantValue(), b = y.getConstantValue();
    switch (op) {
      case DimensionOperation::kPROD: return constant(a * b);
      case DimensionOperation::kMIN: return constant(a < b ? a : b);
      case DimensionOperation::kMAX: return constant(a > b ? a : b);
      case DimensionOperation::kCEIL_DIV: return constant((a + b - 1) / b);
      default: return nullptr;
    }
  }
  const IDimensionExpr* declareSizeTensor(int32_t, const IDimensionExpr&, const IDimensionExpr&) override {
    return nullptr;
  }

 private:
  std::deque<Number> made_;
};

IPluginCreatorV3One* find(const char* name) {
  int32_t count = 0;
  auto* const* creators = getCreators(count);
  for (int32_t i = 0; i < count; ++i) {
    auto* creator = static_cast<IPluginCreatorV3One*>(creators[i]);
    const bool ours = !std::strcmp(creator->getPluginNamespace(), "segtool") && !std::strcmp(creator->getPluginVersion(), "1");
    if (ours && !std::strcmp(creator->getPluginName(), name)) return creator;
  }
  return nullptr;
}

// Plugins in Python belong to Python.
void let_go(IPluginV3* plugin) {
  if (plugin->getAPILanguage() == APILanguage::kCPP) delete plugin;
}

// Made from a node's attributes, kept in an engine, made again, cloned for a context.
IPluginV3* make(const char* name, int fields, const char* const* names, const float* values) {
  IPluginCreatorV3One* creator = find(name);
  if (!creator) return nullptr;
  std::vector<int64_t> whole(values, values + fields);  // as parsers give integers
  std::vector<PluginField> given;
  for (int i = 0; i < fields; ++i) {
    const bool real = creator->getFieldNames()->fields[i].type == PluginFieldType::kFLOAT32;
    const void* data = real ? static_cast<const void*>(values + i) : &whole[i];
    given.emplace_back(names[i], data, real ? PluginFieldType::kFLOAT32 : PluginFieldType::kINT64, 1);
  }
  PluginFieldCollection collection{fields, given.data()};
  IPluginV3* built = creator->createPlugin("node", &collection, TensorRTPhase::kBUILD);
  auto* kept = static_cast<IPluginV3OneRuntime*>(built->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
  IPluginV3* again = creator->createPlugin("node", kept->getFieldsToSerialize(), TensorRTPhase::kRUNTIME);
  let_go(built);
  auto* runtime = static_cast<IPluginV3OneRuntime*>(again->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
  IPluginV3* attached = runtime->attachToContext(nullptr);
  let_go(again);
  return attached;
}

std::vector<PluginTensorDesc> described(int count, const int64_t (*shapes)[8], const int* ranks, const int* types) {
  std::vector<PluginTensorDesc> found(count);
  for (int i = 0; i < count; ++i) {
    found[i].dims.nbDims = ranks[i];
    std::copy_n(shapes[i], ranks[i], found[i].dims.d);
    found[i].type = DataType(types[i]);
    found[i].format = TensorFormat::kLINEAR;
  }
  return found;
}

}  // namespace

// The outputs' ranks, shapes and types, and the workspace in bytes; -1 if there is no such operator, -2 if it does not
// take its own types and format, or takes others.
extern "C" int64_t drive_plan(const char* name, int fields, const char* const* names, const float* values, int inputs,
                              const int64_t (*shapes)[8], const int* ranks, const int* types, int* out_ranks,
                              int64_t (*out_shapes)[8], int* out_types) {
  IPluginV3* plugin = make(name, fields, names, values);
  if (!plugin) return -1;
  auto* build = static_cast<IPluginV3OneBuild*>(plugin->getCapabilityInterface(PluginCapabilityType::kBUILD));
  const int outputs = build->getNbOutputs();
  std::vector<DataType> found(outputs), input_types;
  for (int i = 0; i < inputs; ++i) input_types.push_back(DataType(types[i]));
  build->getOutputDataTypes(found.data(), outputs, input_types.data(), inputs);
  Numbers numbers;
  std::vector<DimsExprs> given(inputs), wanted(outputs);
  for (int i = 0; i < inputs; ++i) {
    given[i].nbDims = ranks[i];
    for (int axis = 0; axis < ranks[i]; ++axis) given[i].d[axis] = numbers.constant(shapes[i][axis]);
  }
  build->getOutputShapes(given.data(), inputs, nullptr, 0, wanted.data(), outputs, numbers);
  for (int i = 0; i < outputs; ++i) {
    out_ranks[i] = wanted[i].nbDims;
    out_types[i] = int(found[i]);
    for (int axis = 0; axis < wanted[i].nbDims; ++axis) out_shapes[i][axis] = wanted[i].d[axis]->getConstantValue();
  }
  std::vector<DynamicPluginTensorDesc> all(inputs + outputs);
  const auto in = described(inputs, shapes, ranks, types), out = described(outputs, out_shapes, out_ranks, out_types);
  for (int i = 0; i < inputs + outputs; ++i) {
    all[i].desc = i < inputs ? in[i] : out[i - inputs];
    all[i].max = all[i].desc.dims;
  }
  bool right = true;
  for (int i = 0; i < inputs + outputs; ++i) {
    right &= build->supportsFormatCombination(i, all.data(), inputs, outputs);
    auto others = all;
    others[i].desc.type = DataType::kHALF;
    right &= !build->supportsFormatCombination(i, others.data(), inputs, outputs);
    others[i].desc = all[i].desc;
    others[i].desc.format = TensorFormat::kCHW4;
    right &= !build->supportsFormatCombination(i, others.data(), inputs, outputs);
  }
  const int64_t bytes = build->getWorkspaceSize(all.data(), inputs, all.data() + inputs, outputs);
  let_go(plugin);
  return right ? bytes : -2;
}

extern "C" int drive_enqueue(const char* name, int fields, const char* const* names, const float* values, int inputs,
                             const int64_t (*shapes)[8], const int* ranks, const int* types, int outputs,
                             const int64_t (*out_shapes)[8], const int* out_ranks, const int* out_types,
                             const void* const* given, void* const* wanted, void* workspace) {
  IPluginV3* plugin = make(name, fields, names, values);
  auto* runtime = static_cast<IPluginV3OneRuntime*>(plugin->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
  const auto in = described(inputs, shapes, ranks, types), out = described(outputs, out_shapes, out_ranks, out_types);
  runtime->onShapeChange(in.data(), inputs, out.data(), outputs);
  const int failed = runtime->enqueue(in.data(), out.data(), given, wanted, workspace, nullptr);
  let_go(plugin);
  return failed;
}
