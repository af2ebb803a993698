"""Opening MODEL, whatever it is, as a predictor."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from segtool.card import ModelCard
from segtool.errors import SegtoolError
from segtool.prediction import Prediction

if TYPE_CHECKING:
    from segtool.runtime import BackendName, Model
    from segtool.train.config.views import Views

Predictor = Callable[..., Prediction]


def open_model(
    model: Path,
    *,
    backend: "BackendName" = "auto",
    native: bool = True,
    threads: int | None = None,
    views: "Views | None" = None,
) -> tuple[Predictor, ModelCard]:
    """A run folder or checkpoint in PyTorch, an .onnx or .engine file in its runtime.

    Raises:
        SegtoolError: unreadable; or an exported file cannot see images so.
    """
    if model.suffix in (".onnx", ".engine"):
        import segtool.runtime

        deployed = segtool.runtime.load(model, backend=backend, native=native, threads=threads)
        return (_in_windows(deployed, views, model) if views else deployed), deployed.card
    from segtool.train.checkpoint_file import checkpoint_path

    checkpoint_path(model)  # before PyTorch, which takes seconds to load
    from segtool.train.checkpoint import load_segmenter
    from segtool.train.config.views import WHOLE
    from segtool.train.predict import TorchPredictor

    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    segmenter, card = load_segmenter(model)
    return TorchPredictor(segmenter, views=views or WHOLE), card


def _in_windows(deployed: "Model", views: "Views", model: Path) -> Predictor:
    """An exported model as `segtool predict --map` runs it.

    Raises:
        SegtoolError: it gives no logits; or is to see anything but windows.
    """
    from segtool.runtime.maps.predictor import MapPredictor
    from segtool.runtime.tiles import Tiles

    if views.flip or views.scales != (1.0,):
        mend = "give the run folder or checkpoint that it was exported from"
        raise SegtoolError("--tta needs the network in PyTorch", where=model, mend=mend)
    return MapPredictor(deployed, deployed.card, Tiles(views.window, views.window, views.window - views.stride))


def weights_of(model: Path) -> Path:
    """The file with the weights of MODEL.

    Raises:
        SegtoolError: a run folder without one.
    """
    if model.suffix in (".onnx", ".engine"):
        return model
    from segtool.train.checkpoint_file import checkpoint_path

    return checkpoint_path(model)
