"""Checkpoints: network weights in safetensors, everything else in the model card inside."""

import json
from importlib import metadata
from pathlib import Path

import safetensors
import torch
from pydantic import ValidationError
from safetensors.torch import save, save_file

from segtool.card import METADATA_KEY, ClassInfo, ModelCard, TrainedOn
from segtool.crf.contextual.layer import ContextualCRF
from segtool.crf.layer import DenseCRF
from segtool.errors import SegtoolError
from segtool.files import atomic_path
from segtool.integrity import DIGEST_KEY, bytes_digest, safetensors_are_intact
from segtool.stored import misfit
from segtool.train.checkpoint_file import checkpoint_path, read_card
from segtool.train.config.settings import ModelConfig, TrainConfig
from segtool.train.networks import Segmenter
from segtool.train.networks.features import check_features
from segtool.train.networks.sources import resolved
from segtool.train.networks.state_dict import CONTEXT_PREFIX, CRF_PREFIX
from segtool.train.networks.stored import build_stored

_PACKAGES = ("segtool", "torch", "torchvision", "segmentation-models-pytorch", "timm", "lightning")


def make_card(
    config: TrainConfig,
    segmenter: Segmenter,
    classes: list[ClassInfo],
    ignore_index: int,
    trained_on: TrainedOn,
) -> ModelCard:
    """The card of a segmenter in training."""
    model = resolved(config.model, segmenter.network)
    config = config.model_copy(update={"model": model})
    return ModelCard(
        architecture=model.architecture if "python:" not in model.source else model.source,
        encoder=model.encoder if model.source == "smp" or model.architecture.lower() == "featmapnet" else "",
        classes=classes,
        ignore_index=ignore_index,
        input=segmenter.contract,
        context=segmenter.context.to_card() if segmenter.context is not None else None,
        crf=segmenter.crf.to_card() if segmenter.crf is not None else None,
        trained_on=trained_on,
        seed=config.seed,
        config=config.model_dump(mode="json"),
        packages={name: metadata.version(name) for name in _PACKAGES},
    )


def save_checkpoint(path: Path, segmenter: Segmenter, card: ModelCard) -> None:
    """Writes the weights of network and CRFs with the card inside, atomically."""
    state = segmenter.network.state_dict()
    for prefix, crf in ((CONTEXT_PREFIX, segmenter.context), (CRF_PREFIX, segmenter.crf)):
        if crf is not None:
            state |= {prefix + name: tensor for name, tensor in crf.state_dict().items()}
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in state.items()}
    metadata = {METADATA_KEY: card.to_json()}
    metadata[DIGEST_KEY] = bytes_digest(save(tensors, metadata))
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, metadata)
        except safetensors.SafetensorError as error:  # also where the disk is full
            raise SegtoolError("cannot write", where=path, mend=f"{error}; choose another --out") from error


def load_segmenter(model: Path) -> tuple[Segmenter, ModelCard]:
    """Rebuilds a segmenter, in eval mode, from a run folder or checkpoint."""
    path = checkpoint_path(model)
    card = read_card(path)
    # Its weights are in the file, whatever it was started from.
    network = build_stored(
        model_config(card).model_copy(update={"weights": None}), len(card.classes), card.input.channels, path
    )
    tensors = _tensors(path)
    of_crf, of_context = _taken(tensors, CRF_PREFIX), _taken(tensors, CONTEXT_PREFIX)
    _load(network, tensors, path)
    crf = DenseCRF.from_card(card.crf) if card.crf is not None else None
    if crf is not None and of_crf:  # a checkpoint of card schema 1 has the CRF in its card alone
        _load(crf, of_crf, path)
    context = None
    if card.context is not None:
        check_features(network, card.context, len(card.classes), path)
        context = ContextualCRF(len(card.classes), card.context)
        _load(context, of_context, path)
    return Segmenter(network, card.input, crf, context).eval(), card


def model_config(card: ModelCard) -> ModelConfig:
    """How the network of a card is built."""
    try:
        return ModelConfig.model_validate({"weights": None, **card.config["model"]})
    except ValidationError as error:
        raise misfit(error, "model card", "config.model") from error


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    if safetensors_are_intact(path) is False:
        raise SegtoolError("the file is damaged, it is not what was written", where=path, mend="copy it again")
    with safetensors.safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)


def _taken(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Takes the tensors of a part out, without the prefix of their names."""
    return {name.removeprefix(prefix): tensors.pop(name) for name in list(tensors) if name.startswith(prefix)}


def _load(part: torch.nn.Module, tensors: dict[str, torch.Tensor], path: Path) -> None:
    try:
        part.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise SegtoolError(f"the weights do not fit the network: {json.dumps(str(error))[:200]}", where=path) from error
