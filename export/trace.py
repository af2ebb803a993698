"""Torch's ONNX exporter, called in one way."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor, nn

from segtool.errors import SegtoolError
from segtool.export import pooling
from segtool.export.quiet import quiet

OPSET = 18
Dims = dict[int, Any]  # torch.export.Dim by axis


def trace(
    module: nn.Module,
    examples: Sequence[Tensor],
    dims: Sequence[Dims],
    *,
    inputs: Sequence[str],
    outputs: Sequence[str] | None = None,
    translations: dict[Any, Any] | None = None,
) -> ir.Model:
    """A module as an ONNX graph, as the exporter writes it; `tidy` makes a model of it.

    Args:
        module: traced in eval mode.
        examples: a tensor for each input. Axes of length one are taken for constants, dynamic or not.
        dims: for each input, its dynamic axes.
        inputs: names, as many as examples.
        outputs: names of what the module returns; the exporter's own when not given.
        translations: how operators that are not PyTorch's are written.

    Raises:
        SegtoolError: it cannot be written so.
    """
    with quiet(), _told():
        program = torch.onnx.export(
            module.eval(),
            tuple(examples),
            dynamo=True,
            dynamic_shapes=tuple(dims),
            input_names=list(inputs),
            output_names=outputs and list(outputs),
            opset_version=OPSET,
            optimize=False,
            custom_translation_table={**pooling.translations(), **(translations or {})},
            verbose=False,
        )
    assert program is not None  # it is None only for the exporter that TorchScript had
    return program.model


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """The exporter's errors are pages; what is to be known is in the first line of their cause."""
    try:
        yield
    except torch.onnx.OnnxExporterError as error:
        cause = error.__cause__ or error
        raise SegtoolError(
            f"torch's exporter cannot write this network: {type(cause).__name__}: {str(cause).splitlines()[0]}",
            mend="a fixed size may help: --size HxW; --debug shows where it stopped",
        ) from error
