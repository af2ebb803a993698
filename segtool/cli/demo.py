"""segtool demo"""

import signal
import sys
from collections.abc import Callable
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segtool.cli.options import auth_option, echo, exported, parse_auth

if TYPE_CHECKING:
    from segtool.card import ModelCard
    from segtool.demo.answers import Predictor, Stages
    from segtool.demo.crf import Tuner
    from segtool.prediction import Prediction
    from segtool.readers import Image


@click.command("demo")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--examples", type=click.Path(path_type=Path), help="Folder of images to offer on the page.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=7860, show_default=True, type=click.IntRange(1, 65535))
@auth_option
@click.option("--max-megapixels", default=16.0, show_default=True, help="Largest image that is accepted.")
def command(
    models: tuple[Path, ...], examples: Path | None, host: str, port: int, auth: str | None, max_megapixels: float
) -> None:
    """Open a web page that segments uploaded images with an exported MODEL, or compares several.

    A run folder stands for its model.onnx; where PyTorch is installed, the page also offers it in PyTorch, with the
    CRF's parameters to play with.
    """
    from segtool.demo.folder import own_folder
    from segtool.errors import SegtoolError

    visitor = parse_auth(auth)
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda number, frame: sys.exit(128 + number))  # so that the folder goes with it
    with own_folder():
        from segtool.demo.app import build_demo, launch

        offered, stages = _offered(models)
        page = build_demo(offered, examples, int(1e6 * max_megapixels), tuner=_tuner(models), stages=stages)
        try:
            launch(page, server_name=host, server_port=port, auth=visitor)
        except OSError as error:
            raise SegtoolError(f"cannot listen on {host}:{port}", mend="choose another --port") from error
        echo(f"serving on http://{host}:{port}  (Ctrl-C ends it)")
        page.block_thread()


class _Later:
    """A model that is loaded when somebody asks it."""

    def __init__(self, card: "ModelCard", load: "Callable[[], Callable[[Image], Prediction]]") -> None:
        self.card, self._load = card, cache(load)

    def __call__(self, image: "Image") -> "Prediction":
        return self._load()(image)


def _offered(models: tuple[Path, ...]) -> "tuple[dict[str, Predictor], dict[str, Stages]]":
    """Each model as it runs best here, then in the other ways in which it can; and where the time of each goes."""
    import segtool.runtime

    best: dict[str, Predictor] = {}
    others: dict[str, Predictor] = {}
    stages: dict[str, Stages] = {}
    for model in models:
        name, path = _name(model, models), exported(model)
        best[name] = deployed = segtool.runtime.load(path)
        if path.suffix == ".onnx":
            stages[name] = partial(_shares, path, device="cuda" if "CUDA" in deployed.backend.name else "cpu")
        if path.suffix == ".onnx" and deployed.card.crf is not None:
            plain = f"{name}, portable definition"
            others[plain] = _Later(deployed.card, partial(segtool.runtime.load, path, backend="cpu", native=False))
            stages[plain] = partial(_shares, path, native=False)
        if model.is_dir() and find_spec("torch") is not None:
            others[f"{name}, PyTorch"] = _Later(deployed.card, partial(_in_pytorch, model))
    return best | others, stages


def _in_pytorch(run: Path) -> "Callable[[Image], Prediction]":
    from segtool.cli.models import open_model

    return open_model(run)[0]


def _shares(path: Path, image: "Image", **options: Any) -> dict[str, float]:
    from segtool.runtime.stages import stage_shares

    return stage_shares(path, image[None], runs=2, **options)


def _tuner(models: tuple[Path, ...]) -> "Tuner | None":
    """Of the first run folder whose model has a CRF, if there is PyTorch to run it."""
    folders = [model for model in models if model.is_dir()]
    if not folders or find_spec("torch") is None:
        return None
    from segtool.demo.crf import Tuner
    from segtool.train.checkpoint import load_segmenter
    from segtool.train.tuning import CrfTuner

    for folder in folders:
        segmenter, card = load_segmenter(folder)
        if card.crf is not None:
            return Tuner(card, CrfTuner(segmenter))
    return None


def _name(model: Path, models: tuple[Path, ...]) -> str:
    """What visitors see: the file's or folder's name; with its folder where that would name two."""
    same = [other for other in models if other.name == model.name]
    return model.name if len(same) == 1 else f"{model.resolve().parent.name}/{model.name}"
