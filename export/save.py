"""Writing ONNX files, checked, whole or not at all; weights that do not fit into one file lie beside it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
from onnx import ModelProto, external_data_helper

from segtool.files import ensure_folder, temporary_path
from segtool.integrity import DIGEST_KEY, sign_onnx

LARGEST_FILE = 1_800_000_000  # bytes; a protobuf file ends at 2 GiB
_SMALLEST_TENSOR = 1024  # bytes; smaller ones stay in the file


def save_onnx(
    model: ModelProto, path: Path, *, check: bool = True, try_out: Callable[[Path], None] | None = None
) -> list[Path]:
    """Checks and writes a model.

    Args:
        check: whether it must be what ONNX and the operators' schemas allow. What TensorRT is given is not: there a
            lattice has one output more.
        try_out: called with the file before it takes its place, which it does not if this raises.

    Returns:
        What was written: the file; for a model of more than `LARGEST_FILE` also `NAME.onnx.data` with its weights,
        which the file refers to by that name, so the two are moved together.
    """
    ensure_folder(path.parent)
    folder = temporary_path(path)
    folder.mkdir()
    try:
        if model.ByteSize() > LARGEST_FILE:
            names = {"location": f"{path.name}.data", "size_threshold": _SMALLEST_TENSOR}
            external_data_helper.convert_model_to_external_data(model, all_tensors_to_one_file=True, **names)
        forget_digest(model)
        onnx.save(model, folder / path.name)
        sign_onnx(folder / path.name, folder / f"{path.name}.data")
        if check:
            onnx.checker.check_model(folder / path.name)  # by its path: also beyond what fits into memory as one piece
        if try_out is not None:
            try_out(folder / path.name)
        written = sorted(folder.iterdir(), key=lambda file: file.name, reverse=True)  # weights before what names them
        for file in written:
            os.replace(file, path.parent / file.name)
        return [path.parent / file.name for file in reversed(written)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def forget_digest(model: ModelProto) -> None:
    """Takes out the digest that a model was read with."""
    for pair in [pair for pair in model.metadata_props if pair.key == DIGEST_KEY]:
        model.metadata_props.remove(pair)
