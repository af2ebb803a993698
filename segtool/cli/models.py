"""Opening MODEL, whatever it is, as a predictor."""

from collections.abc import Callable
from pathlib import Path

from segtool.card import ModelCard
from segtool.prediction import Prediction

Predictor = Callable[..., Prediction]


def open_model(model: Path, *, native: bool = True, threads: int | None = None) -> tuple[Predictor, ModelCard]:
    """A run folder or checkpoint in PyTorch, an .onnx file in ONNX Runtime."""
    if model.suffix == ".onnx":
        import segtool.runtime

        deployed = segtool.runtime.load(model, native=native, threads=threads)
        return deployed, deployed.card
    from segtool.train.checkpoint import load_segmenter
    from segtool.train.predict import TorchPredictor

    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    segmenter, card = load_segmenter(model)
    return TorchPredictor(segmenter), card
