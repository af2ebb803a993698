"""Export: one ONNX file with the whole model inside, and the proof that it is the same model."""
