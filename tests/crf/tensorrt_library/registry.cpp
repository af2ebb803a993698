// Whatever is in TensorRT's registry, in the plugin library's place.
#include <NvInfer.h>

extern "C" nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
  return getPluginRegistry()->getAllCreators(&count);
}
