"""Runs a file in the ONNX Runtime that Python finds, with nothing of segtool: FILE LIBRARY|- IMAGES.npy OUTPUTS.npz"""

import sys

import numpy as np
import onnxruntime as ort


def main(model: str, library: str, images: str, outputs: str) -> None:
    """Writes all outputs of the file, and prints which ONNX Runtime it was."""
    options = ort.SessionOptions()
    if library != "-":
        options.register_custom_ops_library(library)
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    np.savez(outputs, **dict(zip(names, session.run(names, {"image": np.load(images)}), strict=True)))
    print(ort.__version__)


if __name__ == "__main__":
    main(*sys.argv[1:])
