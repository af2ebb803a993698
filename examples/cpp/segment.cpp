// Segments an image with a model that `segtool export` wrote, by ONNX Runtime's C++ interface.
//
//   segment model.onnx image.ppm labels.pgm [libsegtool_bilateral.so]
//
// The image is a binary PPM of 8 bits, the answer a binary PGM of class ids. Without the last argument the CRF runs by
// its definition in the file.
#include <onnxruntime_cxx_api.h>

#include <array>
#include <cstdint>
#include <exception>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

struct Image {
  int64_t width, height;
  std::vector<uint8_t> rgb;  // [height,width,3]
};

Image read_ppm(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string kind;
  Image image{};
  int levels = 0;
  file >> kind >> image.width >> image.height >> levels;
  if (!file || kind != "P6" || levels != 255) throw std::runtime_error(path + ": not a binary PPM of 8 bits");
  file.get();
  image.rgb.resize(image.width * image.height * 3);
  file.read(reinterpret_cast<char*>(image.rgb.data()), std::streamsize(image.rgb.size()));
  if (!file) throw std::runtime_error(path + ": ends too early");
  return image;
}

Ort::Session load(Ort::Env& env, const char* model, const char* operators) {
  Ort::SessionOptions options;
  // Idle threads that spin would take the cores from the library's own threads.
  options.AddConfigEntry("session.intra_op.allow_spinning", "0");
  void* handle = nullptr;  // stays open as long as the process lives
  if (operators) Ort::ThrowOnError(Ort::GetApi().RegisterCustomOpsLibrary(options, operators, &handle));
  return Ort::Session(env, model, options);
}

int run(int count, char** arguments) {
  if (count < 4) throw std::runtime_error("usage: segment model.onnx image.ppm labels.pgm [libsegtool_bilateral.so]");
  Image image = read_ppm(arguments[2]);
  Ort::Env env(ORT_LOGGING_LEVEL_ERROR, "segment");
  Ort::Session session = load(env, arguments[1], count > 4 ? arguments[4] : nullptr);

  const std::array<int64_t, 4> shape{1, image.height, image.width, 3};
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeDefault);
  const Ort::Value input =
      Ort::Value::CreateTensor<uint8_t>(memory, image.rgb.data(), image.rgb.size(), shape.data(), shape.size());
  const char* input_name = "image";
  const char* output_name = "labels";  // also: confidence, unary_labels
  const auto outputs = session.Run(Ort::RunOptions{nullptr}, &input_name, &input, 1, &output_name, 1);

  std::ofstream file(arguments[3], std::ios::binary);
  file << "P5\n" << image.width << ' ' << image.height << "\n255\n";
  file.write(reinterpret_cast<const char*>(outputs[0].GetTensorData<uint8_t>()), image.width * image.height);
  if (!file) throw std::runtime_error(std::string(arguments[3]) + ": cannot be written");
  return 0;
}

int main(int count, char** arguments) {
  try {
    return run(count, arguments);
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
    return 1;
  }
}
